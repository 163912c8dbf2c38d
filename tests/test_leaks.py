"""What stays behind when connections have ended, in all the ways in which they end: nothing.

Tasks, file descriptors, timers, sockets in the poller and the objects themselves are counted before and after.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l4proxy import Filter, NoConfig, Side
from l4proxy.connection import Connection
from l4proxy.filter_conn import FilterConn
from l4proxy.plugins.tcp_proxy import TcpProxy
from l4proxy.splice import close_spare_pipes
from l4proxy.stream import READ_SIZE_MAX, Stream
from l4proxy.testing import Proxy, SocketEnd, StartProxy, echo
from services.process import free_port

CONNECTIONS = 100
BATCH = 20
PATIENCE = 10.0


class Obeys(Filter[NoConfig]):
    """Does what the first byte says."""

    name = "obeys"

    async def on_connect(self) -> None:
        await asyncio.sleep(0)

    def on_client_data(self, data: bytes) -> bytes:
        match data[:1]:
            case b"c":
                self.conn.close("enough")
            case b"C":
                self.conn.close("enough", flush=False, reset=True)
            case b"d":
                self.conn.detach()
            case b"p":
                self.conn.pause()
            case b"r":
                raise RuntimeError("boom")
            case b"s":
                self.conn.spawn(self._wait())
                self.conn.call_later(600, self._wait)
            case b"F":
                self.conn.spawn(self._fail())
        return data

    async def _wait(self) -> None:
        await asyncio.Event().wait()

    async def _fail(self) -> None:
        raise RuntimeError("boom")


class Stuck(Filter[NoConfig]):
    name = "stuck"

    async def on_connect(self) -> None:
        await asyncio.Event().wait()


def upstream(end: SocketEnd) -> None:
    """Echoes, or does what the first byte says."""
    first = end.receive(1)
    if first == b"e":
        end.eof()
        end.receive_all()
    elif first == b"R":
        end.reset()
    elif first == b"l":
        end.send(bytes(1 << 20))
        end.reset()
    elif first:
        end.send(first)
        echo(end)


ENDINGS: dict[str, tuple[bytes, Callable[[SocketEnd], object]]] = {
    "both ends end": (b".", SocketEnd.eof),
    "the client says nothing and leaves": (b"", SocketEnd.close),
    "the client resets": (b".", SocketEnd.reset),
    "the client leaves with bytes on their way": (bytes(1 << 18), SocketEnd.close),
    "the client reads nothing and resets": (b"l", SocketEnd.reset),
    "the upstream ends first": (b"e", SocketEnd.eof),
    "the upstream resets": (b"R", SocketEnd.receive_all),
    "a filter closes": (b"c", SocketEnd.receive_all),
    "a filter resets": (b"C", SocketEnd.receive_all),
    "a filter raises": (b"r", SocketEnd.receive_all),
    "a filter is paused": (b"p" * 1000, SocketEnd.reset),
    "a filter has detached": (b"d", SocketEnd.eof),
    "a filter's task and timer wait": (b"s", SocketEnd.eof),
    "a filter's task fails": (b"F", SocketEnd.receive_all),
}


def until(holds: Callable[[], object]) -> None:
    """Wait for what happens in other threads."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def left_behind(running: Proxy) -> dict[str, int]:
    def count() -> dict[str, int]:
        gc.collect()
        close_spare_pipes()
        kinds = [type(thing) for thing in gc.get_objects()]
        server = running.server
        return {
            "tasks": len(asyncio.all_tasks()),
            "descriptors in the poller": len(server.poller),
            "timers": sum(len(bucket) for bucket in server.timers._buckets.values()),
            "connections that are counted": server.active,
            "connections": kinds.count(Connection),
            "views of connections": kinds.count(FilterConn),
            "streams": kinds.count(Stream),
            "filters": sum(kinds.count(kind) for kind in (Obeys, Stuck, TcpProxy)),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        }

    return running.call(count)


def hold_to(before: dict[str, int], running: Proxy) -> None:
    """The threads of the upstream close their sockets a moment later than the proxy its own."""
    deadline = time.monotonic() + PATIENCE
    while (now := left_behind(running)) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert now == before


def end_many(running: Proxy, first: bytes, end: Callable[[SocketEnd], object]) -> None:
    before = len(running.closed)
    for batch in range(CONNECTIONS // BATCH):
        clients = [running.connect() for _ in range(BATCH)]
        for client in clients:
            client.send(first)
        for client in clients:
            with contextlib.suppress(ConnectionError), client:
                end(client)
        running.wait_closed(before + (batch + 1) * BATCH)


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_stays_of_connections(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "l4proxy")  # pytest keeps records, those keep tracebacks, and those connections
    with Proxy(Obeys, upstream=upstream, may_fail=True) as running:
        before = left_behind(running)
        end_many(running, *ENDINGS[ending])
        hold_to(before, running)


@pytest.mark.parametrize("ending", ["both ends end", "the upstream resets", "a filter closes", "a filter resets"])
def test_connections_go_without_the_garbage_collector(ending: str, proxy: StartProxy) -> None:
    """Collections are rare in a proxy, and a cycle per connection is memory until the next one."""
    running = proxy(Obeys, upstream=upstream)

    def alive() -> int:
        return sum(type(thing) is Connection for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        end_many(running, *ENDINGS[ending])
        until(lambda: running.call(alive) == 0)
    finally:
        gc.enable()


def test_nothing_stays_of_connections_that_the_kernel_moves() -> None:
    with Proxy(upstream=upstream) as running:
        before = left_behind(running)
        end_many(running, bytes(1 << 20), SocketEnd.reset)
        hold_to(before, running)


def test_nothing_stays_of_connections_whose_upstream_refuses() -> None:
    with Proxy(Obeys, upstream=f"127.0.0.1:{free_port()}") as running:
        before = left_behind(running)
        end_many(running, b".", SocketEnd.receive_all)
        assert {reason.detail for reason in running.closed} == {"connect_refused"}
        hold_to(before, running)


def test_nothing_stays_of_connections_that_were_never_let_in() -> None:
    with Proxy(Stuck) as running:
        before = left_behind(running)
        end_many(running, b"", SocketEnd.reset)
        hold_to(before, running)


def test_nothing_stays_of_connections_that_the_server_ends() -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with Proxy(Obeys, upstream=upstream) as running, contextlib.ExitStack() as clients:
        for _ in range(CONNECTIONS):
            clients.enter_context(running.connect()).send(b"s")
        until(lambda: running.call(lambda: running.server.active) == CONNECTIONS)
        running.stop()
        assert running.server.active == 0
    assert len(running.closed) == CONNECTIONS
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


class Reads(Filter[NoConfig]):
    name = "reads"

    def on_upstream_data(self, data: bytes) -> bytes:
        return data


class Holds(Filter[NoConfig]):
    """Paused for a turn of the loop at each chunk."""

    name = "holds"

    def on_upstream_data(self, data: bytes) -> bytes:
        self.conn.pause(Side.UPSTREAM)
        self.conn.spawn(self._resume())
        return data

    async def _resume(self) -> None:
        await asyncio.sleep(0)
        self.conn.resume(Side.UPSTREAM)


SENT = 32 << 20


def sends(end: SocketEnd) -> None:
    end.send(bytes(SENT))
    end.eof()
    end.receive_all()


def held(running: Proxy) -> int:
    """Bytes that wait for the client of the only connection."""
    connections = running.server.listeners[0].connections.values()
    return sum(one.client.buffered + sum(size for _, size, _ in one.down.waiting()) for one in connections)


@pytest.mark.parametrize("kind", [Reads, Holds])
def test_what_is_held_for_a_client_that_does_not_read_is_bounded(kind: type[Filter[Any]], proxy: StartProxy) -> None:
    running = proxy(kind, upstream=sends, buffer_limit=1 << 16)
    with running.connect() as client:
        until(lambda: running.call(held, running))
        highest = received = 0
        while received < SENT:
            highest = max(highest, running.call(held, running))
            received += len(client.receive(min(1 << 18, SENT - received)))
    assert 0 < highest <= (1 << 16) + READ_SIZE_MAX
