"""The filter contract: what a plugin author writes, and what is promised to it.

The life of a filter, in order:

1. ``provision(config, server)``: once per place in the configuration, when it is loaded, or only tried
   (``l4proxy check``). What it returns is ``self.shared`` for every connection.
2. an instance per connection; ``conn``, ``config`` and ``shared`` are set before the first call.
3. ``on_connect()``: once. May be ``async``: until it is done, the next filter's ``on_connect`` and the client's bytes
wait.
4. ``on_client_data`` / ``on_upstream_data``: for every chunk. Always plain functions: the bytes returned go on to the
   next filter, ``None`` (or ``b""``) stops them here (kept, dropped, or sent later). Chunk borders mean nothing.
5. ``on_client_eof`` / ``on_upstream_eof``: at most once each, behind all data of that direction, held data included.
6. ``on_close(reason)``: exactly once, always last, whatever happened before.
7. ``cleanup(shared)``: once, after the last connection of that configuration is gone.

Client bytes pass the filters first to last, upstream bytes last to first. Exactly one **terminal** filter ends a chain.
A callback that is not overridden costs nothing. All callbacks of a connection run in one thread and never overlap.
Do not block in them: a chunk of another connection waits. Work that takes time is ``conn.pause()`` and
``conn.spawn(...)``.

An exception closes this one connection as ``filter_error`` (never another one), is logged with its traceback and
counted; ``on_error = "bypass"`` in the configuration takes the filter out of the chain instead, for filters that only
watch.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord
    from l4proxy.config.schema import Listener
    from l4proxy.errors import UpstreamError
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server
    from l4proxy.stream import Stream
    from l4proxy.table import Table
    from l4proxy.timers import Timer

__all__ = ["Conn", "Filter", "NoConfig", "Passed", "Peer", "Side", "TlsInfo"]

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class NoConfig:
    """The options of a filter that has none."""


class Side(Enum):
    """One end of a connection: where bytes come from."""

    CLIENT = "client"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Peer:
    """One end's addresses. ``host`` and ``port`` are the remote end's (``""`` and 0 for a unix socket), ``local_*``
    ours.

    For the client, ``host`` and ``port`` are what a PROXY header said, if one did; ``direct_host`` is the socket's own
    peer.
    """

    host: str
    port: int
    local_host: str = ""
    local_port: int = 0
    direct_host: str = ""
    text: str = field(init=False, repr=False, compare=False)
    """Host and port as they are written; ``str`` of it. Made once, because access logs print it for each request."""

    def __post_init__(self) -> None:
        text = self.host or "unix"
        if self.port:
            text = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        object.__setattr__(self, "text", text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What is known of TLS on the client's side. All empty without TLS; ``server_name`` and ``alpn`` also when TLS is
    only looked at and passed through (a chain matched by ``tls``)."""

    server_name: str = ""
    alpn: str = ""
    version: str = ""
    cipher: str = ""
    peer_subject: str = ""
    peer_sans: tuple[str, ...] = ()


class Filter(Generic[C]):
    """Base of every network filter. ``C`` is a frozen dataclass, its options: the configuration is checked against
    it."""

    name: ClassVar[str]
    """What a configuration file says: ``{ use = "NAME" }``. Unique, lower case with underscores."""
    terminal: ClassVar[bool] = False
    """A terminal filter ends the chain: it answers, or connects an upstream and calls ``conn.attach_upstream``."""
    observer: ClassVar[bool] = False
    """An observer sees the bytes after they were written on; what it returns is ignored, and when it raises the
    connection goes on without it."""
    status: ClassVar[str] = "stable"
    """``stable``, ``alpha`` or ``wip``; shown by ``l4proxy plugins``."""
    posture: ClassVar[str] = "untrusted_client"
    """``untrusted_client`` (safe at the edge) or ``trusted_client``; shown by ``l4proxy plugins``."""

    conn: Conn
    config: C
    shared: Any

    @classmethod
    def placed(cls, config: C, listener: Listener, remark: Callable[[str], object]) -> C:
        """The options as they hold at this listener: for defaults that depend on who can connect to it
        (``listener.exposed``). ``remark`` tells operators what they might not expect, at the start and in ``l4proxy
        check``. Called for each place in a configuration, before ``provision``, and whenever somebody asks for the
        remarks."""
        return config

    @classmethod
    def provision(cls, config: C, server: Server) -> Any:
        """Make what all connections of this configured use share (counters, pools, tables). Raise ValueError to refuse
        it; the text may begin with the option that is wrong (``"file: cannot read ..."``). It may never be served
        with: leave what has an effect on others to the first connection, or to the hook ``startup``."""
        return None

    @classmethod
    def cleanup(cls, shared: Any) -> None:
        """Give back what ``provision`` made."""

    @classmethod
    def tables(cls, shared: Any) -> Sequence[Table]:
        """What the admin interface shows of this configured use (``/tables``). Called when somebody looks."""
        return ()

    @classmethod
    def application_protocols(cls, config: C) -> tuple[str, ...]:
        """What a terminal filter speaks, by the names of ALPN, the most wanted first: for a chain with TLS whose
        configuration names none (``alpn``)."""
        return ()

    def on_connect(self) -> Awaitable[None] | None:
        """Authorise, look up, choose. Runs before this connection's first byte, filter by filter in chain order."""
        return None

    def on_client_data(self, data: bytes) -> bytes | None:
        """A chunk on its way from the client. Return the bytes that go on, or None."""
        return data

    def on_upstream_data(self, data: bytes) -> bytes | None:
        """A chunk on its way to the client. Return the bytes that go on, or None."""
        return data

    @classmethod
    def on_passed(cls, passed: Sequence[Passed]) -> None:
        """For observers that have a lot to do, instead of the two callbacks for data: the chunks that have passed its
        instances in one place of the configuration, in order, for all connections together. That costs less than to be
        called for each. It is called when the loop turn is over, and before an ``on_..._eof``; never after
        ``on_close``. A large chunk is shown at once.

        When it raises, all the connections that it was shown chunks of go on without it. So catch what is about a
        single one."""

    def on_client_eof(self) -> None:
        """The client will send no more. Bytes that this filter kept can still be sent with ``conn.send_upstream``."""

    def on_upstream_eof(self) -> None:
        """The upstream will send no more. Bytes that this filter kept can still be sent with ``conn.send_client``."""

    def on_writable(self, side: Side, writable: bool) -> None:
        """``side`` takes no more bytes for now (its buffer is above the high watermark), or does again.

        Reading of the opposite side is stopped and started by the core; only a filter that injects a lot needs this.
        """

    def on_drain(self) -> None:
        """The server wants this connection to end soon: finish at the next good point, then ``conn.close``."""

    def on_close(self, reason: CloseReason) -> None:
        """The connection is over. Nothing is called after this, nothing can be sent."""


Passed: TypeAlias = "tuple[Any, Side, bytes, float]"
"""A chunk that was passed on: which instance of the filter it has passed, from which side, and when (seconds since the
epoch, of a clock that never goes back)."""


class Conn:
    """The connection, seen from one filter's place in its chain. Documentation and types; the core's object implements
    it.

    It belongs to the thread of its event loop: what changes it raises RuntimeError in any other. After the close all of
    it is harmless, and nothing is sent."""

    __slots__ = ()

    @property
    def id(self) -> int:
        """Unique in this process; the same number stands in logs, access logs and ``/connections``."""
        raise NotImplementedError

    @property
    def client(self) -> Peer:
        raise NotImplementedError

    @property
    def upstream(self) -> Peer | None:
        """None until an upstream is attached."""
        raise NotImplementedError

    @property
    def tls(self) -> TlsInfo | None:
        raise NotImplementedError

    @property
    def destination(self) -> tuple[str, int]:
        """The ``(host, port)`` that the client meant, before ``REDIRECT``, ``TPROXY`` or a PROXY header's hop."""
        raise NotImplementedError

    @property
    def server_name(self) -> str:
        """The TLS server name (SNI), whether TLS was terminated here or only looked at by a matcher; else empty."""
        raise NotImplementedError

    @property
    def activity(self) -> int:
        """Grows with every byte read or written on either side: who compares it at intervals knows whether it is
        idle."""
        raise NotImplementedError

    @property
    def client_ended(self) -> bool:
        """The client has ended its side: told by ``on_client_eof`` behind all that it has sent, and known here before
        that, where it is paused."""
        raise NotImplementedError

    @property
    def chosen_upstream(self) -> str:
        """The cluster that ``choose_upstream`` chose; empty when nobody did."""
        raise NotImplementedError

    @property
    def retired(self) -> bool:
        """A reload has put another configuration in place of this connection's. It goes on as it is; a protocol that
        can end it without its client losing anything (HTTP's ``Connection: close``) should, at the next chance."""
        raise NotImplementedError

    @property
    def listener_name(self) -> str:
        """The listener that accepted it."""
        raise NotImplementedError

    @property
    def listener_ports(self) -> tuple[int, ...]:
        """The TCP ports on which that listener accepts connections, in the order of its addresses. A range of ports
        with one filter chain is a way to tell which of several servers a client means."""
        raise NotImplementedError

    @property
    def chain_name(self) -> str:
        """Its filter chain; empty where that has no name."""
        raise NotImplementedError

    @property
    def logs_access(self) -> bool:
        """Whether there are access loggers: without any, no record has to be made."""
        raise NotImplementedError

    def log_access(self, record: AccessRecord, *, instead: bool = True) -> None:
        """For filters that carry or watch requests: log one of them. The connection itself is then not logged, except
        one that ends before its first request is; with ``instead=False`` it is."""
        raise NotImplementedError

    @property
    def state(self) -> dict[str, Any]:
        """Shared by the filters of this connection. Keys are ``"filter_name:key"``; access logs print them with
        ``%FILTER_STATE(filter_name:key)%``."""
        raise NotImplementedError

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Writes with the connection's id and the filter's name. Not for every chunk."""
        raise NotImplementedError

    def send_upstream(self, data: bytes) -> None:
        """Send bytes as if the client had: only the filters after this one see them. They go before what the running
        callback returns. Before the upstream is connected they are held, in order.

        Raises TypeError for anything but bytes. Who goes on sending to a side that is not writable (``on_writable``)
        may be 16 MiB ahead of it; then the connection is closed as ``overflow``."""
        raise NotImplementedError

    def send_client(self, data: bytes) -> None:
        """Send bytes as if the upstream had: only the filters before this one see them."""
        raise NotImplementedError

    def skip(self, side: Side, size: int) -> bool:
        """For observers: this filter has no need of the next ``size`` bytes that come from ``side``. Return True when
        it will not be shown them, because the kernel moves them; False when it is shown them as ever. To be called
        from the callback for a chunk of that side, when it is done with it."""
        raise NotImplementedError

    def bare_client(self) -> Stream | None:
        """For terminal filters: the client's stream, where no other filter stands in its chain, so that whoever moves
        bytes to or from it himself (``Stream.splice_next``) passes nobody by. Its callbacks belong to the core."""
        raise NotImplementedError

    def pause(self, side: Side | None = None) -> None:
        """From the next chunk on, what comes from ``side`` (None: both) waits in front of this filter, in order, and
        that side is not read. Filters before this one still run. End of stream waits behind the chunks. What waits is
        bounded: more than the connection's buffer limit closes it as ``overflow``. Pausing twice is pausing once."""
        raise NotImplementedError

    def resume(self, side: Side | None = None) -> None:
        """Deliver what waited, in order, and read again. Harmless when nothing is paused."""
        raise NotImplementedError

    def choose_upstream(self, cluster: str) -> None:
        """Send this connection to another cluster than the terminal filter's own. Raises RuntimeError once the upstream
        connection has begun, LookupError when there is no such cluster."""
        raise NotImplementedError

    def connecting(self, cluster: str) -> None:
        """For terminal filters: a connection to ``cluster`` has begun. From here on ``choose_upstream`` is an error."""
        raise NotImplementedError

    def attach_upstream(
        self,
        stream: Stream,
        *,
        preface: bytes = b"",
        endpoint: str = "",
        attempts: int = 1,
        connect_seconds: float = 0.0,
    ) -> None:
        """For terminal filters: from now on this chain's client bytes are written to ``stream``, behind ``preface``,
        and its bytes go to the client. The rest is for access logs. Raises RuntimeError when one is attached already.
        """
        raise NotImplementedError

    def connect_failed(self, error: UpstreamError) -> None:
        """For terminal filters: no upstream could be had. Closes the connection; logs show what ``error`` tells."""
        raise NotImplementedError

    def detach(self) -> None:
        """This filter has seen enough: take it out of the chain (its ``on_close`` still comes). When nobody is left who
        reads bytes, the kernel moves them."""
        raise NotImplementedError

    def close(self, why: str | CloseReason, *, flush: bool = True, reset: bool = False) -> None:
        """End the connection. ``why`` is the snake-case name that logs and counters show, or a whole reason. ``flush``
        lets bytes on their way out leave first (bounded by a timeout), ``reset`` then ends it with a TCP RST."""
        raise NotImplementedError

    def finish(self, why: str | CloseReason) -> None:
        """For terminal filters that answer themselves: close the connection, named as by ``close``, as soon as all that
        was sent to the client has passed the filters before this one, also what waits where one has paused. Nothing may
        be sent to the client after this."""
        raise NotImplementedError

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the connection; it is cancelled when the connection closes, and when it raises the
        connection closes as ``filter_error``."""
        raise NotImplementedError

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback()`` after ``delay`` seconds, unless the connection closes first. Coarse (``l4proxy.timers``):
        it may come a tenth of a second late. The timer returned can be cancelled."""
        raise NotImplementedError
