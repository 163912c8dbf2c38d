"""A real proxy around filters: real sockets, a listener on a free port, an upstream behind it, all within a test.

The server is what ``l4proxy run`` runs, in a thread with a loop of its own, so that a test talks to it with plain
blocking calls, or from asyncio::

    def test_shouts(proxy):  # the pytest fixture
        with proxy(Shout).connect() as client:
            client.send(b"hello")
            assert client.receive(5) == b"HELLO"

    async def test_shouts_too(proxy):
        reader, writer = await asyncio.open_connection(*proxy(Shout).address)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, TypeVar

from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.record import AccessRecord
from l4proxy.config.types import Use
from l4proxy.errors import did_you_mean
from l4proxy.filter import Filter
from l4proxy.plugin_manager import PluginManager
from l4proxy.poller import new_event_loop
from l4proxy.reason import CloseReason
from l4proxy.server import Server, serve
from l4proxy.testing.harness import use
from l4proxy.testing.peers import TIMEOUT, Handler, SocketEnd, Upstream, echo

__all__ = ["Proxy", "StartProxy"]

T = TypeVar("T")
FilterOrUse = type[Filter[Any]] | tuple[type[Filter[Any]], Any, bool]


class StartProxy(Protocol):
    """The type of the ``proxy`` fixture: called like ``Proxy``, and what it starts is stopped when the test ends."""

    def __call__(
        self,
        *filters: FilterOrUse,
        upstream: Handler | str = echo,
        clusters: Mapping[str, str | Mapping[str, Any]] | None = None,
        plugins: Iterable[object] = (),
        buffer_limit: int = 64 * 1024,
        may_fail: bool = False,
        **options: Any,
    ) -> Proxy: ...


class Proxy:
    """A running proxy. A context manager: the end of the block stops it, and raises AssertionError if a filter raised.

    ``filters`` are classes, or ``use(Cls, option=...)`` where one that is not the first has options; ``options`` are
    those of the first. Unless the last one is terminal, ``tcp_proxy`` follows.

    ``upstream`` is the address (``"host:port"``) of a server, or a function that is called with the ``SocketEnd`` of
    each connection, in a thread of its own; without one, an echo. ``clusters`` are further ones, ``{name: address}``
    or ``{name: {option: value}}``, for filters that choose; ``plugins`` modules whose registrations the options need.
    ``may_fail`` says that filters may raise: they are found in ``failures`` then.

    Raises ConfigError for wrong options.
    """

    def __init__(
        self,
        *filters: FilterOrUse,
        upstream: Handler | str = echo,
        clusters: Mapping[str, str | Mapping[str, Any]] | None = None,
        plugins: Iterable[object] = (),
        buffer_limit: int = 64 * 1024,
        may_fail: bool = False,
        **options: Any,
    ) -> None:
        made = [
            one if isinstance(one, tuple) else use(one, **({} if at else options)) for at, one in enumerate(filters)
        ]
        chain = [Use(cls.name, config, "bypass" if bypass else "close", cls, cls.name) for cls, config, bypass in made]
        self.records: list[AccessRecord] = []
        """What the access log would say of each connection that has ended, in order."""
        self.failures: list[str] = []
        """What was logged with a traceback: exceptions of filters, of timers, of the proxy itself."""
        self._may_fail = may_fail
        self._ended = threading.Condition()
        self._upstream: Upstream | None = None
        others = dict(clusters or {})
        if not (chain and chain[-1].cls.terminal):
            chain.append(Use("tcp_proxy", {"cluster": "upstream"}))
            others["upstream"] = self._upstream_address(upstream)
        config = {
            "listeners": [
                {
                    "name": "proxy",
                    "address": "127.0.0.1:0",
                    "filters": chain,
                    "buffer_limit": buffer_limit,
                    "access_log": [Use("test", self._connection_ended, cls=_EachRecord)],
                }
            ],
            "clusters": [
                {"name": name, **({"endpoints": [one]} if isinstance(one, str) else one)}
                for name, one in others.items()
            ],
            "drain_time": 0,
        }
        manager = PluginManager()
        for plugin in plugins:
            manager.register(plugin, getattr(plugin, "__name__", repr(plugin)))
        self._started: Future[Server] = Future()
        self._thread = threading.Thread(target=self._run, args=(config, manager), name="test proxy", daemon=True)
        self._log = _Failures(self._thread, self.failures)
        logging.getLogger("l4proxy").addHandler(self._log)
        self._thread.start()
        try:
            self.server = self._started.result(TIMEOUT)
        except BaseException:
            self._release()
            raise

    def _upstream_address(self, upstream: Handler | str) -> str:
        if isinstance(upstream, str):
            return upstream
        self._upstream = Upstream(upstream)
        return "{}:{}".format(*self._upstream.address)

    # In the thread of the proxy

    def _run(self, config: Mapping[str, Any], plugins: PluginManager) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve(config, plugins))

    async def _serve(self, config: Mapping[str, Any], plugins: PluginManager) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with serve(config, plugins=plugins) as server:
                self._started.set_result(server)
                await self._stopping.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    def _connection_ended(self, record: AccessRecord) -> None:
        with self._ended:
            self.records.append(record)
            self._ended.notify_all()

    # In the thread of the test

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: ``(host, port)``."""
        (address,) = self.server.addresses["proxy"]
        return address.host, address.port

    def connect(self) -> SocketEnd:
        """A new connection, as its client."""
        return SocketEnd(socket.create_connection(self.address, TIMEOUT))

    @property
    def closed(self) -> list[CloseReason]:
        """Why each connection ended, in order."""
        return [record.reason for record in self.records]

    def wait_closed(self, connections: int = 1) -> list[CloseReason]:
        """Wait until so many connections have ended since the start; return why. Raises TimeoutError."""
        with self._ended:
            if not self._ended.wait_for(lambda: len(self.records) >= connections, TIMEOUT):
                raise TimeoutError(f"{len(self.records)} connections have ended, not {connections}")
        return self.closed

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the proxy's own thread, where ``server`` and all that belongs to it may be touched."""

        async def called() -> T:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(TIMEOUT)

    def stat(self, name: str, **labels: str) -> float:
        """The value of a metric (of a histogram: how much it has counted), all series with these labels together:
        ``stat("l4proxy_filter_errors_total", filter="shout")``. Raises LookupError when there is no such metric."""
        snapshot = self.call(self.server.stats.snapshot)
        if name not in snapshot:
            raise LookupError(f"there is no metric {name!r}{did_you_mean(name, snapshot)}")
        family = snapshot[name]
        total = 0.0
        for sample in family["samples"]:
            if labels.items() <= dict(zip(family["labels"], sample["labels"], strict=True)).items():
                value = sample["value"]
                total += sum(value["counts"]) if isinstance(value, dict) else value
        return total

    def stop(self) -> None:
        """Close everything, connections included. Raises AssertionError when a filter raised and may not. Once is
        enough."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._release()
        failures = [] if self._may_fail else list(self.failures)
        failures += self._upstream.errors if self._upstream else []
        if failures:
            raise AssertionError("\n".join(failures))

    def _release(self) -> None:
        self._thread.join(TIMEOUT)
        logging.getLogger("l4proxy").removeHandler(self._log)
        if self._upstream is not None:
            self._upstream.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


class _EachRecord(AccessLogger[Any]):
    """Hands each record to a function, which is its option."""

    name = "test"

    def log(self, record: AccessRecord) -> None:
        self.config(record)


class _Failures(logging.Handler):
    """Keeps what one thread logs with a traceback."""

    def __init__(self, thread: threading.Thread, failures: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._thread = thread
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.thread == self._thread.ident:
            self._failures.append(self.format(record))
