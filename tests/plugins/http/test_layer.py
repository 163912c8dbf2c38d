"""The manners of a proxy: what it tells of clients, what it believes, what it answers itself, what it counts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from clusters import run
from http_peers import Reply, Seen, connect, http_proxy, ok, send, upstream
from l4proxy.describe.connections import closed_connections


def ask(
    *lines: str, target: str = "/", method: str = "GET", answer: Any = None, **options: Any
) -> tuple[Reply, list[Seen]]:
    async def conversation() -> tuple[Reply, list[Seen]]:
        async with (
            upstream(answer or ok()) as up,
            http_proxy(up, **options) as proxy,
            connect(proxy) as client,
        ):
            return await client.get(target, *lines, method=method), up.seen

    return run(conversation)


def test_underscores_are_dropped_kept_or_refused() -> None:
    for policy, status, found in (("drop", 200, None), ("keep", 200, "1"), ("reject", 400, None)):
        reply, seen = ask("X_Forwarded_For: 1", underscores=policy)
        assert reply.status == status
        assert not seen or seen[0].field("x_forwarded_for") == found


def test_paths_are_normal_before_routes_see_them() -> None:
    """CVE-2019-9901 and CVE-2026-73551 of Envoy."""
    routes = [{"prefix": "/admin", "respond": {"status": 403}}, {"cluster": "up"}]
    for target, status in (
        ("/x/../admin", 403), ("/%61dmin", 403), ("/x/%2e%2e/admin", 403), ("/./admin", 403), ("/x/..;/admin", 400),
        ("/x%2f..%2fadmin", 400), ("/%5c../admin", 400), ("/..", 400), ("/user", 200),
    ):  # fmt: skip
        assert ask(target=target, routes=routes)[0].status == status, target
    assert ask(target="/a/./b?x=/../y")[1][0].line == "GET /a/b?x=/../y HTTP/1.1"


def test_rewrites_and_changes_of_fields() -> None:
    route = {
        "prefix": "/api", "cluster": "up", "rewrite_prefix": "/v1", "rewrite_host": "inner.test",
        "request_headers": {"set": {"X-A": "%REQ(:METHOD)% %PROTOCOL%"}, "remove": ["x-b*"]},
        "response_headers": {"add": {"X-Code": "%RESPONSE_CODE%"}, "remove": ["server"], "append": {"X-C": "2"}},
    }  # fmt: skip
    reply, seen = ask("X-B1: 1", "X-B2: 2", target="/api/x?y", routes=[route], answer=ok(b"", "Server: s", "X-C: 1"))
    assert seen[0].line == "GET /v1/x?y HTTP/1.1"
    fields = ("host", "x-forwarded-host", "x-a", "x-b1", "x-b2")
    assert [seen[0].field(name) for name in fields] == ["inner.test", "a.test", "GET HTTP/1.1", None, None]
    assert (reply.field("server"), reply.field("x-c")) == (None, "1, 2")


@pytest.mark.parametrize(
    ("redirect", "location", "status"),
    [
        ({"scheme": "https"}, "https://a.test/old/x?y=1", 301),
        ({"host": "b.test:8443", "code": 308}, "http://b.test:8443/old/x?y=1", 308),
        ({"prefix": "/new", "strip_query": True}, "http://a.test/new/x", 301),
        ({"path": "/", "port": 81, "code": 302}, "http://a.test:81/?y=1", 302),
    ],
)
def test_redirects(redirect: dict[str, Any], location: str, status: int) -> None:
    reply, seen = ask(target="/old/x?y=1", routes=[{"prefix": "/old", "redirect": redirect}])
    assert (reply.status, reply.field("location"), seen) == (status, location, [])


def test_a_redirect_cannot_be_split() -> None:
    reply, _ = ask(target="/old/%0d%0aSet-Cookie:%20a=b", routes=[{"redirect": {"scheme": "https"}}])
    assert reply.field("set-cookie") is None


def test_direct_responses_from_a_file_that_changes(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_text("one")
    reply, _ = ask(routes=[{"respond": {"status": 503, "file": str(page), "headers": {"X-A": "b"}}}])
    assert (reply.status, reply.body, reply.field("x-a")) == (503, b"one", "b")


def test_error_pages(tmp_path: Path) -> None:
    page = tmp_path / "404.html"
    page.write_text("<h1>%STATUS% %REASON%</h1>%REQUEST_ID%")
    options: dict[str, Any] = {"routes": [{"path": "/x", "cluster": "up"}], "error_pages": {"4xx": str(page)}}
    reply, _ = ask("X-Request-ID: <script>", **options)
    assert reply.body == b"<h1>404 Not Found</h1>&lt;script&gt;"
    reply, _ = ask("Accept: application/json", **options)
    assert json.loads(reply.body) == {"status": 404, "error": "route_not_found", "message": "Not Found"}


def test_connect_is_not_for_everybody() -> None:
    assert ask(target="a.test:443", method="CONNECT")[0].status == 405


def test_server_and_via() -> None:
    reply, seen = ask(server="edge", via="here", answer=ok(b"", "Server: secret/1.2"))
    assert (reply.field("server"), reply.field("via")) == ("edge", "1.1 here")
    assert seen[0].field("via") == "1.1 here"
    assert ask(server="-", answer=ok(b"", "Server: secret/1.2"))[0].field("server") is None


def test_weighted_clusters_and_those_of_a_header() -> None:
    async def conversation() -> None:
        async with upstream(ok(b"one")) as one, upstream(ok(b"two")) as two:
            clusters = [{"name": "two", "endpoints": [f"127.0.0.1:{two.port}"]}]
            routes = [
                {"path": "/w", "clusters": [{"cluster": "up", "weight": 0}, {"cluster": "two"}]},
                {"path": "/h", "cluster_header": "x-to", "allowed_clusters": ["two"]},
            ]
            async with (
                http_proxy(one, routes=routes, config={"clusters": clusters}) as proxy,
                connect(proxy) as client,
            ):
                assert (await client.get("/w")).body == b"two"
                assert (await client.get("/h", "X-To: two")).body == b"two"
                assert (await client.get("/h", "X-To: up")).status == 503

    run(conversation)


def test_a_cookie_keeps_a_client_at_its_endpoint() -> None:
    async def conversation() -> None:
        route = {"cluster": "up", "hash_policy": [{"cookie": "stick", "ttl": "1h"}]}
        cluster = {"cluster": {"load_balancer": "ring_hash"}}
        async with (
            upstream(ok(b"1")) as one,
            upstream(ok(b"2")) as two,
            upstream(ok(b"3")) as three,
            http_proxy(one, two, three, routes=[route], config=cluster) as proxy,
            connect(proxy) as client,
        ):
            first = await client.get()
            cookie = (first.field("set-cookie") or "").partition(";")[0]
            assert cookie.startswith("stick=")
            for _ in range(5):
                reply = await client.get("/", f"Cookie: {cookie}")
                assert (reply.body, reply.field("set-cookie")) == (first.body, None)

    run(conversation)


def test_what_is_counted_and_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %ROUTE_NAME%"

    async def conversation() -> None:
        config = {"access_log": [{"use": "file", "path": str(log), "format": line, "flush_interval": 0}]}
        bad = send(b"garbage\r\n\r\n")
        async with upstream(ok(), bad) as up, http_proxy(up, config=config) as proxy:
            async with connect(proxy) as client:
                await client.get("/a?b")
                await client.get("/c")
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/3.0\r\n\r\n")
                await client.rest()
            assert proxy.value("l4proxy_http_requests_total", http="http") == 2
            assert proxy.value("l4proxy_http_responses_total", http="http", **{"class": "2xx"}) == 1
            assert (
                proxy.value("l4proxy_http_route_responses_total", http="http", route="default", **{"class": "5xx"}) == 1
            )
            assert proxy.value("l4proxy_http_cluster_failures_total", cluster="up", reason="bad_status_line") == 1
            assert proxy.value("l4proxy_http_protocol_errors_total", http="http", rule="unsupported_version") == 1

    run(conversation)
    assert log.read_text().splitlines() == [
        "GET /a?b 200 via_upstream - default",
        "GET /c 502 bad_status_line UPE default",
        "- - - - DPE -",
    ]


@pytest.mark.parametrize("logs", [False, True])
def test_connections_that_ended_can_be_explained_though_only_their_requests_are_logged(
    tmp_path: Path, logs: bool
) -> None:
    access_log = [{"use": "file", "path": str(tmp_path / "log"), "flush_interval": 0}]

    async def conversation() -> None:
        config = {"admin": {"address": "127.0.0.1:0"}, "access_log": access_log if logs else []}
        async with upstream() as up, http_proxy(up, config=config) as proxy:
            async with connect(proxy) as client:
                for _ in range(3):
                    assert (await client.get("/")).status == 200
            while not (closed := closed_connections(proxy.server)):
                await asyncio.sleep(0)
            assert [(one["listener"], one["reason"]) for one in closed] == [("test", "client:eof phase=relay")]

    run(conversation)
    if logs:
        assert (tmp_path / "log").read_text().count("GET / HTTP/1.1") == 3
