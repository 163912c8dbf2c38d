from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from clusters import run
from http_peers import Answer, Client, Reply, Seen, connect, http_proxy, ok, send, upstream
from l4proxy import ConfigError
from proxying import HOST, Proxy

YES = ok(b"", "X-User: ann", "X-Other: 1", "Set-Cookie: a=1", "Set-Cookie: b=2")


class Asked:
    """What became of requests that a service was asked about."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[Seen] = []
        self.passed: list[Seen] = []
        self.values: dict[str, Any] = {}


def ask(*requests: tuple[Any, ...], answer: Answer = YES, **options: Any) -> Asked:
    """Send requests (what `Client.get` takes), one after the other."""
    found = Asked()

    async def conversation() -> None:
        async with upstream() as up, upstream(answer) as auth:
            use = {"use": "ext_authz", "cluster": "auth", **options}
            clusters = {"clusters": [{"name": "auth", "endpoints": [f"{HOST}:{auth.port}"]}]}
            async with http_proxy(up, filters=[use], config=clusters) as proxy, connect(proxy) as client:
                for target, *lines in requests or [("/",)]:
                    body = lines.pop() if lines and isinstance(lines[-1], bytes) else b""
                    found.replies.append(await client.get(target, *lines, method="POST" if body else "GET", body=body))
                for name in ("allowed", "denied", "failures_allowed"):
                    found.values[name] = proxy.value(f"l4proxy_http_ext_authz_{name}_total", name="ext_authz")
        found.asked, found.passed = auth.seen, up.seen

    run(conversation)
    return found


def test_a_yes_lets_the_request_pass_with_what_the_service_says() -> None:
    found = ask(
        ("/a?b", "Authorization: Bearer x", "X-User: root", "X-Secret: 1", "X-Forwarded-Method: DELETE"),
        upstream_headers=["x-user"],
        response_headers=["set-cookie"],
    )
    (question,) = found.asked
    assert question.line == "GET /a?b HTTP/1.1"
    names = ("host", "authorization", "x-secret", "x-forwarded-method", "x-forwarded-uri", "x-forwarded-for")
    assert [question.field(name) for name in names] == ["a.test", "Bearer x", None, "GET", "/a?b", "127.0.0.1"]
    (passed,) = found.passed
    assert (passed.field("x-user"), passed.field("x-other"), passed.field("authorization")) == ("ann", None, "Bearer x")
    assert found.replies[0].field("set-cookie") == "a=1, b=2"
    assert found.values == {"allowed": 1, "denied": 0, "failures_allowed": 0}


def test_with_a_path_every_request_is_a_get_of_it() -> None:
    found = ask(("/a", b"body"), path="/verify?x=1", host="auth.test", ask_headers=["*"])
    (question,) = found.asked
    assert (question.line, question.field("host")) == ("GET /verify?x=1 HTTP/1.1", "auth.test")
    assert (question.field("x-forwarded-method"), question.field("content-length")) == ("POST", None)
    assert found.passed[0].body == b"body"


def test_paths_may_get_a_prefix_and_bodies_may_be_shown() -> None:
    found = ask(("/a", b"body"), ("/a", b"x" * 11), path_prefix="/check", body=10)
    (question,) = found.asked
    assert (question.line, question.body) == ("POST /check/a HTTP/1.1", b"body")
    assert [reply.status for reply in found.replies] == [200, 413]
    assert [seen.body for seen in found.passed] == [b"body"]


@pytest.mark.parametrize(
    ("status", "lines"),
    [("401 Unauthorized", ["WWW-Authenticate: Bearer"]), ("302 Found", ["Location: /login", "Set-Cookie: s=1"])],
)
def test_a_no_is_what_the_client_gets(status: str, lines: list[str]) -> None:
    found = ask(answer=ok(b"<p>no</p>", "Content-Type: text/html", "X-Internal: 1", *lines, status=status))
    (reply,) = found.replies
    assert (reply.status, reply.body) == (int(status[:3]), b"<p>no</p>")
    assert reply.field("content-type") == "text/html"
    assert reply.field("x-internal") is None
    assert all(reply.field(line.partition(":")[0]) for line in lines)
    assert found.passed == []
    assert found.values["denied"] == 1


FAILURES: list[tuple[Answer, str]] = [
    (ok(b"", status="500 Internal Server Error"), "status_5xx"),
    (send(b"", close=True), "connection_closed"),
    (send(b"nonsense\r\n\r\n"), "bad_status_line"),
    (ok(b"x" * 70_000), "response_too_large"),
    (send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", close=True), "response_cut_short"),
    (send(b""), "timeout"),
]


@pytest.mark.parametrize("policy", ["deny", "allow"])
@pytest.mark.parametrize(("answer", "reason"), FAILURES, ids=[reason for _, reason in FAILURES])
def test_a_service_that_cannot_be_asked(answer: Answer, reason: str, policy: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, upstream(answer) as auth:
            use = {"use": "ext_authz", "cluster": "auth", "timeout": "300ms", "on_failure": policy,
                   "upstream_headers": ["x-user"]}  # fmt: skip
            clusters = {"clusters": [{"name": "auth", "endpoints": [f"{HOST}:{auth.port}"]}]}
            async with http_proxy(up, filters=[use], config=clusters) as proxy, connect(proxy) as client:
                reply = await client.get("/", "X-User: root")
                assert reply.status == (503 if policy == "deny" else 200)
                assert [seen.field("x-user") for seen in up.seen] == ([] if policy == "deny" else [None])
                assert failures(proxy, reason) == 1
                assert proxy.value("l4proxy_http_cluster_requests_active", cluster="auth") == 0

    run(conversation)


def failures(proxy: Proxy, reason: str) -> Any:
    return proxy.value("l4proxy_http_ext_authz_failures_total", name="ext_authz", reason=reason)


def test_nobody_there_is_a_failure_too() -> None:
    async def conversation() -> None:
        clusters = {"clusters": [{"name": "auth", "endpoints": [f"{HOST}:1"]}]}
        use = {"use": "ext_authz", "cluster": "auth"}
        async with upstream() as up, http_proxy(up, filters=[use], config=clusters) as proxy, connect(proxy) as client:
            assert (await client.get()).status == 503
            assert failures(proxy, "connect_refused") == 1

    run(conversation)


def test_a_client_that_goes_away_takes_the_question_with_it() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def answer(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        gone.set()

    async def conversation() -> None:
        clusters = {"clusters": [{"name": "auth", "endpoints": []}]}
        async with upstream() as up, upstream(answer) as auth:
            clusters["clusters"][0]["endpoints"] = [f"{HOST}:{auth.port}"]
            use = {"use": "ext_authz", "cluster": "auth", "timeout": "1h"}
            async with http_proxy(up, filters=[use], config=clusters) as proxy:
                async with connect(proxy) as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await asked.wait()
                    sock = client.writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.writer.transport.abort()
                await gone.wait()
                assert up.seen == []

    run(conversation)


def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    """The service closes after each answer, without saying so."""

    async def conversation() -> None:
        async with (
            upstream() as up,
            upstream(send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", close=True)) as auth,
        ):
            clusters = {"clusters": [{"name": "auth", "endpoints": [f"{HOST}:{auth.port}"]}]}
            use = {"use": "ext_authz", "cluster": "auth"}
            async with http_proxy(up, filters=[use], config=clusters) as proxy, connect(proxy) as client:
                for _ in range(5):
                    assert (await client.get()).status == 200

    run(conversation)


def test_pipelined_requests_are_asked_about_in_turn() -> None:
    async def conversation(client: Client) -> None:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]

    async def everything() -> None:
        async with upstream() as up, upstream(YES) as auth:
            clusters = {"clusters": [{"name": "auth", "endpoints": [f"{HOST}:{auth.port}"]}]}
            use = {"use": "ext_authz", "cluster": "auth"}
            async with http_proxy(up, filters=[use], config=clusters) as proxy, connect(proxy) as client:
                await conversation(client)
                assert [seen.line for seen in up.seen] == ["GET /a HTTP/1.1", "GET /b HTTP/1.1"]
                assert auth.connections == [2]

    run(everything)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "verify"}, "does not begin with a slash"),
        ({"path": "/a", "path_prefix": "/b"}, "not beside path"),
        ({"cluster": "uth"}, "no cluster 'uth'.*did you mean"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(**options)
