"""Requests through a real proxy: what passes, in which form, and what becomes of everything that goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from clusters import refused, run
from http_peers import Client, Pour, Seen, connect, http_proxy, ok, read_head, send, upstream
from l4proxy.plugins.http.exchange import Exchange

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_a_request_passes_as_it_came_and_so_does_its_response() -> None:
    async def conversation() -> None:
        response = b"HTTP/1.1 203 As It Is\r\nX-CASED:  Yes \r\nx-cased: no\r\nContent-Length: 2\r\n\r\nhi"
        async with upstream(send(response)) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"GET /a/b?c=%20// HTTP/1.1\r\nHost: A.test\r\nUser-AGENT:  me\r\nuser-agent: you\r\n\r\n")
            await client.reader.readexactly(len(response))
            assert up.seen[0].line == "GET /a/b?c=%20// HTTP/1.1"
            assert up.seen[0].lines == [
                "Host: A.test", "User-AGENT:  me", "user-agent: you", "X-Forwarded-For: 127.0.0.1",
                "X-Forwarded-Proto: http",
            ]  # fmt: skip
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await client.reader.readexactly(len(response)) == response

    run(conversation)


def test_connections_to_endpoints_are_used_again() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:
            for _ in range(3):
                async with connect(proxy) as client:
                    for _ in range(4):
                        assert (await client.get()).body == b"ok"
            assert up.connections == [12]

    run(conversation)


@pytest.mark.parametrize("size", [1, 1000, 100_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_both_ways(size: int, chunked: bool) -> None:
    async def echo(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(seen.body)}"
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(seen.body), seen.body) if chunked else seen.body)

    async def conversation() -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        async with upstream(echo) as up, http_proxy(up) as proxy, connect(proxy) as client:
            for _ in range(2):
                if chunked:
                    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                    for at in range(0, size, 70_000):
                        piece = body[at : at + 70_000]
                        client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                    client.send(b"0\r\n\r\n")
                    reply = await client.reply()
                else:
                    reply = await client.get(method="POST", body=body)
                assert hashlib.sha256(reply.body).digest() == hashlib.sha256(body).digest()
            assert up.connections == [2]
            assert (up.seen[0].field("transfer-encoding") == "chunked") is chunked

    run(conversation)


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def answer(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        target = seen.line.split()[1]
        if target == "/0":
            await asyncio.sleep(0.05)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(target)}\r\n\r\n{target}".encode())

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % at for at in range(50)))
            for at in range(50):
                assert (await client.reply()).body == b"/%d" % at

    run(conversation)


def test_a_thousand_pipelined_requests_that_need_no_upstream_do_not_nest() -> None:
    async def conversation() -> None:
        async with http_proxy(routes=[{"respond": {"text": "x"}}]) as proxy, connect(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
            for _ in range(2000):
                assert (await client.reply()).body == b"x"

    run(conversation)


def test_100_continue_comes_from_the_upstream() -> None:
    async def answer(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    async def conversation() -> None:
        async with upstream(answer, body=False) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert (await read_head(client.reader))[0] == "HTTP/1.1 100 Continue"
            client.send(b"hello")
            assert (await client.reply()).body == b"hello"

    run(conversation)


def test_a_client_that_is_refused_before_its_body_hears_so_and_is_closed() -> None:
    async def conversation() -> None:
        no = send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        async with upstream(no, body=False) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            reply = await client.reply()
            assert reply.status == 417
            assert await client.rest() == b""

    run(conversation)


def test_head_and_empty_answers_have_no_body() -> None:
    async def conversation() -> None:
        head = send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        none = send(b"HTTP/1.1 204 No Content\r\n\r\n")
        old = send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n")
        async with upstream(head, none, old) as up, http_proxy(up) as proxy, connect(proxy) as client:
            assert (await client.get(method="HEAD")).field("content-length") == "99"
            assert (await client.get()).status == 204
            assert (await client.get()).status == 304
            assert up.connections == [3]

    run(conversation)


def test_http_1_0_clients_get_what_they_understand() -> None:
    async def conversation() -> None:
        chunked = send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        async with upstream(chunked, ok()) as up, http_proxy(up) as proxy:
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/1.0\r\n\r\n")
                reply = await client.reply()
                assert (reply.body, reply.field("transfer-encoding"), reply.field("connection")) == (
                    b"hi",
                    None,
                    "close",
                )
                assert up.seen[0].line == "GET / HTTP/1.1"
                assert up.seen[0].field("host") == ""
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" * 2)
                assert (await client.reply()).field("connection") == "keep-alive"
                assert (await client.reply()).body == b"ok"

    run(conversation)


def test_connection_close_is_kept_to() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, connect(proxy) as client:
            reply = await client.get("/", "Connection: close")
            assert (reply.body, reply.field("connection")) == (b"ok", "close")
            assert await client.rest() == b""
            assert up.seen[0].field("connection") is None

    run(conversation)


def test_trailers_pass() -> None:
    async def conversation() -> None:
        body = b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
        answer = send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + body)
        async with upstream(answer) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await read_head(client.reader)
            assert await client.reader.readexactly(len(body)) == body

    run(conversation)


# Upstreams that fail, at each point


async def failing(answer: Callable[..., Awaitable[None]], **options: object) -> tuple[Client, int, str]:
    async with upstream(answer) as up, http_proxy(up, **options) as proxy, connect(proxy) as client:
        reply = await client.get()
        return client, reply.status, reply.body.decode()


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"", "connection_closed"),
        (b"HTTP/1.1 200 OK\r\nContent-", "response_cut_short"),
        (b"garbage\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "several_content_lengths"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "obs_fold"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "unexpected_switch"),
    ],
)
def test_an_upstream_that_says_nothing_of_use_is_a_502(data: bytes, details: str) -> None:
    _, status, body = run(lambda: failing(send(data, close=True)))
    assert (status, body) == (502, f"502 Bad Gateway: {details}\n")


@pytest.mark.parametrize("split", [False, True])
def test_a_mistake_of_the_proxys_own_is_a_502_and_no_silence(monkeypatch: pytest.MonkeyPatch, split: bool) -> None:
    def broken(*_: object) -> None:
        raise KeyError("mistake")

    async def conversation() -> None:
        answer = send(OK[:-2]) if split else ok()
        async with upstream(answer, ok()) as up, http_proxy(up) as proxy, connect(proxy) as client:
            with monkeypatch.context() as patched:
                patched.setattr(Exchange, "on_response", broken)
                reply = await client.get(method="POST")
                assert (reply.status, reply.body) == (502, b"502 Bad Gateway: internal_error\n")
            assert (await client.get()).status == 200
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0
            assert proxy.value("l4proxy_cluster_connections_active", cluster="up") == 1

    run(conversation)


@pytest.mark.parametrize("status", [600, 999])
def test_a_status_beyond_all_classes_passes_and_counts_as_an_error(status: int) -> None:
    """RFC 9110 section 15; some services answer 999."""

    async def conversation() -> None:
        filters = [{"use": "request_id"}]
        for options in {}, {"filters": filters}, {"routes": [{"cluster": "up", "retry": {"on": ["reset"]}}]}:
            async with (
                upstream(ok(status=f"{status} Odd")) as up,
                http_proxy(up, **options) as proxy,
                connect(proxy) as client,
            ):
                assert (await client.get()).line == f"HTTP/1.1 {status} Odd"
                assert proxy.value("l4proxy_http_cluster_responses_total", cluster="up", **{"class": "5xx"}) == 1
                assert proxy.value("l4proxy_http_responses_total", http="http", **{"class": "5xx"}) == 1

    run(conversation)


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"])
def test_a_response_that_is_cut_short_does_not_look_complete(framing: bytes) -> None:
    async def conversation() -> None:
        answer = send(b"HTTP/1.1 200 OK\r\n" + framing, close=True)
        async with upstream(answer) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await client.reader.readexactly(500)

    run(conversation)


def test_nobody_there_is_a_503() -> None:
    async def conversation() -> None:
        async with http_proxy(refused()) as proxy, connect(proxy) as client:
            reply = await client.get()
            assert (reply.status, reply.body) == (503, b"503 Service Unavailable: connect_refused\n")
            assert reply.field("retry-after") == "1"

    run(conversation)


def test_a_stale_connection_is_noticed_and_another_one_taken() -> None:
    """The endpoint closes its connection just when the next request is on its way."""

    async def conversation() -> None:
        async with (
            upstream(ok(), send(b"", close=True), ok(b"again")) as up,
            http_proxy(up) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get()).body == b"ok"
            assert (await client.get()).body == b"again"
            assert up.connections == [2, 1]

    run(conversation)


def test_a_post_on_a_stale_connection_is_not_sent_twice() -> None:
    async def conversation() -> None:
        async with (
            upstream(ok(), send(b"", close=True), ok(b"again")) as up,
            http_proxy(up) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get()).body == b"ok"
            assert (await client.get(method="POST", body=b"x")).status == 502
            assert len(up.seen) == 2

    run(conversation)


def test_a_client_that_goes_away_takes_its_request_with_it() -> None:
    async def conversation() -> None:
        gone = asyncio.Event()

        async def wait(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
            assert await reader.read() == b""
            gone.set()

        async with upstream(wait) as up, http_proxy(up) as proxy:
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                while not up.seen:
                    await asyncio.sleep(0.01)
                sock = client.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.writer.transport.abort()
            await asyncio.wait_for(gone.wait(), 5)
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


def test_a_client_that_has_ended_its_side_is_waited_for_for_a_while() -> None:
    """All that the system says of most clients that are gone is that they send nothing more."""

    async def conversation() -> None:
        gone = asyncio.Event()

        async def wait(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
            assert await reader.read() == b""
            gone.set()

        async with upstream(wait) as up, http_proxy(up, limits={"half_close_timeout": "50ms"}) as proxy:
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.wait_for(gone.wait(), 10)
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0
            assert proxy.value("l4proxy_http_resets_total", http="http", reason="client_reset") == 1
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit="half_close_timeout") == 1

    run(conversation)


# Retries


def test_retries_go_to_another_endpoint() -> None:
    async def conversation() -> None:
        retry = {"on": ["gateway-error", "connect-failure"], "attempts": 3, "backoff": "1ms"}
        bad = ok(b"no", status="503 Service Unavailable")
        async with upstream(bad) as first, upstream(ok(b"good")) as second:
            routes = [{"cluster": "up", "retry": retry}]
            async with http_proxy(first, second, refused(), routes=routes) as proxy, connect(proxy) as client:
                for _ in range(6):
                    assert (await client.get()).body == b"good"

    run(conversation)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_came_behind_its_head_is_sent_again(chunked: bool) -> None:
    """It went straight through, and its end with it."""

    ending = b"0\r\n\r\n" if chunked else b"hello"

    async def drop(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(ending)
        writer.close()

    async def take(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readuntil(ending)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def conversation() -> None:
        routes = [{"cluster": "up", "retry": {"on": ["reset"], "methods": [], "attempts": 1}}]
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5"
        body = b"5\r\nhello\r\n0\r\n\r\n" if chunked else b"hello"
        async with upstream(drop, take, body=False) as up, http_proxy(up, routes=routes) as proxy:
            async with connect(proxy) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
                while not up.seen:
                    await asyncio.sleep(0)
                client.send(body)
                assert (await client.reply()).body == body
            assert len(up.seen) == 2

    run(conversation)


def test_a_body_is_sent_again_when_it_is_still_there() -> None:
    async def conversation() -> None:
        retry = {"on": ["5xx"], "attempts": 1, "backoff": 0, "methods": [], "buffer": 100}
        bad = ok(b"no", status="500 No")
        async with (
            upstream(bad, ok(b"good"), bad, ok(b"never")) as up,
            http_proxy(up, routes=[{"cluster": "up", "retry": retry}]) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get(method="POST", body=b"x" * 100)).body == b"good"
            assert [seen.body for seen in up.seen] == [b"x" * 100] * 2
            assert (await client.get(method="POST", body=b"x" * 101)).body == b"no"

    run(conversation)


# Time limits


@pytest.mark.parametrize(
    ("options", "status", "details"),
    [
        ({"timeout": "100ms"}, 504, "response_timeout"),
        ({"timeout": 0, "idle_timeout": "100ms"}, 504, "stream_idle_timeout"),
        ({"max_duration": "100ms"}, 504, "max_duration"),
        ({"retry": {"per_try_timeout": "100ms", "attempts": 1}}, 504, "per_try_timeout"),
    ],
)
def test_a_frozen_upstream_is_given_up(options: dict[str, object], status: int, details: str) -> None:
    async def freeze(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
        await reader.read()

    async def conversation() -> None:
        async with (
            upstream(freeze) as up,
            http_proxy(up, routes=[{"cluster": "up", **options}]) as proxy,
            connect(proxy) as client,
        ):
            reply = await client.get()
            assert (reply.status, reply.body.decode().split(": ")[1]) == (status, f"{details}\n")

    run(conversation)


def test_a_slow_head_and_a_slow_body_are_408() -> None:
    async def conversation() -> None:
        async with upstream(body=False) as up:
            limits = {"head_timeout": "100ms", "body_timeout": "100ms"}
            never = [{"cluster": "up", "timeout": 0}]
            async with http_proxy(up, routes=never, limits=limits) as proxy, connect(proxy) as client:
                client.send(b"GET / HTTP/1.1\r\nHos")
                assert (await client.reply()).status == 408
                assert await client.rest() == b""

    run(conversation)


def test_an_idle_client_is_closed() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, limits={"idle_timeout": "100ms"}) as proxy:
            async with connect(proxy) as client:
                assert (await client.get()).body == b"ok"
                assert await client.rest() == b""
            async with connect(proxy) as client:
                assert await client.rest() == b""

    run(conversation)


# Tunnels


def test_a_websocket_passes() -> None:
    async def switch(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (seen.field("upgrade"), seen.field("connection")) == ("websocket", "Upgrade")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    async def conversation() -> None:
        async with upstream(switch) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nearly")
            line, lines = await read_head(client.reader)
            assert line == "HTTP/1.1 101 Switching Protocols"
            assert "Connection: Upgrade" in lines
            assert await client.reader.readexactly(10) == b"helloEARLY"
            client.send(b"more")
            assert await client.reader.readexactly(4) == b"MORE"
            client.writer.write_eof()
            assert await client.rest() == b""

    run(conversation)


def test_an_upgrade_that_is_refused_is_an_ordinary_request() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, connect(proxy) as client:
            reply = await client.get("/", "Connection: Upgrade", "Upgrade: websocket")
            assert reply.body == b"ok"
            assert (await client.get()).body == b"ok"

    run(conversation)


@pytest.mark.parametrize("wanted", ["h2c", "h2c, websocket", "TLS/1.2"])
def test_no_upgrade_to_h2c(wanted: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, connect(proxy) as client:
            reply = await client.get(
                "/", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {wanted}", "HTTP2-Settings: AAM"
            )
            assert reply.status == 200
            assert up.seen[0].field("upgrade") is None
            assert up.seen[0].field("http2-settings") is None

    run(conversation)


def test_an_upgrade_that_no_route_allows_is_403() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, routes=[{"cluster": "up", "upgrades": []}]) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get("/", "Connection: Upgrade", "Upgrade: websocket")).status == 403

    run(conversation)


# Limits


def test_requests_over_the_limit_of_a_cluster_are_503() -> None:
    async def conversation() -> None:
        async def wait(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
            await reader.read()

        async with (
            upstream(wait) as up,
            http_proxy(up, upstream={"max_requests": 1}) as proxy,
            connect(proxy) as first,
            connect(proxy) as second,
        ):
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not up.seen:
                await asyncio.sleep(0.01)
            reply = await second.get()
            assert (reply.status, reply.body) == (503, b"503 Service Unavailable: max_requests\n")

    run(conversation)


def test_a_body_over_the_limit_is_413() -> None:
    async def conversation() -> None:
        async with (
            upstream(body=False) as up,
            http_proxy(up, limits={"max_body": 10}) as proxy,
            connect(proxy) as client,
        ):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
            assert (await client.reply()).status == 413

    run(conversation)


def test_a_connection_carries_no_more_requests_than_that() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, limits={"max_requests_per_connection": 2}) as proxy,
            connect(proxy) as client,
        ):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
            assert [(await client.reply()).field("connection") for _ in range(2)] == [None, "close"]
            assert await client.rest() == b""
            assert len(up.seen) == 2

    run(conversation)


def test_a_slow_reader_holds_its_upstream_and_bounds_memory() -> None:
    async def conversation() -> None:
        pour = Pour()
        async with upstream(pour) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await read_head(client.reader)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await pour.standstill()
            (connection,) = proxy.server.listeners[0].connections.values()
            assert connection.client.buffered < 1_000_000

    run(conversation)


@pytest.mark.parametrize("request_lines", [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc", UPGRADE])
def test_an_endpoint_that_ends_first_is_let_go(request_lines: bytes) -> None:
    """Its answer is complete and the request is not: what is left will never come, and the connection is of no use."""
    gone = asyncio.Event()
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

    async def answer(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request_lines is UPGRADE:
            writer.write(head)
            writer.write_eof()
        else:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()
        gone.set()

    async def conversation() -> None:
        async with upstream(answer, body=False) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(request_lines)
            assert (await client.rest()).startswith((b"HTTP/1.1 403", b"HTTP/1.1 101"))
            await gone.wait()

    run(conversation)
