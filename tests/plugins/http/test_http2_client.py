"""Clients through a real proxy to HTTP/2 upstreams, also to such as misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.errors import ErrorCodes

from clusters import run, until
from http2_peers import H2Connected, H2Upstream, Received, h2_connect, h2_upstream, reply_ok
from http2_wire import block, data, headers
from http_peers import Client, Seen, connect, http_proxy, read_head, upstream
from l4proxy.plugins.http.connection import ServerStream
from l4proxy.plugins.http.exchange import Exchange
from l4proxy.plugins.http.http2_client import MAX_REQUESTS, Http2Client
from l4proxy.plugins.http.http2_client_stream import Http2ClientStream
from l4proxy.protocols.http2.codes import PREFACE, FrameType, Setting
from l4proxy.protocols.http2.events import DataReceived
from l4proxy.protocols.http2.frames import (
    frame,
    goaway_frame,
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from l4proxy.protocols.http2.stream import Http2Stream
from proxying import HOST, Proxy, server
from services.certs import Certs

HTTP2 = {"upstream": {"protocol": "http2"}}
OK = [(":status", "200")]


def reset(client: Client) -> None:
    """Close with RST: FIN alone would say that the client waits for its answer."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


@asynccontextmanager
async def through(up: H2Upstream, **options: Any) -> AsyncIterator[Proxy]:
    upstream = {"protocol": "http2", **options.pop("upstream", {})}
    async with http_proxy(f"{HOST}:{up.port}", upstream=upstream, **options) as proxy:
        yield proxy


@pytest.mark.parametrize("version", [1, 2])
def test_a_request_passes_and_its_response_comes_back(version: int) -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        await connection.whole(request)
        connection.respond(request, [("x-y", "z"), ("content-length", "5")], status=203)
        await connection.send_body(request.stream_id, b"hello")

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy:
            expected = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/a?b"),
                        ("x-1", "2"), ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http")]  # fmt: skip
            if version == 1:
                async with connect(proxy) as client:
                    reply = await client.get("/a?b", "X-1: 2", "Connection: keep-alive, X-Hop", "X-Hop: 1")
                    assert (reply.status, reply.field("x-y"), reply.body) == (203, "z", b"hello")
                    assert reply.field("transfer-encoding") is None
            else:
                async with h2_connect(proxy) as client2:
                    reply2 = await client2.get("/a?b", ("x-1", "2"))
                    assert reply2.headers == [(":status", "203"), ("x-y", "z"), ("content-length", "5")]
                    assert reply2.body == b"hello"
            assert up.seen[0].headers == expected

    run(conversation)


@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_what_is_over_is_gone_without_the_collector(protocol: str) -> None:
    """Cycles among what is made for each request cost more than all that is saved by making less."""

    async def answer(connection: H2Connected, request: Received) -> None:
        await connection.whole(request)
        connection.respond(request)
        await connection.send_body(request.stream_id, request.body)

    async def over_http1(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def conversation() -> None:
        async with h2_upstream(answer) as up2, upstream(over_http1) as up1:
            port = up1.port if protocol == "http1" else up2.port
            async with (
                http_proxy(f"{HOST}:{port}", upstream={"protocol": protocol}) as proxy,
                h2_connect(proxy) as client,
            ):
                gc.collect()
                gc.disable()
                try:
                    for _ in range(20):
                        assert (await client.get()).status == 200
                        assert (await client.get(method="POST", body=b"x" * 1000)).status == 200
                    kinds = Http2Stream, Http2ClientStream, ServerStream, Exchange, DataReceived
                    left = [one for one in gc.get_objects() if isinstance(one, kinds)]
                finally:
                    gc.enable()
                assert len(left) < 20, left

    run(conversation)


def test_many_clients_share_a_connection() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        await asyncio.sleep(0.02)
        await reply_ok(connection, request)

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy:

            async def one() -> None:
                async with connect(proxy) as client:
                    for _ in range(3):
                        assert (await client.get()).body == b"ok"

            await asyncio.gather(*(one() for _ in range(40)))
            assert len(up.connections) == 1
            assert len(up.seen) == 120

    run(conversation)


def test_as_many_streams_as_settings_allow_and_then_another_connection() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        most.append(sum(not one.ended or one in waiting for one in connection.requests.values()))
        waiting.append(request)
        await asyncio.sleep(0.05)
        waiting.remove(request)
        await reply_ok(connection, request)

    most: list[int] = []
    waiting: list[Received] = []

    async def conversation() -> None:
        async with h2_upstream(answer, max_streams=4) as up, through(up) as proxy, h2_connect(proxy) as client:
            assert (await client.get()).body == b"ok"
            streams = [client.open() for _ in range(20)]
            for stream in streams:
                assert (await client.reply(stream)).body == b"ok"
            assert max(most) <= 4
            assert 2 <= len(up.connections) <= 6

    run(conversation)


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
@pytest.mark.parametrize("version", [1, 2])
def test_bodies_pass_both_ways(version: int, size: int) -> None:
    async def echo(connection: H2Connected, request: Received) -> None:
        await connection.whole(request)
        connection.respond(request)
        await connection.send_body(request.stream_id, request.body)

    async def conversation() -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        digest = hashlib.sha256(body).digest()
        async with h2_upstream(echo) as up, through(up) as proxy:
            if version == 1:
                async with connect(proxy) as client:
                    reply = await client.get(method="POST", body=body)
                    assert hashlib.sha256(reply.body).digest() == digest
            else:
                async with h2_connect(proxy) as client2:
                    reply2 = await client2.get(method="POST", body=body)
                    assert hashlib.sha256(reply2.body).digest() == digest
            assert up.seen[0].field("content-length") == (str(size) if version == 1 else None)

    run(conversation)


def test_trailers_and_informational_responses_pass() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        connection.h2.send_headers(request.stream_id, [(":status", "103"), ("link", "x")])
        await connection.whole(request)
        connection.respond(request)
        connection.h2.send_data(request.stream_id, b"hi")
        connection.h2.send_headers(request.stream_id, [("x-t", "1")], end_stream=True)
        connection.flush()

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy:
            async with h2_connect(proxy) as client:
                reply = await client.get()
                assert reply.informational == [[(":status", "103"), ("link", "x")]]
                assert (reply.body, reply.trailers) == (b"hi", [("x-t", "1")])
            async with connect(proxy) as client1:
                client1.send(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
                assert (await read_head(client1.reader))[0] == "HTTP/1.1 103 Early Hints"
                assert (await read_head(client1.reader))[0] == "HTTP/1.1 200 OK"
                assert await client1.reader.readuntil(b"\r\n\r\n") == b"2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"
            async with connect(proxy) as client1:
                chunked = (
                    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 2\r\n\r\n"
                )
                client1.send(chunked)
                while not up.seen[-1].trailers:
                    await asyncio.sleep(0.01)
                assert (up.seen[-1].body, up.seen[-1].trailers) == (b"hi", [("x-t", "2")])

    run(conversation)


def test_head_has_no_body() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        connection.respond(request, [("content-length", "99")], end=True)

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy, connect(proxy) as client:
            for _ in range(2):
                assert (await client.get(method="HEAD")).field("content-length") == "99"

    run(conversation)


def test_a_websocket_becomes_an_extended_connect() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        connection.respond(request, [("x-y", "z")])
        await connection.until(lambda: request.body == b"hello")
        connection.h2.send_data(request.stream_id, b"HELLO", end_stream=True)

    async def conversation() -> None:
        async with h2_upstream(answer, extended_connect=True) as up, through(up) as proxy, connect(proxy) as client:
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            head = f"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n"
            client.send(head.encode())
            line, lines = await read_head(client.reader)
            assert line == "HTTP/1.1 101 Switching Protocols"
            assert {line.lower() for line in lines} >= {
                "x-y: z", "upgrade: websocket", "connection: upgrade",
                "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
            }  # fmt: skip
            client.send(b"hello")
            assert await client.reader.readexactly(5) == b"HELLO"
            assert up.seen[0].headers[:5] == [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"),
                                              (":path", "/chat"), (":protocol", "websocket")]  # fmt: skip
            assert up.seen[0].field("sec-websocket-key") is None

    run(conversation)


def test_an_upstream_that_takes_no_extended_connect() -> None:
    async def conversation() -> None:
        async with h2_upstream() as up, through(up) as proxy, connect(proxy) as client:
            upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
            reply = await client.get("/", *upgrade)
            assert reply.status == 502
            assert b"no_extended_connect" in reply.body

    run(conversation)


def test_a_refused_stream_is_tried_again_elsewhere_whatever_the_method() -> None:
    async def refuse(connection: H2Connected, request: Received) -> None:
        connection.h2.reset_stream(request.stream_id, ErrorCodes.REFUSED_STREAM)

    async def conversation() -> None:
        async with h2_upstream(refuse) as no, h2_upstream() as yes:
            ports = [f"{HOST}:{no.port}", f"{HOST}:{yes.port}"]
            async with http_proxy(*ports, **HTTP2) as proxy, connect(proxy) as client:
                for _ in range(6):
                    assert (await client.get(method="POST", body=b"hello")).body == b"ok"
                assert no.seen
                assert len(yes.seen) == 6
                assert all(request.body == b"hello" for request in yes.seen)

    run(conversation)


def test_what_a_goaway_leaves_out_is_tried_again() -> None:
    """And what it lets through is answered."""

    async def answer(connection: H2Connected, request: Received) -> None:
        if connection is up.connections[0] and request.stream_id > 1:
            if request.stream_id == 3:
                connection.writer.write(goaway_frame(1, 0))
            return
        while len(up.seen) < 3 and connection is up.connections[0]:
            await asyncio.sleep(0.01)
        await reply_ok(connection, request)

    up: H2Upstream

    async def conversation() -> None:
        nonlocal up
        async with h2_upstream(answer) as up, through(up) as proxy, h2_connect(proxy) as client:
            streams = [client.open(f"/{at}", method="POST") for at in range(3)]
            for stream in streams:
                assert (await client.reply(stream)).body == b"ok"
            assert len(up.connections) == 2
            assert proxy.value("l4proxy_http2_goaways_total", peers="endpoints of up", code="NO_ERROR") == 1

    run(conversation)


@pytest.mark.parametrize("behind", ["fewer streams", "goaway"])
def test_what_is_tried_again_minds_what_stands_further_behind_in_the_same_read(behind: str) -> None:
    """A refusal, and behind it why nothing else should be sent there."""
    frames = {
        "fewer streams": settings_frame({Setting.MAX_CONCURRENT_STREAMS: 1}),
        "goaway": goaway_frame(3, 0),
    }

    async def answer(connection: H2Connected, request: Received) -> None:
        if connection is up.connections[0]:
            if request.stream_id == 3:
                connection.writer.write(reset_frame(1, ErrorCodes.REFUSED_STREAM) + frames[behind])
            return
        await reply_ok(connection, request)

    up: H2Upstream

    async def conversation() -> None:
        nonlocal up
        async with h2_upstream(answer) as up, through(up) as proxy, h2_connect(proxy) as client:
            refused, _ = client.open("/refused", method="POST"), client.open("/under-way", method="POST")
            assert (await client.reply(refused)).body == b"ok"
            assert len(up.connections) == 2
            assert proxy.value("l4proxy_http_requests_active", http="http") == 1

    run(conversation)


def test_a_reset_by_the_upstream_is_told() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        if request.field(":path") == "/late":
            connection.respond(request)
            connection.h2.send_data(request.stream_id, b"half")
        connection.h2.reset_stream(request.stream_id, ErrorCodes.INTERNAL_ERROR)

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy, h2_connect(proxy) as client:
            reply = await client.get()
            assert reply.status == 502
            assert b"upstream_reset" in reply.body
            late = await client.get("/late")
            assert (late.body, late.ended, late.reset) == (b"half", False, ErrorCodes.INTERNAL_ERROR)
            assert len(up.connections) == 1

    run(conversation)


def test_an_early_answer_resets_what_is_left_of_the_request() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        connection.respond(request, status=413, end=True)

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy, h2_connect(proxy) as client:
            stream = client.open(method="POST", end=False)
            reply = await client.reply(stream)
            assert reply.status == 413
            await up.connections[0].until(lambda: up.seen[0].reset is not None)
            assert (await client.get()).status == 413
            assert len(up.connections) == 1

    run(conversation)


def test_a_client_that_goes_away_resets_its_stream_and_no_other() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        if request.field(":path") != "/slow":
            await reply_ok(connection, request)

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy, connect(proxy) as other:
            async with connect(proxy) as client:
                client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                while not up.seen:
                    await asyncio.sleep(0.01)
                reset(client)
            await up.connections[0].until(lambda: up.seen[0].reset is not None)
            assert up.seen[0].reset == ErrorCodes.CANCEL
            assert (await other.get()).body == b"ok"
            assert len(up.connections) == 1

    run(conversation)


def test_a_slow_client_holds_its_own_stream_only() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        if request.field(":path") == "/large":
            connection.respond(request)
            for _ in range(1000):
                await connection.send_body(request.stream_id, bytes(65536), end=False)
                sent.append(65536)
        else:
            await reply_ok(connection, request)

    sent: list[int] = []

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy, h2_connect(proxy) as client:
            client.opens_windows = False
            client.open("/large")
            while not sent:
                await asyncio.sleep(0.01)
            client.h2.increment_flow_control_window(1 << 20)
            client.flush()
            for _ in range(20):
                assert (await client.get()).body == b"ok"
            assert sum(sent) < 1_000_000
            assert len(up.connections) == 1

    run(conversation)


def test_slow_clients_leave_those_of_others_another_connection() -> None:
    """Two that do not read hold all of the window that a connection has."""

    async def answer(connection: H2Connected, request: Received) -> None:
        if request.field(":path") == "/large":
            connection.respond(request)
            for _ in range(1000):
                await connection.send_body(request.stream_id, bytes(65536), end=False)
        else:
            await reply_ok(connection, request)

    async def conversation() -> None:
        windows = {"stream_window": "64KiB", "max_stream_window": "64KiB", "connection_window": "128KiB"}
        async with h2_upstream(answer) as up, through(up, upstream={"http2": windows}) as proxy:
            async with connect(proxy) as one, connect(proxy) as two, connect(proxy) as other:
                for slow in (one, two):
                    slow.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
                await until(lambda: len(up.seen) == 2)
                (used,) = [one for one in gc.get_objects() if isinstance(one, Http2Client) and one.active == 2]
                await until(lambda: used.capacity == 0)
                while len(up.connections) == 1:  # the window may have opened once more
                    assert (await other.get()).body == b"ok"
                for _ in range(20):
                    assert (await other.get()).body == b"ok"
            await until(lambda: used.capacity > 0)

    run(conversation)


def test_a_slow_upstream_holds_its_own_client_only() -> None:
    async def answer(connection: H2Connected, request: Received) -> None:
        if request.field(":path") != "/large":
            await reply_ok(connection, request)

    async def conversation() -> None:
        async with h2_upstream(answer) as up, through(up) as proxy, h2_connect(proxy) as client:
            await client.get()
            up.connections[0].opens_windows = False
            stream = client.open("/large", method="POST", end=False)
            task = asyncio.create_task(client.send_body(stream, bytes(5_000_000)))
            while client.h2.local_flow_control_window(stream) > 0:
                await asyncio.sleep(0.01)
            up.connections[0].h2.increment_flow_control_window(1 << 20)
            up.connections[0].flush()
            for _ in range(20):
                assert (await client.get()).body == b"ok"
            assert not task.done()
            task.cancel()

    run(conversation)


def test_old_and_used_up_connections_are_replaced() -> None:
    async def conversation() -> None:
        async with h2_upstream() as up, through(up, upstream={"requests_per_connection": 3}) as proxy:
            async with h2_connect(proxy) as client:
                for _ in range(7):
                    assert (await client.get()).body == b"ok"
            assert [len(connection.requests) for connection in up.connections] == [3, 3, 1]
            await up.connections[0].until(lambda: up.connections[0].closed)
            assert up.connections[0].goaway is not None

    run(conversation)


def test_a_connection_is_replaced_before_its_stream_ids_run_out() -> None:
    async def conversation() -> None:
        async with h2_upstream() as up, through(up) as proxy, h2_connect(proxy) as client:
            assert (await client.get()).body == b"ok"
            clients = [one for one in gc.get_objects() if isinstance(one, Http2Client)]
            (used,) = [one for one in clients if one.endpoint.name.endswith(f":{up.port}")]
            used.requests, used.codec._next_id = MAX_REQUESTS - 1, 2 * MAX_REQUESTS - 1  # after so many
            for _ in range(3):
                assert (await client.get()).body == b"ok"
            assert [len(connection.requests) for connection in up.connections] == [2, 2]
            await until(lambda: up.connections[0].closed)
            assert proxy.value("l4proxy_http2_stream_ids_exhausted_total", peers="endpoints of up") == 1

    run(conversation)


def test_an_idle_connection_is_ended() -> None:
    async def conversation() -> None:
        options = {"upstream": {"idle_timeout": "0.1s"}}
        async with h2_upstream() as up, through(up, **options) as proxy, h2_connect(proxy) as client:
            await client.get()
            await up.connections[0].until(lambda: up.connections[0].closed)
            assert (await client.get()).body == b"ok"
            assert len(up.connections) == 2

    run(conversation)


def test_a_connection_without_a_sign_of_life_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(settings_frame({}) + settings_frame({}, ack=True))
        await reader.read()

    async def conversation() -> None:
        async with server(_swallow(silent)) as port:
            options = {"upstream": {"protocol": "http2", "http2": {"ping_interval": "0.5s"}}}
            async with http_proxy(f"{HOST}:{port}", **options) as proxy, connect(proxy) as client:
                assert b"ping_timeout" in (await client.get(method="POST", body=b"x")).body

    run(conversation)


def _swallow(handler: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Whatever comes is read, and never answered."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)

    return handle


def test_tls_agrees_on_it_by_alpn(certs: Certs) -> None:
    async def conversation() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certs.server.cert, certs.server.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        seen: list[bytes] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readexactly(24))
            writer.write(
                settings_frame({}) + headers(1, [*OK, ("content-length", "2")], end=False) + data(1, b"ok", end=True)
            )
            await reader.read()
            writer.close()

        async with await asyncio.start_server(handle, HOST, 0, ssl=context) as running:
            port = running.sockets[0].getsockname()[1]
            tls = {"ca": str(certs.ca), "alpn": ["h2", "http/1.1"], "server_name": "localhost"}
            config = {"cluster": {"tls": tls}}
            async with http_proxy(f"{HOST}:{port}", config=config) as proxy, connect(proxy) as client:
                assert (await client.get()).body == b"ok"
            assert seen == [PREFACE]

    run(conversation)


def test_a_server_that_speaks_http_1_is_named_so() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async def conversation() -> None:
        async with server(old) as port, http_proxy(f"{HOST}:{port}", **HTTP2) as proxy, connect(proxy) as client:
            assert b"http1_answer" in (await client.get(method="POST")).body

    run(conversation)


# Servers that misbehave. Whatever they do: an answer or an error for each request, and the proxy lives on.

HOSTILE: dict[str, tuple[bytes, int]] = {
    # what the server sends behind its SETTINGS, and the status that the client gets
    "not HTTP/2": (b"HTTP/1.1 400 Bad Request\r\n\r\n", 502),
    "a push": (frame(FrameType.PUSH_PROMISE, 4, 1, b"\0\0\0\2" + block(OK)), 502),
    "headers on an even stream": (headers(2, OK), 502),
    "headers on a stream that is not open": (headers(99, OK), 502),
    "data before the head": (data(1, b"x"), 502),
    "data on stream 0": (data(0, b"x"), 502),
    "a bad index": (frame(FrameType.HEADERS, 5, 1, b"\xff\xff\xff\x7f"), 502),
    "an HPACK bomb": (
        frame(FrameType.HEADERS, 4, 1, b"\x88\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 12000),
        502,
    ),
    "continuations without end": (
        frame(FrameType.HEADERS, 0, 1, block(OK)) + frame(FrameType.CONTINUATION, 0, 1, b"") * 50,
        502,
    ),
    "informational responses without end": (headers(1, [(":status", "102")], end=False) * 500, 502),
    "a name with capitals": (headers(1, [*OK, ("X-Bad", "1")]), 502),
    "an injected header": (headers(1, [*OK, ("x", "a\r\nb: c")]), 502),
    "a header of HTTP/1": (headers(1, [*OK, ("transfer-encoding", "chunked")]), 502),
    "a status of HTTP/1": (headers(1, [(":status", "101")]), 502),
    "no status": (headers(1, [("x", "y")]), 502),
    "pings": (ping_frame(b"12345678") * 5000, 502),
    "settings": (settings_frame({}) * 500, 502),
    "empty data": (headers(1, OK, end=False) + data(1) * 500, 502),
    "a window that is too large": (window_update_frame(0, 2**31 - 1), 502),
    "a large frame": (b"\xff\xff\xff\0\0\0\0\0\1", 502),
    "a reset": (reset_frame(1, ErrorCodes.PROTOCOL_ERROR), 502),
    "more data than was promised": (headers(1, [*OK, ("content-length", "1")], end=False) + data(1, b"xx"), 200),
    "less data than was promised": (
        headers(1, [*OK, ("content-length", "5")], end=False) + data(1, b"xx", end=True),
        200,
    ),
    "two heads": (headers(1, OK, end=False) + headers(1, OK, end=False), 200),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server(name: str, version: int) -> None:
    wire, status = HOSTILE[name]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SM\r\n\r\n")
        writer.write((b"" if name == "not HTTP/2" else settings_frame({})) + wire)
        while await reader.read(65536):
            pass

    async def conversation() -> None:
        async with server(handle) as port, http_proxy(f"{HOST}:{port}", **HTTP2) as proxy:
            if version == 1:
                async with connect(proxy) as client1:
                    await _over_http_1(client1, status)
            else:
                async with h2_connect(proxy) as client:
                    reply = await client.get(method="POST")
                    assert reply.status == status
                    if status == 200:  # it had begun, and breaks off
                        assert not reply.ended
                        assert reply.reset is not None
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    run(conversation)


async def _over_http_1(client: Client, status: int) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    try:
        line, lines = await read_head(client.reader)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        assert status == 200
        return
    assert int(line.split()[1]) == status
    assert not any(line.lower().startswith("b:") for line in lines)
    if status == 200:
        with contextlib.suppress(ConnectionResetError):
            assert not (await asyncio.wait_for(client.reader.read(), 10)).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("when", ["at once", "after settings", "in the head", "in the body"])
def test_a_server_that_closes(when: str) -> None:
    head = headers(1, [*OK, ("content-length", "9")], end=False)
    wire = {"at once": b"", "after settings": settings_frame({}), "in the head": settings_frame({}) + head[:-2]}.get(
        when
    )

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SM\r\n\r\n")
        writer.write(settings_frame({}) + head + data(1, b"half") if wire is None else wire)
        await writer.drain()

    async def conversation() -> None:
        async with server(handle) as port, http_proxy(f"{HOST}:{port}", **HTTP2) as proxy, h2_connect(proxy) as client:
            reply = await client.get(method="POST")
            if when == "in the body":
                assert (reply.status, reply.body, reply.ended) == (200, b"half", False)
            else:
                assert reply.status == 502

    run(conversation)


def test_a_server_that_is_not_there() -> None:
    async def conversation() -> None:
        async with server() as port:
            pass
        async with http_proxy(f"{HOST}:{port}", **HTTP2) as proxy, h2_connect(proxy) as client:
            streams = [client.open(f"/{at}") for at in range(30)]
            for stream in streams:
                assert (await client.reply(stream)).status == 503

    run(conversation)
