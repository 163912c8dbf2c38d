"""Connections that end badly are freed there and then: who floods the proxy with errors is not to fill its memory
until the collector looks at the oldest of its objects, which it does seldom."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
from typing import Any

import pytest

import l4proxy
from clusters import until
from l4proxy import splice
from l4proxy.connection import Connection
from l4proxy.plugins.redis.shared import SharedConnection
from services.process import HOST, free_port
from services.redis import RedisServer

CLIENTS = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HTTP = [{"use": "http", "routes": [{"prefix": "/", "cluster": "gone"}]}]
REDIS = [{"use": "redis_proxy", "cluster": "gone"}]

ENDINGS: dict[str, tuple[list[dict[str, Any]], bytes]] = {
    "HTTP/1, a field without a colon": (HTTP, b"GET / HTTP/1.1\r\nHost x\r\n\r\n"),
    "HTTP/1, nobody there": (HTTP, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "HTTP/2, a frame that has no such size": (HTTP, PREFACE + b"\0\0\1\0\0\0\0\0\0x"),
    "HTTP/2, no header block": (HTTP, PREFACE + b"\0\0\3\1\5\0\0\0\1\xff\xff\xff"),
    "Redis, a lying count": (REDIS, b"*2000000000\r\n"),
    "Redis, a request of HTTP": (REDIS, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "Redis, nobody there": (REDIS, b"PING\r\n"),
    "TCP, nobody there": ([{"use": "tcp_proxy", "cluster": "gone"}], b"hello"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_connections_that_end_badly_are_gone_without_the_collector(
    ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "l4proxy")  # pytest keeps records, and those may keep errors
    filters, first = ENDINGS[ending]

    async def main() -> None:
        async with l4proxy.serve(_in_front_of(free_port(), filters)) as server:
            assert await _left_behind(server, first, Connection) < CLIENTS // 2

    asyncio.run(main())


def _in_front_of(port: int, filters: Any) -> dict[str, Any]:
    return {
        "listeners": [{"address": f"{HOST}:0", "filters": filters}],
        "clusters": [{"name": "gone", "endpoints": [f"{HOST}:{port}"]}],
    }


async def _left_behind(server: l4proxy.Server, first: bytes, *kinds: type) -> int:
    """Objects that are there, without the collector, when all clients are gone that have sent ``first``."""
    await _come_and_go(server, first)  # what is made once for all
    gc.collect()
    gc.disable()
    try:
        for _ in range(CLIENTS):
            await _come_and_go(server, first)
        return sum(type(one) in kinds for one in gc.get_objects())
    finally:
        gc.enable()


async def _come_and_go(server: l4proxy.Server, first: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, next(iter(server.addresses.values()))[0].port)
    writer.write(first)
    await reader.read(1)
    writer.transport.abort()
    await until(lambda: not server.active)


def test_a_server_that_says_nothing_does_not_keep_what_belonged_to_clients() -> None:
    """Its replies are still to come, and some of them belong to nobody any more."""
    asked = bytearray()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            asked.extend(data)
        writer.close()

    async def main() -> None:
        silent = await asyncio.start_server(say_nothing, HOST, 0)
        async with silent, l4proxy.serve(_in_front_of(silent.sockets[0].getsockname()[1], REDIS)) as server:
            gc.collect()
            gc.disable()
            try:
                for count in range(1, CLIENTS + 1):
                    client = socket.create_connection((HOST, next(iter(server.addresses.values()))[0].port))
                    client.sendall(b"GET a\r\n*2\r\n$4\r\nECHO\r\n$9000\r\n" + b"x" * 5000)
                    await until(lambda count=count: asked.count(b"GET") == count)  # type: ignore[misc]
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                    await until(lambda: not server.active)
                left = sum(type(one) is Connection for one in gc.get_objects())
            finally:
                gc.enable()
            assert left < CLIENTS // 2

    asyncio.run(main())


@pytest.mark.skipif(not splice.AVAILABLE, reason="this system has no splice")
def test_who_does_not_take_a_long_reply_leaves_the_connection_to_others(redis: RedisServer) -> None:
    """The kernel moves such a reply, and some of it is in a pipe when its client is disconnected."""

    async def main() -> None:
        filters = [{**REDIS[0], "slow_reader_timeout": "0.5s"}]
        async with l4proxy.serve(_in_front_of(redis.port, filters)) as server:
            port = next(iter(server.addresses.values()))[0].port
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"SETRANGE gone:long 33554431 x\r\n")
            assert await reader.readline() == b":33554432\r\n"
            client = socket.create_connection((HOST, port))
            redis.command("client", "pause", "60000", "write")
            client.sendall(b"GETDEL gone:long\r\n")
            await until(lambda: _waiting() == 1)
            writer.write(b"PING\r\n")
            await until(lambda: _waiting() == 2)
            redis.command("client", "unpause")
            assert await reader.readline() == b"+PONG\r\n"
            client.close()
            writer.close()

    asyncio.run(main())


def _waiting() -> int:
    """Commands that wait for replies on connections that clients share."""
    return sum(one.waiting for one in gc.get_objects() if type(one) is SharedConnection and not one.closed)


GARBAGE = {
    "a reply that is too long": b"$99999999999\r\n",
    "a line that does not end": b"+" + b"x" * 100_000,
    "replies within replies": b"*1\r\n" * 5000,
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "bytes of another protocol": bytes(range(256)) * 8,
    "more replies than commands": b"+OK\r\n+OK\r\n",
    "the end of it": b"$1000\r\nbegin",
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_server_that_sends_garbage_leaves_nothing_behind(garbage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "l4proxy")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(GARBAGE[garbage])
        writer.close()

    async def main() -> None:
        upstream = await asyncio.start_server(talk, HOST, 0)
        async with upstream, l4proxy.serve(_in_front_of(upstream.sockets[0].getsockname()[1], REDIS)) as server:
            assert await _left_behind(server, b"GET a\r\n", Connection, SharedConnection) < CLIENTS // 2

    asyncio.run(main())
