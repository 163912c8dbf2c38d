"""Clients that do all at once what they may: large bodies both ways, windows that stay shut for a while, streams given
up half-way. Whoever does not give up gets what is theirs, and nothing is left over: no request, no byte of a window."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from clusters import run
from http2_peers import H2Client, H2Connected, Received, h2_connect, h2_upstream
from http_peers import Seen, http_proxy, upstream
from l4proxy.protocols.http2 import Http2Connection

REQUESTS = 25


async def echo1(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(seen.body) + seen.body)
    await writer.drain()


async def echo2(connection: H2Connected, request: Received) -> None:
    with contextlib.suppress(ProtocolError, AssertionError):  # it was given up
        await connection.whole(request)
        if request.ended:
            connection.respond(request)
            await connection.send_body(request.stream_id, request.body)


async def ask(client: H2Client, chance: random.Random) -> None:
    body = chance.randbytes(chance.choice([0, 1, 3000, 70_000, 300_000]))
    gives_up = chance.random() < 0.3
    stream = client.open("/", method="POST", end=False)
    with contextlib.suppress(ProtocolError):
        if gives_up:
            part = asyncio.create_task(client.send_body(stream, body, end=chance.random() < 0.7))
            await asyncio.sleep(chance.random() * 0.03)
            part.cancel()
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
            return
        await client.send_body(stream, body)
    reply = await client.reply(stream)
    assert (reply.status, reply.body == body) == (200, True)


async def open_and_shut(client: H2Client, chance: random.Random) -> None:
    while True:
        client.opens_windows = not client.opens_windows
        if client.opens_windows:
            client.open_windows()
        await asyncio.sleep(chance.random() * 0.05)


async def live(client: H2Client, seed: int) -> None:
    moods = asyncio.create_task(open_and_shut(client, random.Random(seed)))
    await asyncio.gather(*(ask(client, random.Random(seed * 1000 + at)) for at in range(REQUESTS)))
    moods.cancel()
    client.open_windows()
    await client.get()


def all_whole(*, client: bool) -> bool:
    """The windows of all connections on one side of the proxy."""
    gc.collect()
    codecs = [one for one in gc.get_objects() if isinstance(one, Http2Connection) and one._client is client]
    return all(not one.streams and one._recv_window + one._unacked == one.limits.connection_window for one in codecs)


@pytest.mark.parametrize("version", ["http1", "http2"])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_left_over(version: str, seed: int) -> None:
    async def conversation() -> None:
        serving: AbstractAsyncContextManager[Any] = upstream(echo1) if version == "http1" else h2_upstream(echo2)
        async with (
            serving as up,
            http_proxy(up, upstream={"protocol": version}) as proxy,
            h2_connect(proxy) as one,
            h2_connect(proxy, initial_window_size=1000) as two,
            h2_connect(proxy, initial_window_size=1 << 20) as three,
        ):
            await asyncio.gather(*(live(client, 10 * seed + at) for at, client in enumerate((one, two, three))))
            while proxy.value("l4proxy_http_cluster_requests_active", cluster="up"):
                await asyncio.sleep(0.01)
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0
            assert all_whole(client=False)
            assert all_whole(client=True)

    run(conversation)
