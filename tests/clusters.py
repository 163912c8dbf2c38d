"""What tests of clusters share: a cluster without a server around it, and endpoints that behave in all the ways real
ones do."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from l4proxy.cluster import Cluster
from l4proxy.cluster_manager import ClusterManager
from l4proxy.config.schema import Cluster as ClusterConfig
from l4proxy.config.structure import structure
from l4proxy.connect import ConnectRequest
from l4proxy.endpoint import Endpoint
from l4proxy.errors import UpstreamError
from l4proxy.plugin_manager import load_plugins
from l4proxy.poller import new_event_loop, poller_of
from l4proxy.stats_registry import StatsRegistry
from l4proxy.stream import Stream
from l4proxy.timers import Timers

T = TypeVar("T")
SO_ATTACH_FILTER = 26
Connected = tuple[Stream, Endpoint]


def run(main: Callable[[], Awaitable[T]], limit: float = 30) -> T:
    """Run a test's coroutine in the loop that the command line uses."""

    async def limited() -> T:
        return await asyncio.wait_for(main(), limit)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(limited())


class Runtime:
    """What clusters need of a server."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.poller = poller_of(loop)
        self.timers = Timers(loop)
        self.stats = StatsRegistry()
        self.clusters = ClusterManager(self)

    def configure(self, *configs: ClusterConfig) -> None:
        self.clusters.prepare(configs).apply()
        self.clusters.start()

    def cluster(self, *endpoints: Any, **options: Any) -> Cluster:
        """Configure one cluster, called ``c``, and return it."""
        self.configure(config(*endpoints, **options))
        return self.clusters.find("c")


def config(*endpoints: Any, name: str = "c", **options: Any) -> ClusterConfig:
    """A cluster as a configuration file would have it."""
    raw = {"name": name, "endpoints": [one if isinstance(one, dict) else str(one) for one in endpoints], **options}
    return structure(ClusterConfig, raw, registry=load_plugins().registry)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Runtime]:
    runtime = Runtime()
    try:
        yield runtime
    finally:
        await runtime.clusters.stop()
        runtime.timers.close()


async def fails(cluster: Cluster, request: ConnectRequest | None = None) -> UpstreamError:
    """Connect, and return the failure that has to come."""
    try:
        stream, endpoint = await cluster.open(request or ConnectRequest())
    except UpstreamError as error:
        return error
    stream.close()
    raise AssertionError(f"connected to {endpoint}")


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so; the test's own time limit ends it if it never is."""
    while not condition():
        await asyncio.sleep(0.005)


def listening(host: str = "127.0.0.1", backlog: int = 100) -> socket.socket:
    """A server whose connections stay in its queue."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.bind((host, 0))
    sock.listen(backlog)
    return sock


def address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refused(host: str = "127.0.0.1") -> str:
    """An address where nobody listens. Its port stays bound for as long as the tests run, so that nobody else gets
    it."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.bind((host, 0))
    where = address(sock)
    sock.detach()
    return where


def go_silent(sock: socket.socket) -> None:
    """From now on the system drops every packet that comes for a socket: its peer hears nothing more, and no reset
    either."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@contextlib.contextmanager
def black_hole(host: str = "127.0.0.1") -> Iterator[str]:
    """An address that never answers."""
    with listening(host) as server:
        go_silent(server)
        yield address(server)
