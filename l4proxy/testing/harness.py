"""Drive filters by hand: scripted chunks, ends, resets, a peer that stops reading, and a clock, without sockets.

::

    from l4proxy.testing import harness

    def test_shouts():
        h = harness(Shout)
        h.client.send(b"hello")
        assert h.upstream.received == b"HELLO"

Everything between the two ends is the real thing: the connection, its paths and its streams, and options go through the
same checks as a configuration file. A test that needs real sockets uses the ``proxy`` fixture instead.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from l4proxy.chain import FilterChain, FilterUse
from l4proxy.connection import Connection
from l4proxy.filter import Filter, NoConfig, TlsInfo
from l4proxy.matcher import PeekInfo
from l4proxy.message import MessageFilter
from l4proxy.reason import CloseReason
from l4proxy.stats_registry import StatsRegistry
from l4proxy.stream import Stream
from l4proxy.testing.memory import ManualLoop, MemoryPoller, MemorySocket
from l4proxy.timers import TICK, Timers

__all__ = ["End", "Harness", "harness", "use"]

F = TypeVar("F", bound=Filter[Any] | MessageFilter[Any, Any, Any])

Uses = list[tuple[type[Filter[Any]], Any, bool]]
"""Filter classes with their options, and whether one is bypassed when it fails."""


class End:
    """One side's peer: what it does, and what it has received."""

    def __init__(self, owner: Harness) -> None:
        self._owner = owner
        self.sock = MemorySocket()
        owner.poller.attach(self.sock)

    @property
    def received(self) -> bytes:
        """Everything that reached this peer so far."""
        return bytes(self.sock.taken)

    @property
    def got_eof(self) -> bool:
        """An orderly end (FIN) has reached this peer."""
        return self.sock.shut or (self.sock.closed and not self.sock.reset)

    @property
    def got_reset(self) -> bool:
        return self.sock.reset

    @property
    def closed(self) -> bool:
        """The proxy has closed its socket to this peer."""
        return self.sock.closed

    def send(self, *chunks: bytes) -> None:
        """Each chunk arrives in a read of its own."""
        for chunk in chunks:
            self.sock.arrived.append(chunk)
            self._happened()

    def eof(self) -> None:
        """Send end of stream (FIN)."""
        self.sock.arrived.append(b"")
        self._happened()

    def reset(self) -> None:
        self.sock.error = ConnectionResetError(104, "Connection reset by peer")
        self._happened()

    def stop_reading(self, room: int = 0) -> None:
        """Take ``room`` bytes more, then none."""
        self.sock.room = room
        if room:
            self._happened()

    def read_again(self) -> None:
        self.sock.room = None
        self._happened()

    def _happened(self) -> None:
        self._owner.poller.happened(self.sock)
        self._owner.run()


class _Upstream(Filter[NoConfig]):
    """The terminal filter of a harness: connects when it is told to, at once unless told otherwise."""

    name = "harness_upstream"
    terminal = True

    def on_connect(self) -> None:
        self.shared.terminal = self
        if self.shared.connect_at_once:
            self.shared.connect_upstream()


class _Server:
    """What the connections of a harness share: the clock, the statistics, and what their filters provision."""

    def __init__(self, uses: Uses) -> None:
        self.loop = ManualLoop()
        self.poller = MemoryPoller()
        self.timers = Timers(self.loop)
        self.stats = StatsRegistry()
        self.chosen: list[str] = []
        self.clusters = SimpleNamespace(find=self.chosen.append)
        self.uses = [FilterUse(cls, config, cast(Any, self), bypass=bypass) for cls, config, bypass in uses]


class Harness:
    """A connection through ``filters``. ``client`` and ``upstream`` are its two ends.

    ``finished`` is True once everything is released and every filter has heard ``on_close``.
    """

    def __init__(self, uses: Uses | _Server, *, connect: bool = True, buffer_limit: int = 64 * 1024) -> None:
        self.server = server = uses if isinstance(uses, _Server) else _Server(uses)
        self.loop, self.poller, self.timers, self.stats = server.loop, server.poller, server.timers, server.stats
        self.clusters, self.chosen = server.clusters, server.chosen
        self.finished = False
        self.connect_at_once = connect
        self.terminal: _Upstream | None = None
        self.client = End(self)
        self.upstream = End(self)
        self.buffer_limit = buffer_limit
        self.ports = (80,)
        self.access_loggers = self.request_loggers = ()
        self.thread = threading.get_ident()
        self.chain = FilterChain("harness", server.uses)
        if not (server.uses and server.uses[-1].cls.terminal):
            last = FilterUse(_Upstream, NoConfig(), cast(Any, server))
            last.shared = self
            self.chain.filters = (*server.uses, last)
        self.info = PeekInfo(("198.51.100.1", 40000), ("192.0.2.1", 80))
        self.connection: Any = None

    def another(self, *, info: PeekInfo | None = None, tls: TlsInfo | None = None) -> Harness:
        """One more connection through the same filters: they share the clock, and what ``provision`` made."""
        other = Harness(self.server, connect=self.connect_at_once, buffer_limit=self.buffer_limit)
        return other.start(info=info, tls=tls)

    def start(self, *, info: PeekInfo | None = None, tls: TlsInfo | None = None) -> Harness:
        """Accept the connection. Called by ``harness``."""
        self.info = info or self.info
        stream = Stream(cast(Any, self.client.sock), cast(Any, self.poller), self.buffer_limit)
        self.connection = Connection(cast(Any, self), self.chain, stream, self.info, tls)
        self.connection.start()
        self.run()
        return self

    def loggers_of(self, connection: Connection) -> tuple[()]:
        return ()

    def connection_closed(self, connection: Connection, record: None) -> None:
        self.finished = True

    @property
    def closed(self) -> CloseReason | None:
        """Why the connection ends, from the moment that this is decided; None while it goes on."""
        reason: CloseReason | None = self.connection.reason
        return reason

    @property
    def filters(self) -> tuple[Filter[Any], ...]:
        """The filter instances, in chain order."""
        return tuple(self.connection.filters)

    def connect_upstream(self) -> None:
        """The upstream accepts. Happens by itself unless the harness was made with ``connect=False``."""
        assert self.terminal is not None
        stream = Stream(cast(Any, self.upstream.sock), cast(Any, self.poller), self.buffer_limit)
        self.terminal.conn.attach_upstream(stream, endpoint="harness")
        self.run()

    def advance(self, seconds: float) -> None:
        """Let time pass: timers fire, sleeping coroutines wake."""
        end = self.loop.now + seconds
        while self.loop.now < end:
            self.loop.now = min(self.loop.now + TICK, end)
            self.run()

    def run(self) -> None:
        """Let everything happen that can happen now. Called by every action."""
        if self.loop.is_running():
            return
        while True:
            worked = self.poller.run()
            self.loop.run_ready()
            if not worked and not self.poller.pending:
                return


def use(cls: type[F], *, on_error: str = "close", **options: Any) -> tuple[type[F], Any, bool]:
    """A filter with options, for a harness with several; or a message filter, for the filter that drives it."""
    from l4proxy.config.structure import structure
    from l4proxy.registry import Registry, options_of

    config = structure(options_of(cls) or NoConfig, options, path=cls.name, registry=Registry())
    return cls, config, on_error == "bypass"


def harness(
    *filters: type[Filter[Any]] | tuple[type[Filter[Any]], Any, bool],
    connect: bool = True,
    buffer_limit: int = 64 * 1024,
    info: PeekInfo | None = None,
    tls: TlsInfo | None = None,
    **options: Any,
) -> Harness:
    """A running connection through ``filters``; ``options`` are those of the first one.

    ``info`` and ``tls`` say who the client is and what its TLS handshake brought.

    A filter that is not alone is given as ``use(Cls, option=...)``. Unless the last one is terminal, an upstream
    follows that accepts at once, or with ``connect=False`` when ``connect_upstream()`` is called. Raises ConfigError
    for wrong options.
    """
    made = [
        one if isinstance(one, tuple) else use(one, **(options if at == 0 else {})) for at, one in enumerate(filters)
    ]
    return Harness(made, connect=connect, buffer_limit=buffer_limit).start(info=info, tls=tls)
