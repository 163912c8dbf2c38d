"""The architecture page: it names every module of the core and of protocols, no file that is not there, and its figures
hold."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from l4proxy import Address, Filter, Matcher, NoConfig, PeekInfo, PluginManager, Register, hookimpl, serve
from l4proxy.config.schema import Listener
from l4proxy.config.types import Use
from l4proxy.connection import FLUSH_TIMEOUT, LINGER_TIMEOUT, Connection
from l4proxy.path import INJECT_LIMIT
from l4proxy.splice import PIPE_SIZE
from l4proxy.stream import READ_SIZE_MAX
from source_tree import ROOT, modules

PAGE = (ROOT / "ARCHITECTURE.md").read_text()
QUOTED = set(re.findall(r"`([^`\s]+)`", PAGE))
KIB = 1024


def test_every_module_of_the_core_is_mentioned() -> None:
    core = ROOT / "l4proxy"
    there = {str(path.relative_to(core)) for path in modules("l4proxy") if path.name != "__init__.py"}
    assert not there - QUOTED


def test_every_module_of_a_protocol_is_mentioned() -> None:
    """But for plugins of a single file, which ``l4proxy plugins`` lists, and what is made to be read as a whole."""
    there = {str(path.relative_to(ROOT)) for path in modules("l4proxy.plugins") if path.parent != ROOT / "plugins"}
    there |= {str(path.relative_to(ROOT)) for path in modules("l4proxy.protocols")}
    assert not {
        one for one in there - QUOTED if not one.endswith(("__init__.py", "_spec.py")) and "/declarations/" not in one
    }


def test_every_file_that_is_mentioned_exists() -> None:
    files = {name for name in QUOTED if name.endswith((".py", "/")) or name.startswith("contrib/")}
    assert not [name for name in files if not (ROOT / name).exists() and not (ROOT / "l4proxy" / name).exists()]


def test_every_test_that_is_mentioned_exists() -> None:
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name in QUOTED if name.startswith("test_") and f"def {name}(" not in written]


def test_the_figures_are_those_of_the_code() -> None:
    listener = Listener(Address("127.0.0.1"), filters=(Use("echo"),))
    buffer_limit, peek_limit = listener.buffer_limit, listener.peek_limit
    assert f"`buffer_limit` + one read: {buffer_limit // KIB} KiB + {READ_SIZE_MAX // KIB} KiB" in PAGE
    assert f"at most {2 * (buffer_limit + READ_SIZE_MAX) // KIB} KiB" in PAGE
    assert f"a pipe of up to {PIPE_SIZE // KIB // KIB} MiB" in PAGE
    assert f"at most `peek_limit` ({peek_limit // KIB} KiB)" in PAGE
    assert f"per direction | {INJECT_LIMIT // KIB // KIB} MiB; more" in PAGE
    assert f"some of it leaves every {FLUSH_TIMEOUT:g} seconds" in PAGE
    assert f"then has {LINGER_TIMEOUT:g} second to end" in PAGE


class Read(Filter[NoConfig]):
    """Reads, so that bytes go through memory."""

    name = "read"

    def on_upstream_data(self, data: bytes) -> bytes:
        return data


class Never(Matcher[bool]):
    """Wants to see more and more."""

    name = "never"
    seen = 0

    def match(self, peek: bytes, info: PeekInfo) -> None:
        Never.seen = max(Never.seen, len(peek))


class Plugin:
    @hookimpl
    def register_filters(self, register: Register[Any]) -> None:
        register(Read)

    @hookimpl
    def register_matchers(self, register: Register[Any]) -> None:
        register(Never)


@pytest.fixture
def plugins() -> PluginManager:
    manager = PluginManager()
    manager.register(Plugin(), "tests")
    return manager


SIZE = 32 * KIB * KIB


@contextlib.asynccontextmanager
async def slow_reader(plugins: PluginManager, *filters: str) -> AsyncIterator[tuple[Connection, socket.socket]]:
    """A connection whose upstream sends ``SIZE`` bytes as fast as they are taken, and its client, which takes none."""

    async def send(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(SIZE // (64 * KIB)):
                writer.write(bytes(64 * KIB))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(send, "127.0.0.1", 0) as upstream:
        port = upstream.sockets[0].getsockname()[1]
        listener = {"name": "l", "address": "127.0.0.1:0", "filters": [*filters, {"use": "tcp_proxy", "cluster": "c"}]}
        config = {"listeners": [listener], "clusters": [{"name": "c", "endpoints": [f"127.0.0.1:{port}"]}]}
        async with serve(config, plugins=plugins) as server:
            (address,) = server.addresses["l"]
            with socket.create_connection((address.host, address.port)) as client:
                client.setblocking(False)
                while not server.listeners[0].connections:
                    await asyncio.sleep(0)
                (connection,) = server.listeners[0].connections.values()
                yield connection, client


@pytest.mark.parametrize(("filters", "spliced"), [(["read"], False), ([], True)])
def test_a_slow_reader_costs_what_the_page_says(filters: list[str], spliced: bool, plugins: PluginManager) -> None:
    async def conversation() -> None:
        loop = asyncio.get_running_loop()
        async with slow_reader(plugins, *filters) as (connection, client):
            stream, highest = connection.client, 0
            while not (stream.piped if spliced else stream.blocked):
                await asyncio.sleep(0)
            assert connection.upstream is not None
            for taken in range(0, SIZE, 256 * KIB):  # now and then it takes a little, and the rest keeps pressing on
                for _ in range(3):
                    await asyncio.sleep(0)
                    highest = max(highest, stream.buffered)
                left = 256 * KIB
                while left and taken + 256 * KIB - left < SIZE:
                    left -= len(await loop.sock_recv(client, left))
            limit = PIPE_SIZE if spliced else connection.listener.buffer_limit + READ_SIZE_MAX
            assert 0 < highest <= limit
            assert stream.sent == SIZE

    asyncio.run(conversation())


def test_peeking_is_bounded(plugins: PluginManager) -> None:
    async def conversation() -> None:
        chains = [{"match": {"never": True}, "filters": ["echo"]}, {"filters": ["echo"]}]
        async with serve(
            {"listeners": [{"name": "l", "address": "127.0.0.1:0", "filter_chains": chains}]}, plugins=plugins
        ) as server:
            (address,) = server.addresses["l"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(bytes(100 * KIB))
            assert await reader.readexactly(100 * KIB) == bytes(100 * KIB)
            assert 0 < Never.seen <= 16 * KIB
            writer.close()

    asyncio.run(conversation())
