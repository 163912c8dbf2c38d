"""HTTP/2 clients through a real proxy to HTTP/1 upstreams."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import subprocess
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from clusters import run, until
from http2_peers import h2_connect
from http_peers import Seen, connect, http_proxy, ok, read_head, send, upstream
from l4proxy.protocols.http2.codes import FrameType
from l4proxy.protocols.http2.frames import MAX_STREAM_ID, frame
from proxying import HOST, Proxy
from services.certs import Certs
from services.go import go_program
from services.needs import needs, program


def test_a_request_becomes_one_of_http_1_and_its_response_comes_back() -> None:
    async def conversation() -> None:
        answer = ok(b"hello", "X-Cased: Yes", "Connection: x-hop", "X-Hop: gone", status="203 Whatever")
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            reply = await client.get("/a?b", ("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2"), ("te", "trailers"))
            assert up.seen[0].line == "GET /a?b HTTP/1.1"
            assert up.seen[0].lines == [
                "host: a.test", "cookie: a=1; b=2", "x-y: z", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http",
            ]  # fmt: skip
            assert reply.headers == [(":status", "203"), ("x-cased", "Yes"), ("content-length", "5")]
            assert reply.body == b"hello"
            assert proxy.value("l4proxy_http_connections_total", http="http", version="http2") == 1

    run(conversation)


def test_many_requests_at_once_are_answered_as_they_come() -> None:
    async def answer(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        target = seen.line.split()[1]
        if int(target[1:]) % 3 == 0:
            await asyncio.sleep(0.05)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(target)}\r\n\r\n{target}".encode())

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            streams = {at: client.open(f"/{at}") for at in range(90)}
            for at, stream in streams.items():
                assert (await client.reply(stream)).body == f"/{at}".encode()

    run(conversation)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_a_request_without_a_body_is_whole_before_its_end(watched: bool, ended: bool) -> None:
    """Over HTTP/1 it is, and its connection is another request's when its end comes."""
    head = [("content-length", "0"), ("content-type", "application/grpc")]

    async def conversation() -> None:
        options: dict[str, Any] = {"filters": [{"use": "grpc"}] if watched else [], "upstream": {"protocol": "http1"}}
        async with upstream() as up, http_proxy(up, **options) as proxy, h2_connect(proxy) as client:
            for _ in range(2):
                stream = client.open("/", *head, method="POST", end=ended)
                await client.until(lambda reply: reply.ended, client.replies[stream])
                assert (client.replies[stream].status, client.replies[stream].body) == (200, b"ok")
                if not ended:
                    await client.until(lambda reply: reply.reset == 0, client.replies[stream])
            waits = [client.open("/", *head, method="POST", end=False) for _ in range(20)]
            for stream in waits[::2]:
                client.h2.end_stream(stream)
            for stream in waits[1::4]:
                client.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
            client.flush()
            for stream in waits:
                assert (await client.reply(stream)).body == b"ok"
            assert len(up.seen) == 22
            assert not client.closed

    run(conversation)


@pytest.mark.parametrize("early", [False, True])
def test_a_tunnel_that_is_refused_takes_nothing_and_one_that_is_not_ends_with_trailers(early: bool) -> None:
    asked, goes_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        if "agrees" in seen.line:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert await reader.read() == b"data"
            ended.set()
        else:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno")
            await goes_on.wait()
            writer.write(b"pe")

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            for path in ("/refuses", "/agrees"):
                asked.clear()
                head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path)]
                stream = client.send([*head, (":authority", "a")], end=False)
                if not early:
                    await client.until(lambda reply: reply.headers, client.replies[stream])
                client.h2.send_data(stream, b"data")
                client.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
                client.flush()
                await asked.wait()
                if path == "/refuses":
                    await client.until(lambda reply: reply.body == b"no", client.replies[stream])
                    goes_on.set()
                    assert (await client.reply(stream)).body == b"nope"
                else:
                    await ended.wait()
            assert not client.closed

    run(conversation)


@pytest.mark.parametrize("leaves", [False, True])
def test_an_answer_does_not_wait_for_ever_for_a_window(leaves: bool) -> None:
    """The client says nothing after its request; or ends its side, so that it cannot open windows any more."""
    asked, answers = asyncio.Event(), asyncio.Event()

    async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answers.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def conversation() -> None:
        route = {"prefix": "/", "cluster": "up", "idle_timeout": "30s"}
        options: dict[str, Any] = {"routes": [route], "limits": {"stream_idle_timeout": "30s" if leaves else "0.5s"}}
        async with upstream(answer) as up, http_proxy(up, **options) as proxy, h2_connect(proxy) as client:
            client.opens_windows = False
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            stream = client.open("/")
            await asked.wait()
            if leaves:
                client.writer.write_eof()
            else:
                await until(lambda: not looks_later(proxy))
            answers.set()
            await client.until(lambda: client.replies[stream].reset is not None)
            assert (client.replies[stream].status, client.replies[stream].body) == (200, b"")
            if leaves:
                await client.until(lambda: client.closed)

    run(conversation)


def test_a_client_that_has_ended_its_side_is_waited_for_for_a_while() -> None:
    """All that the system says of most clients that are gone is that they send nothing more."""
    begin, gone = asyncio.Event(), asyncio.Event()

    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "/never" in seen.line:
            assert await reader.read() == b""
            gone.set()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        begin.set()
        await gone.wait()
        writer.write(b"k")

    async def conversation() -> None:
        options: dict[str, Any] = {"limits": {"half_close_timeout": "50ms"}}
        async with upstream(answer) as up, http_proxy(up, **options) as proxy, h2_connect(proxy) as client:
            begun, never = client.open("/begun"), client.open("/never")
            await begin.wait()
            await client.until(lambda: client.replies[begun].headers)
            client.writer.write_eof()
            assert (await client.reply(never)).reset == ErrorCodes.CANCEL
            assert (await client.reply(begun)).body == b"ok"
            await client.until(lambda: client.closed)
            assert proxy.value("l4proxy_http_resets_total", http="http", reason="client_reset") == 1
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit="half_close_timeout") == 1

    run(conversation)


def test_stream_ids_run_out() -> None:
    """A client may leave out all numbers but the last one: it is answered, and needs another connection then."""

    async def conversation() -> None:
        async with upstream(ok(b"x")) as up, http_proxy(up) as proxy:
            async with h2_connect(proxy) as client:
                assert (await client.get()).body == b"x"
                client.h2.highest_outbound_stream_id = MAX_STREAM_ID - 2
                last = client.open("/")
                assert last == MAX_STREAM_ID
                assert (await client.reply(last)).body == b"x"
                await client.until(lambda: client.closed)
                assert client.goaway is not None
                assert client.goaway.error_code == ErrorCodes.NO_ERROR
            async with h2_connect(proxy) as client:
                assert (await client.get()).body == b"x"
            await until(lambda: not proxy.server.listeners[0].connections)
            labels = {"peers": "clients of http"}
            assert proxy.value("l4proxy_http2_stream_ids_exhausted_total", **labels) == 1
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


def looks_later(proxy: Proxy) -> bool:
    """Whether the only connection has a timer that looks at its time limits."""
    (connection,) = proxy.server.listeners[0].connections.values()
    http: Any = connection.filters[-1]
    return http._connection._timer is not None


@pytest.mark.parametrize("size", [1, 1000, 100_000, 3_000_000])
@pytest.mark.parametrize("length", [False, True], ids=["unknown", "known"])
def test_bodies_pass_both_ways(size: int, length: bool) -> None:
    async def echo(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        framing = f"Content-Length: {len(seen.body)}" if length else "Transfer-Encoding: chunked"
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        writer.write(seen.body if length else b"%x\r\n%b\r\n0\r\n\r\n" % (len(seen.body), seen.body))

    async def conversation() -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        async with upstream(echo) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            extra = [("content-length", str(size))] if length else []
            for _ in range(2):
                reply = await client.get("/", *extra, method="POST", body=body)
                assert hashlib.sha256(reply.body).digest() == hashlib.sha256(body).digest()
            assert up.connections == [2]
            assert (up.seen[0].field("transfer-encoding") is None) is length

    run(conversation)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_client_that_opens_its_windows_wide_gets_large_writes(certs: Certs, tls: bool) -> None:
    body = bytes(range(256)) * 20_000

    async def conversation() -> None:
        listener = {"tls": {"cert": str(certs.server.cert), "key": str(certs.server.key)}} if tls else {}
        context = ssl.create_default_context(cafile=certs.ca) if tls else None
        if context is not None:
            context.set_alpn_protocols(["h2"])
        async with (
            upstream(ok(body)) as up,
            http_proxy(up, config={"listener": listener}) as proxy,
            h2_connect(proxy, context, initial_window_size=1 << 28) as client,
        ):
            client.h2.increment_flow_control_window(1 << 28)
            client.flush()
            streams = [client.open(f"/{at}") for at in range(3)]
            for stream in streams:
                assert hashlib.sha256((await client.reply(stream)).body).digest() == hashlib.sha256(body).digest()

    run(conversation)


def test_trailers_pass_both_ways() -> None:
    async def answer(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"X-T: 1\r\n\r\n".lower()))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-U: 2\r\n\r\n")

    got: list[bytes] = []

    async def conversation() -> None:
        async with upstream(answer, body=False) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            stream = client.open(method="POST", end=False)
            client.h2.send_data(stream, b"hello")
            client.h2.send_headers(stream, [("x-t", "1")], end_stream=True)
            client.flush()
            reply = await client.reply(stream)
            assert (reply.body, reply.trailers) == (b"hi", [("x-u", "2")])

    run(conversation)


def test_head_and_empty_answers() -> None:
    async def conversation() -> None:
        head = send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        none = send(b"HTTP/1.1 204 No Content\r\n\r\n")
        async with upstream(head, none) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            reply = await client.get(method="HEAD")
            assert (reply.field("content-length"), reply.body) == ("99", b"")
            assert (await client.get()).status == 204

    run(conversation)


def test_informational_responses_pass() -> None:
    async def answer(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            reply = await client.get()
            assert reply.informational == [[(":status", "103"), ("link", "x")]]
            assert reply.status == 200

    run(conversation)


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        ([("transfer-encoding", "chunked")], "connection_header"),
        ([("connection", "close")], "connection_header"),
        ([("content-length", "5"), ("content-length", "6")], "repeated_header"),
        ([("host", "b.test")], "authority_mismatch"),
        ([("x", "a\r\nInjected: yes")], "bad_header_value"),
        ([("x: y\r\nInjected", "yes")], "bad_header_name"),
        ([("X-Upper", "y")], "bad_header_name"),
    ],
)
def test_what_could_be_smuggled_never_becomes_a_request(extra: list[tuple[str, str]], rule: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            reply = await client.get("/", *extra)
            assert (reply.status, reply.reset) == (400, ErrorCodes.PROTOCOL_ERROR)
            assert up.seen == []
            labels = {"peers": "clients of http", "rule": rule}
            assert proxy.value("l4proxy_http2_stream_errors_total", **labels) == 1
            assert (await client.get()).status == 200

    run(conversation)


@pytest.mark.parametrize("sent", [3, 8])
def test_a_body_of_another_length_than_was_promised_does_not_reach_the_next_request(sent: int) -> None:
    async def conversation() -> None:
        async with upstream(ok()) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            client.h2.config.validate_outbound_headers = False
            stream = client.open("/", ("content-length", "5"), method="POST", end=False)
            client.h2.send_data(stream, b"x" * sent, end_stream=True)
            client.flush()
            reply = await client.reply(stream)
            assert reply.reset == ErrorCodes.PROTOCOL_ERROR
            assert up.seen == []
            assert (await client.get()).status == 200

    run(conversation)


def test_underscores_are_dropped_kept_or_refused() -> None:
    async def conversation() -> None:
        for policy, lines, status in (("drop", 0, 200), ("keep", 1, 200), ("reject", 0, None)):
            async with upstream() as up, http_proxy(up, underscores=policy) as proxy, h2_connect(proxy) as client:
                reply = await client.get("/", ("x_y", "z"))
                assert (reply.status if status else reply.reset) == (status or ErrorCodes.PROTOCOL_ERROR)
                assert sum("x_y: z" in seen.lines for seen in up.seen) == lines

    run(conversation)


def test_a_head_that_is_too_large_is_answered_with_431() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, limits={"max_fields": 10}) as proxy, h2_connect(proxy) as client:
            assert (await client.get("/", *[("x", "y")] * 10)).status == 431
            assert (await client.get()).status == 200

    run(conversation)


def test_a_client_that_resets_ends_the_request_and_no_other() -> None:
    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("GET /slow"):
            assert await reader.read() == b""
            gone.set()
        else:
            await ok()(seen, reader, writer)

    gone = asyncio.Event()

    async def conversation() -> None:
        async with upstream(answer, body=False) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            stream = client.open("/slow")
            while not up.seen:
                await asyncio.sleep(0.01)
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
            async with asyncio.timeout(10):
                await gone.wait()
            assert (await client.get()).body == b"ok"
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


def test_an_upstream_that_breaks_off_resets_the_stream_and_no_other() -> None:
    async def conversation() -> None:
        short = send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close=True)
        async with upstream(short, ok()) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            reply = await client.get()
            assert (reply.status, reply.body, reply.ended) == (200, b"half", False)
            assert reply.reset == ErrorCodes.INTERNAL_ERROR
            assert (await client.get()).body == b"ok"

    run(conversation)


def test_an_early_answer_tells_the_client_to_send_no_more() -> None:
    async def conversation() -> None:
        no = send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        async with upstream(no, body=False) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            stream = client.open(method="POST", end=False)
            reply = await client.reply(stream)
            await client.until(lambda: reply.reset is not None)
            assert (reply.status, reply.body, reply.reset) == (413, b"no", ErrorCodes.NO_ERROR)

    run(conversation)


def test_a_slow_reader_stops_its_own_stream_only() -> None:
    """Its window never opens: what the proxy reads for it is bounded, and the others go on."""

    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("GET /large"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
            with_size.append(0)
            while with_size[0] < 50_000_000:
                writer.write(bytes(65536))
                await writer.drain()
                with_size[0] += 65536
        else:
            await ok()(seen, reader, writer)

    with_size: list[int] = []

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            client.opens_windows = False
            stream = client.open("/large")
            await client.until(lambda: len(client.replies[stream].body) == 65535)
            client.h2.increment_flow_control_window(1 << 20)
            client.flush()
            for _ in range(20):
                assert (await client.get()).body == b"ok"
            assert len(client.replies[stream].body) == 65535
            assert with_size[0] < 20_000_000  # what sockets hold, and 128 KiB

    run(conversation)


def test_large_bodies_share_a_connection_evenly() -> None:
    async def conversation() -> None:
        body = bytes(1_000_000)
        async with upstream(ok(body)) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            streams = [client.open(f"/{at}") for at in range(4)]
            halfway = client.replies[streams[0]]
            await client.until(lambda: len(halfway.body) > 500_000)
            assert all(len(client.replies[stream].body) > 100_000 for stream in streams)
            for stream in streams:
                assert len((await client.reply(stream)).body) == len(body)

    run(conversation)


def test_websocket_over_http_2_becomes_an_upgrade() -> None:
    """RFC 8441; what the client sends before the answer waits for it."""

    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = seen.field("sec-websocket-key")
        assert key is not None
        assert len(key) == 24
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\nX-Y: z\r\n\r\n"
        )
        while data := await reader.read(100):
            writer.write(data.upper())

    async def conversation() -> None:
        async with upstream(answer, body=False) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            await client.until(lambda: client.h2.remote_settings.enable_connect_protocol)
            head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
                    (":authority", "a.test"), ("sec-websocket-version", "13")]  # fmt: skip
            stream = client.send(head, end=False)
            client.h2.send_data(stream, b"early ")
            client.flush()
            await client.until(lambda: client.replies[stream].headers)
            assert client.replies[stream].headers == [(":status", "200"), ("x-y", "z")]
            client.h2.send_data(stream, b"late")
            client.flush()
            await client.until(lambda: client.replies[stream].body == b"EARLY LATE")
            assert up.seen[0].line == "GET /chat HTTP/1.1"
            assert up.seen[0].field("upgrade") == "websocket"
            client.h2.end_stream(stream)
            client.flush()
            await client.reply(stream)

    run(conversation)


def test_an_upgrade_that_is_refused_is_an_answer_and_what_came_early_is_dropped() -> None:
    async def conversation() -> None:
        async with (
            upstream(ok(b"no", status="403 Forbidden")) as up,
            http_proxy(up) as proxy,
            h2_connect(proxy) as client,
        ):
            await client.until(lambda: client.h2.remote_settings.enable_connect_protocol)
            head = [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ]
            stream = client.send(head, end=False)
            client.h2.send_data(stream, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            client.flush()
            reply = await client.reply(stream)
            assert (reply.status, reply.body) == (403, b"no")
            assert (await client.get("/next")).status == 403
            assert [seen.line for seen in up.seen] == ["GET / HTTP/1.1", "GET /next HTTP/1.1"]

    run(conversation)


def test_h2c_by_upgrade_is_not_spoken() -> None:
    """The request is answered over HTTP/1.1, as RFC 9113 section 3.1 leaves it to us."""

    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, connect(proxy) as client:
            upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
            reply = await client.get("/", *upgrade)
            assert (reply.line, reply.body) == ("HTTP/1.1 200 OK", b"ok")
            assert up.seen[0].field("upgrade") is up.seen[0].field("http2-settings") is None

    run(conversation)


def test_a_flood_is_counted_and_ends_the_connection() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            await client.get()
            for _ in range(1000):
                client.h2.ping(b"12345678")
            client.flush()
            await client.until(lambda: client.closed)
            assert client.goaway is not None
            assert client.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
            assert client.goaway.additional_data == b"pings_flood"
            assert proxy.value("l4proxy_http2_floods_total", peers="clients of http", kind="pings") == 1

    run(conversation)


def test_a_head_that_does_not_end_ends_the_connection() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, limits={"head_timeout": "0.2s"}) as proxy,
            h2_connect(proxy) as client,
        ):
            await client.get()
            client.writer.write(frame(FrameType.HEADERS, 0, 3, b"\x82"))
            await client.until(lambda: client.closed)
            assert client.goaway is not None
            assert client.goaway.additional_data == b"head_timeout"

    run(conversation)


def test_a_body_that_does_not_come_ends_its_request_alone() -> None:
    async def conversation() -> None:
        async with (
            upstream() as up,
            http_proxy(up, limits={"body_timeout": "0.2s"}) as proxy,
            h2_connect(proxy) as client,
        ):
            stalled = client.open(method="POST", end=False)
            reply = await client.reply(stalled)
            assert (reply.status, up.seen) == (408, [])
            assert (await client.get()).status == 200

    run(conversation)


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    """The exchange is over, and the endpoint free: what is left is a stream whose window never opens."""

    async def conversation() -> None:
        limits = {"stream_idle_timeout": "0.5s"}
        async with (
            upstream() as up,
            http_proxy(up, limits=limits) as proxy,
            h2_connect(proxy, initial_window_size=0) as client,
        ):
            stream = client.open()
            reply = await client.reply(stream)
            assert (reply.status, reply.body, reply.reset) == (200, b"", ErrorCodes.CANCEL)
            assert not client.closed

    run(conversation)


def test_rapid_resets_reach_no_more_than_what_is_allowed() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            for _ in range(400):
                client.h2.reset_stream(client.open(), ErrorCodes.CANCEL)
            client.flush()
            await client.until(lambda: client.closed)
            assert proxy.value("l4proxy_http2_floods_total", peers="clients of http", kind="resets") == 1
            assert len(up.seen) <= 200
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


def test_a_client_that_breaks_the_protocol_is_told_why() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            await client.get()
            client.writer.write(b"\0\0\0\x09\4\0\0\0\1")
            await client.until(lambda: client.closed)
            assert client.goaway is not None
            assert client.goaway.additional_data == b"unexpected_continuation"
            rule = "unexpected_continuation"
            assert proxy.value("l4proxy_http_protocol_errors_total", http="http", rule=rule) == 1

    run(conversation)


def test_draining_lets_requests_finish_and_then_closes() -> None:
    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await ok()(seen, reader, writer)

    release = asyncio.Event()

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            stream = client.open()
            while not up.seen:
                await asyncio.sleep(0.01)
            proxy.server.listeners[0].drain()
            await client.until(lambda: client.goaway)
            assert not client.closed
            release.set()
            assert (await client.reply(stream)).body == b"ok"
            await client.until(lambda: client.closed)
            assert client.goaway is not None
            assert client.goaway.last_stream_id == stream

    run(conversation)


@pytest.mark.parametrize("options", [{"limits": {"idle_timeout": "0.2s"}}, {"http2": {"max_connection_age": "0.2s"}}])
def test_idle_and_old_connections_are_ended_in_order(options: dict[str, object]) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, **options) as proxy, h2_connect(proxy) as client:
            await client.get()
            await client.until(lambda: client.closed)
            assert client.goaway is not None
            assert (client.goaway.error_code, client.goaway.last_stream_id) == (0, 1)

    run(conversation)


def test_a_client_that_ends_its_side_still_gets_its_answers() -> None:
    async def answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        await ok()(seen, reader, writer)

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy, h2_connect(proxy) as client:
            await client.get()
            stream = client.open()
            client.writer.write_eof()
            assert (await client.reply(stream)).body == b"ok"
            await client.until(lambda: client.closed)

    run(conversation)


def test_filters_and_direct_answers_work_as_with_http_1() -> None:
    async def conversation() -> None:
        routes = [{"path": "/no", "respond": {"status": 403, "text": "no"}}, {"prefix": "/", "cluster": "up"}]
        filters = [{"use": "request_id"}]
        async with (
            upstream() as up,
            http_proxy(up, routes=routes, filters=filters) as proxy,
            h2_connect(proxy) as client,
        ):
            assert ((await client.get("/no")).status, (await client.get("/x")).status) == (403, 200)
            assert up.seen[0].field("x-request-id")

    run(conversation)


def test_tls_agrees_on_it_without_a_word_of_configuration(certs: Certs) -> None:
    async def conversation() -> None:
        tls = {"cert": str(certs.server.cert), "key": str(certs.server.key)}
        context = ssl.create_default_context(cafile=certs.ca)
        context.set_alpn_protocols(["h2"])
        async with upstream() as up, http_proxy(up, config={"listener": {"tls": tls}}) as proxy:
            async with h2_connect(proxy, context) as client:
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
                assert (await client.get()).body == b"ok"
            assert up.seen[0].field("x-forwarded-proto") == "https"
            plain = ssl.create_default_context(cafile=certs.ca)
            plain.set_alpn_protocols(["http/1.1"])
            reader, writer = await asyncio.open_connection(HOST, proxy.port, ssl=plain, server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await read_head(reader))[0] == "HTTP/1.1 200 OK"
            writer.close()

    run(conversation)


@needs("h2load")
def test_h2load() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:
            argv = [program("h2load"), "-n2000", "-c4", "-m50", f"http://{HOST}:{proxy.port}/"]
            process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
            output, _ = await process.communicate()
            assert b"2000 succeeded, 0 failed" in output
            assert sum(up.connections) == 2000

    run(conversation)


@needs("curl")
@pytest.mark.parametrize("how", ["--http2-prior-knowledge", "--http2"])
def test_curl(how: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:
            argv = [program("curl"), "-sS", how, "-d", "x=y", "-w", "%{http_version}", f"http://{HOST}:{proxy.port}/"]
            process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
            output, _ = await process.communicate()
            assert output == (b"ok2" if how == "--http2-prior-knowledge" else b"ok1.1")
            assert up.seen[0].body == b"x=y"

    run(conversation)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("options", [{"protocol": "http2"}, {}], ids=["told", "auto"])
def test_h2spec(certs: Certs, tls: bool, options: dict[str, Any]) -> None:
    """All of it, strictly, through the proxy; also where that finds out what its clients speak. The invalid preface of
    one case is then, without TLS, no HTTP/1 either, and answered so, which h2spec cannot read.

    Not with a route that answers by itself: what h2spec sends wrong behind the head of a request finds it answered, or
    not, as it happens."""

    async def conversation() -> None:
        listener = {"tls": {"cert": str(certs.server.cert), "key": str(certs.server.key)}} if tls else {}
        async with upstream(ok(b"x" * 100)) as up, http_proxy(up, **options, config={"listener": listener}) as proxy:
            argv = [h2spec, "-h", HOST, "-p", str(proxy.port), "--strict", "-o", "20", *(["-t", "-k"] if tls else [])]
            process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
            output = (await process.communicate())[0].decode()
        summary = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output)
        assert summary, output[-2000:]
        failures = output[output.find("Failures:") :] if "Failures:" in output else ""
        failed = int("protocol" not in options and not tls)
        assert summary.groups() == ("146", str(146 - failed), "0", str(failed)), failures
        assert ("2: Sends invalid connection preface" in failures) == failed

    h2spec = go_program("h2spec")
    run(conversation)
