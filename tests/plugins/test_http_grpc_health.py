from __future__ import annotations

from pathlib import Path

import pytest

from clusters import run
from http2_peers import H2Client, H2Reply, h2_connect
from http_peers import connect, http_proxy, upstream
from l4proxy.plugins import http_grpc_health
from proxying import Proxy


def request(service: str) -> bytes:
    message = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
SERVING, NOT_SERVING, UNKNOWN = (b"\0\0\0\0\2\x08" + bytes([status]) for status in (1, 2, 3))
WATCH = "/grpc.health.v1.Health/Watch"


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_grpc_health, "LOOK_EVERY", 0.01)


def watch(client: H2Client, service: str = "") -> H2Reply:
    stream = client.open(WATCH, *GRPC, method="POST", end=False)
    client.h2.send_data(stream, request(service), end_stream=True)
    client.flush()
    return client.replies[stream]


def status(reply: H2Reply) -> str | None:
    return dict(reply.trailers).get("grpc-status") or reply.field("grpc-status")


def test_check(tmp_path: Path) -> None:
    async def conversation() -> None:
        filters = [{"use": "grpc_health", "services": {"a.B": "up", "c.D": "none"}}]
        (tmp_path / "none.json").write_text('{"endpoints": []}')
        discovery = {"use": "endpoints_file", "path": str(tmp_path / "none.json")}
        config = {"clusters": [{"name": "none", "discovery": discovery}]}
        async with (
            upstream() as up,
            http_proxy(up, filters=filters, config=config) as proxy,
            h2_connect(proxy) as client,
        ):

            async def check(body: bytes) -> H2Reply:
                return await client.get("/grpc.health.v1.Health/Check", *GRPC, method="POST", body=body)

            there = await check(request("a.B"))
            assert (there.body, status(there)) == (SERVING, "0")
            assert (await check(request("c.D"))).body == NOT_SERVING
            assert (await check(request(""))).body == NOT_SERVING
            assert status(await check(request("unheard.Of"))) == "5"
            assert status(await check(b"garbage")) == "3"
            assert status(await check(request("x") * 2000)) == "3"
            assert up.seen == []

    run(conversation)


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [(WATCH, GRPC, "12"), ("/grpc.health.v1.Health/Check", [], None), ("/other", GRPC, None)],
)
def test_what_else_may_be_asked(path: str, headers: list[tuple[str, str]], expected: str | None) -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, filters=[{"use": "grpc_health", "max_watches": 0}], upstream={"protocol": "http1"}) as proxy,
            h2_connect(proxy) as client,
        ):
            reply = await client.get(path, *headers, method="POST", body=request(""))
            assert status(reply) == expected
            assert len(up.seen) == (expected is None)

    run(conversation)


@pytest.mark.usefixtures("_quick")
def test_watch_tells_the_status_and_each_change_of_it() -> None:
    async def conversation() -> None:
        filters = [{"use": "grpc_health", "services": {"a.B": "up"}}, {"use": "grpc"}]
        async with upstream() as up, http_proxy(up, filters=filters) as proxy, h2_connect(proxy) as client:
            of_service, of_all, of_none = watch(client, "a.B"), watch(client), watch(client, "unheard.Of")
            await client.until(lambda: of_service.body and of_all.body and of_none.body)
            endpoint = proxy.server.clusters.find("up").endpoints.choosable()[0]
            endpoint.ejected = True
            await client.until(lambda: len(of_service.body) == len(of_all.body) == 14)
            endpoint.ejected = False
            await client.until(lambda: len(of_service.body) == len(of_all.body) == 21)
            proxy.server.withdrawn = True
            await client.until(lambda: len(of_service.body) == len(of_all.body) == 28)
            assert of_service.body == of_all.body == (SERVING + NOT_SERVING) * 2
            assert of_none.body == UNKNOWN
            assert [one.ended for one in (of_service, of_all, of_none)] == [False] * 3
            assert up.seen == []

    run(conversation)


@pytest.mark.usefixtures("_quick")
def test_a_watch_ends_with_its_connection_and_is_forgotten_with_its_call() -> None:
    async def conversation() -> None:
        filters = [{"use": "grpc_health", "max_watches": 2}]
        async with upstream() as up, http_proxy(up, filters=filters) as proxy, h2_connect(proxy) as client:
            first, second = watch(client), watch(client)
            assert status(await client.get(WATCH, *GRPC, method="POST", body=request(""))) == "8"  # a third one
            await client.until(lambda: first.body and second.body)
            client.h2.reset_stream(next(number for number, reply in client.replies.items() if reply is first))
            third = watch(client)
            await client.until(lambda: third.body)
            assert third.body == SERVING
            proxy.server.begin_drain(close_listeners=False)
            await client.until(lambda: second.ended and third.ended and client.closed)
            assert (second.body, third.body) == (SERVING + NOT_SERVING,) * 2
            assert (status(second), status(third)) == ("14", "14")
            assert active(proxy) == 0

    run(conversation)


@pytest.mark.usefixtures("_quick")
def test_a_quiet_watch_is_not_idle_and_waits_for_no_response() -> None:
    async def conversation() -> None:
        route = {"prefix": "/", "cluster": "up", "timeout": "0.1s", "idle_timeout": "0.2s"}
        options = {"cluster": None, "routes": [route], "filters": [{"use": "grpc_health"}]}
        async with upstream() as up, http_proxy(up, **options) as proxy, h2_connect(proxy) as client:
            quiet, slow = watch(client), client.open("/", method="POST", end=False)
            await client.until(lambda: client.replies[slow].ended)  # ``idle_timeout`` is over for this one
            assert (quiet.body, quiet.ended, quiet.reset) == (SERVING, False, None)
            assert active(proxy) == 1

    run(conversation)


def test_what_is_answered_here_is_translated_for_browsers() -> None:
    async def conversation() -> None:
        filters = [{"use": "grpc_web"}, {"use": "grpc_health"}]
        async with upstream() as up, http_proxy(up, filters=filters) as proxy, h2_connect(proxy) as client:
            kind = ("content-type", "application/grpc-web")
            path = "/grpc.health.v1.Health/Check"
            there = await client.get(path, kind, method="POST", body=request(""))
            assert there.body == SERVING + b"\x80\0\0\0\x10grpc-status: 0\r\n"
            unheard = await client.get(path, kind, method="POST", body=request("unheard.Of"))
            assert unheard.field("grpc-status") == "5"
            assert there.field("content-type") == unheard.field("content-type") == "application/grpc-web"

    run(conversation)


@pytest.mark.usefixtures("_quick")
def test_watch_over_http_1_and_through_filters() -> None:
    """Browsers see it as gRPC-Web."""

    async def conversation() -> None:
        filters = [{"use": "grpc_web"}, {"use": "grpc_health"}]
        async with upstream() as up, http_proxy(up, filters=filters) as proxy, connect(proxy) as client:
            head = (
                f"POST {WATCH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n"
            )
            client.send(head.encode() + request(""))
            told = await client.reader.readuntil(SERVING)
            assert told.startswith(b"HTTP/1.1 200 ")
            proxy.server.begin_drain(close_listeners=False)
            rest = await client.reader.read()
            assert NOT_SERVING in rest
            assert b"grpc-status: 14\r\n" in rest

    run(conversation)


def active(proxy: Proxy) -> int:
    count: int = proxy.value("l4proxy_http_requests_active", http="http")
    return count
