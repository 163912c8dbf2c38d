"""A proxy of a test, and servers and clients around it, in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from l4proxy import Server, serve
from l4proxy.plugin_manager import PluginManager

__all__ = ["HOST", "Proxy", "exchange", "proxy", "server"]

HOST = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Proxy(NamedTuple):
    server: Server
    port: int

    def value(self, name: str, /, **labels: str) -> Any:
        """One statistic's value."""
        family = self.server.stats.snapshot()[name]
        wanted = [labels.get(label) for label in family["labels"]]
        return next((sample["value"] for sample in family["samples"] if sample["labels"] == wanted), 0)


@contextlib.asynccontextmanager
async def proxy(*filters: Any, upstreams: Sequence[int] = (), **config: Any) -> AsyncIterator[Proxy]:
    """A proxy with one listener and one chain. ``upstreams`` are ports: the endpoints of a cluster called ``up``.

    ``listener`` and ``cluster`` are further options of these, ``clusters`` further clusters. ``plugins`` are objects
    with hooks, beside the first-party ones.
    """
    manager = None
    if added := config.pop("plugins", ()):
        manager = PluginManager()
        for number, plugin in enumerate(added):
            manager.register(plugin, f"test{number}")
    listener = {"name": "test", "address": f"{HOST}:0", "filters": filters, **config.pop("listener", {})}
    up = {"name": "up", "endpoints": [f"{HOST}:{port}" for port in upstreams], **config.pop("cluster", {})}
    clusters = [*([up] if upstreams else []), *config.pop("clusters", [])]
    async with serve(
        {"listeners": [listener], "clusters": clusters, "drain_time": 0, **config}, plugins=manager
    ) as running:
        yield Proxy(running, running.addresses["test"][0].port)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextlib.asynccontextmanager
async def server(handler: Handler = echo) -> AsyncIterator[int]:
    """A server on a port of its own; one that sends everything back, unless told otherwise."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # a client that has left
                await handler(reader, writer)
        finally:
            writer.close()

    running = await asyncio.start_server(handle, HOST, 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()  # and no waiting: from Python 3.12 on that is for connections that a client keeps


async def exchange(port: int, data: bytes = b"", *, ends: bool = True) -> bytes:
    """Connect, send, end one's side (unless ``ends`` is False), and return all that comes until the end."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        if data:
            writer.write(data)
        if ends:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
