"""A server inside a program: reload, drain, limits and what statistics say over all of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from l4proxy.config import load_mapping
from l4proxy.errors import ConfigError
from l4proxy.listener import ListenerStats
from l4proxy.server import ReloadStats, Server, serve

ECHO: dict[str, Any] = {"listeners": [{"name": "l", "address": "127.0.0.1:0", "filters": ["echo"]}]}


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    (address,) = server.addresses["l"]
    return await asyncio.open_connection(address.host, address.port)


async def exchange(server: Server, data: bytes) -> bytes:
    reader, writer = await connect(server)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def stats_of(server: Server) -> ListenerStats:
    server.stats.snapshot()
    return server.stats.group(ListenerStats, listener="l")


def test_counters_go_on_over_reloads_and_count_open_connections_too() -> None:
    async def main() -> None:
        async with serve(ECHO) as server:
            assert await exchange(server, b"x" * 100) == b"x" * 100
            reader, writer = await connect(server)
            writer.write(b"y" * 10)
            assert await reader.readexactly(10) == b"y" * 10
            assert stats_of(server).received_bytes_total == 110
            server.reload(load_mapping(ECHO, server.plugins.registry))
            assert await exchange(server, b"z") == b"z"
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
            stats = stats_of(server)
            assert (stats.received_bytes_total, stats.sent_bytes_total) == (112, 112)
            assert (stats.connections_total, stats.connections_active) == (3, 1)
            writer.close()
            await writer.wait_closed()
            assert server.stats.group(ReloadStats, result="success").reload_total == 1

    asyncio.run(main())


def test_a_reload_that_is_refused_leaves_everything_as_it_was() -> None:
    async def main() -> None:
        async with serve(ECHO) as server:
            before = server.addresses
            (taken,) = before["l"]
            bad = {"listeners": [*ECHO["listeners"], {"address": f"127.0.0.1:{taken.port}", "filters": ["echo"]}]}
            with pytest.raises(ConfigError, match="cannot listen on"):
                server.reload(load_mapping(bad, server.plugins.registry))
            assert server.addresses == before
            assert await exchange(server, b"still here") == b"still here"

    asyncio.run(main())


def test_the_limit_of_connections_refuses_and_counts() -> None:
    async def main() -> None:
        async with serve({**ECHO, "max_connections": 1}) as server:
            reader, writer = await connect(server)
            writer.write(b"1")
            assert await reader.readexactly(1) == b"1"
            assert await exchange(server, b"") == b""
            assert stats_of(server).refused_total["server_limit"] == 1
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_a_drain_waits_for_open_connections() -> None:
    async def main() -> None:
        async with serve(ECHO) as server:
            reader, writer = await connect(server)
            writer.write(b"1")
            await reader.readexactly(1)
            stopping = asyncio.create_task(server.drain(60))
            await asyncio.sleep(0)
            writer.write(b"2")
            assert await reader.readexactly(1) == b"2"
            assert not stopping.done()
            writer.close()
            await stopping

    asyncio.run(main())
