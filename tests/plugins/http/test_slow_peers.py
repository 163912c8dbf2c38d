"""Peers that are slow on purpose (slowloris), in each phase: what they hold is taken back in time, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clusters import run
from http_peers import Client, Seen, connect, http_proxy, ok, read_head, upstream
from proxying import Proxy

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def drip(client: Client, data: bytes, pause: float = 0.02) -> None:
    """Send byte by byte, until the connection is closed."""
    for at in range(len(data)):
        if client.writer.is_closing() or client.reader.at_eof():
            return
        client.send(data[at : at + 1])
        await asyncio.sleep(pause)


def slowly(act: Callable[[Client], Awaitable[object]], limit: str) -> tuple[bytes, Proxy]:
    """What a client that ``act``s gets until its connection is closed and the proxy has forgotten it."""

    async def conversation() -> tuple[bytes, Proxy]:
        limits = {"head_timeout": 0, "body_timeout": 0, "stream_idle_timeout": 0, limit: "150ms"}
        async with (
            upstream(body=False) as up,
            http_proxy(up, limits=limits, routes=[{"cluster": "up", "timeout": 0}]) as proxy,
            connect(proxy) as client,
        ):
            acting = asyncio.create_task(asyncio.wait_for(act(client), 20))
            got = await client.rest()
            acting.cancel()
            while proxy.server.listeners[0].connections:
                await asyncio.sleep(0)
            return got, proxy

    return run(conversation)


def test_a_head_that_comes_byte_by_byte() -> None:
    got, proxy = slowly(lambda client: drip(client, HEAD + b"X: y\r\n" * 1000), "head_timeout")
    assert got.startswith(b"HTTP/1.1 408 ")
    assert proxy.value("l4proxy_http_protocol_errors_total", http="http", rule="head_timeout") == 1


def test_a_second_head_that_comes_byte_by_byte() -> None:
    """The limit is that of each head, also on a connection that has been in use."""

    async def act(client: Client) -> None:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await drip(client, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)

    got, _ = slowly(act, "head_timeout")
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in got


async def _never_answer(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
    await reader.read()


@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("limit", "pause"), [("body_timeout", 0.02), ("stream_idle_timeout", 20)], ids=["drips", "stalls"]
)
def test_a_body_that_hardly_comes(framing: bytes, limit: str, pause: float) -> None:
    async def conversation() -> None:
        limits = {"body_timeout": 0, "stream_idle_timeout": 0, limit: "150ms"}
        routes = [{"cluster": "up", "timeout": 0}]
        async with (
            upstream(_never_answer, body=False) as up,
            http_proxy(up, limits=limits, routes=routes) as proxy,
            connect(proxy) as client,
        ):
            client.send(HEAD + framing + b"\r\n\r\n")
            dripping = asyncio.create_task(drip(client, b"1\r\na\r\n" * 1000, pause))
            reply = await client.reply()
            dripping.cancel()
            assert (reply.status, reply.body.split()[-1].decode()) == (408, limit)
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit=limit) == 1
            assert await client.rest() == b""

    run(conversation)


@pytest.mark.parametrize(
    ("framing", "limit", "time"),
    [
        (b"Content-Length: 64000000", "stream_idle_timeout", "300ms"),
        (b"Transfer-Encoding: chunked", "stream_idle_timeout", "300ms"),
        (b"Content-Length: 64000000", "body_timeout", "1s"),
    ],
)
def test_a_body_that_the_endpoint_does_not_take(framing: bytes, limit: str, time: str) -> None:
    """It is not the client's fault: 504, and outlier detection hears of it. One framing is moved by the kernel."""

    async def take_nothing(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    async def conversation() -> None:
        limits = {"body_timeout": 0, "stream_idle_timeout": 0, limit: time}
        routes = [{"cluster": "up", "timeout": 0}]
        async with (
            upstream(take_nothing, body=False) as up,
            http_proxy(up, limits=limits, routes=routes) as proxy,
            connect(proxy) as client,
        ):
            client.send(HEAD + framing + b"\r\n\r\n")
            chunk = b"F4240\r\n%b\r\n" if b"chunked" in framing else b"%b"
            client.send(chunk % bytes(1_000_000) * 64)
            reply = await client.reply()
            assert (reply.status, reply.body.split()[-1].decode()) == (504, limit)
            (cluster,) = proxy.server.clusters
            (endpoint,) = cluster.endpoints.current.values()
            assert endpoint.failures == 1
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    run(conversation)


def test_a_response_that_nobody_reads() -> None:
    """A client that asks for much and reads none of it is cut off, and its endpoint is free."""
    gone = asyncio.Event()

    async def pour(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            for _ in range(10_000):
                writer.write(bytes(100_000))
                await writer.drain()
        except ConnectionError:
            gone.set()

    async def conversation() -> None:
        limits = {"stream_idle_timeout": "200ms"}
        async with upstream(pour) as up, http_proxy(up, limits=limits) as proxy, connect(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await read_head(client.reader)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await gone.wait()
            assert proxy.value("l4proxy_http_timeouts_total", http="http", limit="stream_idle_timeout") == 1
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


def test_pipelined_requests_whose_responses_nobody_reads() -> None:
    """They wait in the kernel: no more than one is under way, and what is kept is bounded."""

    async def conversation() -> None:
        body = bytes(1_000_000)
        async with upstream(ok(body)) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
            before = -1
            while len(up.seen) != before:
                before = len(up.seen)
                await asyncio.sleep(0.3)
            assert before < 20
            assert proxy.value("l4proxy_http_requests_active", http="http") <= 1
            (connection,) = proxy.server.listeners[0].connections.values()
            assert connection.client.buffered < 1_000_000
            client.writer.transport.abort()

    run(conversation)
