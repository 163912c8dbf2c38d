"""A downstream connection: its two streams, its two paths, its filters, and how it ends.

There are three stages. *Connecting*: the filters' ``on_connect`` run in order, and the client is not read before the
last is done. *Relaying*: the paths carry bytes. *Closing*: a reason is set, nothing more reaches a filter, what was
written leaves, and then, at the end of a loop turn and so never inside a filter's callback, everything is released and
every filter hears ``on_close``. The first reason wins; all later ones are consequences of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from l4proxy.access_log.record import of_connection
from l4proxy.dial import lost_detail
from l4proxy.filter import Filter, Peer, Side, TlsInfo
from l4proxy.filter_conn import FilterConn
from l4proxy.path import Node, Path
from l4proxy.reason import CloseReason
from l4proxy.timers import Timer

if TYPE_CHECKING:
    import socket

    from l4proxy.chain import FilterChain, FilterUse
    from l4proxy.listener import Listener
    from l4proxy.matcher import PeekInfo
    from l4proxy.stream import Stream

__all__ = ["Connection", "peer_of"]

log = logging.getLogger("l4proxy.connection")

CONNECTING = 8
"""Why the client is not read: an ``on_connect`` is not done."""
FLUSH_TIMEOUT = 5.0
"""Seconds in which a closing connection has to send something of what was written to it; else it is reset."""
LINGER_TIMEOUT = 1.0
"""Seconds that a client has to send its own end of stream after ours. Closing before it does could turn into a reset
that destroys the last bytes we sent."""

_last_id = 0


class Connection:
    """Made by a listener for an accepted socket whose chain is chosen and whose TLS handshake, if any, is done."""

    __slots__ = ("_detached", "_ending", "_flush_timer", "_resets", "_state", "_tasks", "_timers",
                 "_upstream_peer", "attempts", "chain", "client", "cluster", "connect_seconds", "counted", "down",
                 "endpoint", "filters", "handshake_seconds", "id", "info", "listener", "logged", "phase", "reason",
                 "started", "tls", "up", "upstream")  # fmt: skip

    def __init__(
        self,
        listener: Listener,
        chain: FilterChain,
        client: Stream,
        info: PeekInfo,
        tls: TlsInfo | None = None,
        handshake_seconds: float = 0.0,
    ) -> None:
        global _last_id
        _last_id += 1
        self.id = _last_id
        self.listener = listener
        self.chain = chain
        self.client = client
        self.info = info
        self.tls = tls
        self.handshake_seconds = handshake_seconds
        self.upstream: Stream | None = None
        self._upstream_peer: Peer | None = None
        self.started = time.monotonic()
        self.phase = "on_connect"
        self.reason: CloseReason | None = None
        self.cluster = ""
        """Chosen with ``choose_upstream``, then the one connected to."""
        self.endpoint = ""
        self.attempts = 0
        self.connect_seconds = 0.0
        self.logged = False
        """What it carried has been logged by itself (requests): a line for the connection would say it again."""
        self.counted = (0, 0)
        """Bytes received from and sent to the client that the listener's statistics have already."""
        self._state: dict[str, Any] | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        self._timers: set[Timer] | None = None
        self._flush_timer: Timer | None = None
        self._detached: tuple[int, ...] = ()
        self._ending: CloseReason | None = None
        """What it will be closed as when both directions have ended."""
        self._resets = False

        self.filters = tuple(self._instantiate(use, at) for at, use in enumerate(chain.filters))
        limit = listener.buffer_limit
        self.up = Path(self, self._up_nodes(), limit)
        self.down = Path(self, self._down_nodes(), limit, client)
        self.up.connect_source(client)
        client.on_lost = self._client_lost

    def _instantiate(self, use: FilterUse, position: int) -> Filter[Any]:
        try:
            instance = use.cls()
        except Exception as error:
            use.stats.errors_total += 1
            raise RuntimeError(f"filter {use.name} could not be made: {error!r}") from error
        instance.conn = FilterConn(self, position)
        instance.config = use.config
        instance.shared = use.shared
        return instance

    def _up_nodes(self) -> tuple[Node, ...]:
        return tuple(
            Node(
                at,
                self.filters[at].on_client_data if use.reads_client else None,
                self.filters[at].on_client_eof if use.client_eof else None,
                use.observer,
                (use.passed, self.filters[at], Side.CLIENT) if use.passed is not None else None,
            )
            for at, use in enumerate(self.chain.filters)
            if use.reads_client or use.client_eof
        )

    def _down_nodes(self) -> tuple[Node, ...]:
        last = len(self.filters) - 1
        return tuple(
            Node(
                last - at,
                self.filters[at].on_upstream_data if use.reads_upstream else None,
                self.filters[at].on_upstream_eof if use.upstream_eof else None,
                use.observer,
                (use.passed, self.filters[at], Side.UPSTREAM) if use.passed is not None else None,
            )
            for at, use in reversed(list(enumerate(self.chain.filters)))
            if use.reads_upstream or use.upstream_eof
        )

    @property
    def client_peer(self) -> Peer:
        info = self.info
        return Peer(*info.source, *info.direct_destination, info.direct_source[0])

    @property
    def upstream_peer(self) -> Peer | None:
        """Asked of the socket once, while it is open."""
        if self._upstream_peer is None and self.upstream is not None and not self.upstream.closed:
            self._upstream_peer = peer_of(self.upstream.sock)
        return self._upstream_peer

    # Connecting

    def start(self) -> None:
        """Run the filters' ``on_connect``, then read the client."""
        self._connect_from(0)
        if self.reason is None:
            if self.phase == "on_connect":
                self.client.hold_reading(CONNECTING)  # an on_connect is still at work
            self.client.start()

    def _connect_from(self, position: int) -> None:
        for at in range(position, len(self.filters)):
            if self.reason is not None:
                return
            if self.chain.filters[at].connects:
                callback = self.filters[at].on_connect
                try:
                    waiting = callback()
                except Exception as error:
                    if self.filter_failed(callback, error):
                        continue
                    return
                if waiting is not None:
                    self.spawn(self._finish_connect(callback, waiting, at), at)
                    return
        if self.phase == "on_connect":
            self.phase = "relay"
        self.client.release_reading(CONNECTING)

    async def _finish_connect(self, callback: Callable[..., Any], waiting: Awaitable[None], position: int) -> None:
        try:
            await waiting
        except Exception as error:
            if not self.filter_failed(callback, error):
                return
        self._connect_from(position + 1)

    def attach_upstream(self, stream: Stream, preface: bytes = b"") -> None:
        if self.upstream is not None:
            raise RuntimeError("an upstream is attached already")
        if self.reason is not None:
            stream.close()
            return
        self.upstream = stream
        self.phase = "relay"
        if self.listener.access_loggers:
            _ = self.upstream_peer  # the socket may be gone when the log line is made
        stream.on_lost = self._upstream_lost
        self.down.connect_source(stream)
        stream.start()
        if preface:
            stream.write(preface)
        if not stream.closed:
            self.up.connect_sink(stream)

    # What the paths tell

    def filter_failed(self, callback: Callable[..., Any], error: Exception, *, lost: bool = False) -> bool:
        failed: Filter[Any] = callback.__self__  # type: ignore[attr-defined]
        position = failed.conn.position  # type: ignore[attr-defined]
        use = self.chain.filters[position]
        use.stats.errors_total += 1
        if self.reason is not None:
            return False
        bypass = use.bypass and not lost
        log.error(
            "filter %s failed on connection %d (%s)", use.name, self.id,
            "it is taken out of the chain" if bypass else "the connection is closed", exc_info=error,
        )  # fmt: skip
        if bypass:
            use.stats.bypassed_total += 1
            self.detach(position)
            return True
        self.close(
            CloseReason("filter", self.phase, "filter_error", use.name, message=repr(error)), flush=False, reset=True
        )
        return False

    def path_writable(self, path: Path, writable: bool) -> None:
        side = Side.CLIENT if path is self.down else Side.UPSTREAM
        for at, use in enumerate(self.chain.filters):
            if use.writable and self.reason is None and at not in self._detached:
                callback = self.filters[at].on_writable
                try:
                    callback(side, writable)
                except Exception as error:
                    self.filter_failed(callback, error)

    def path_ended(self, path: Path, sink: Stream) -> None:
        """One end has said its last: the other is told. Both have: a clean end, named after the side that was first."""
        if self._ending is None:
            self._ending = CloseReason("client" if path is self.up else "upstream", self.phase, "eof")
            sink.write_eof()
        else:
            self.close(self._ending)

    def overflow(self, message: str) -> None:
        self.close(CloseReason("proxy", self.phase, "overflow", message=message), reset=True)

    def _client_lost(self, error: OSError) -> None:
        self.close(_lost("client", self.phase, error), flush=False, reset=True)

    def _upstream_lost(self, error: OSError) -> None:
        self.close(_lost("upstream", self.phase, error), reset=True)

    # What the filters ask for

    def finish(self, reason: CloseReason, position: int) -> None:
        """Close when everything that the filter at ``position`` has sent to the client has left the path."""
        if self._ending is None:
            self._ending = reason
            self.down.end_behind(len(self.filters) - 1 - position)

    def detach(self, position: int) -> None:
        self._detached = (*self._detached, position)
        self.up.remove(position)
        self.down.remove(len(self.filters) - 1 - position)

    def spawn(self, coro: Coroutine[Any, Any, None], position: int) -> None:
        """``position``: whose it is, to be named when it fails."""
        if self.reason is not None:
            coro.close()
            return
        callback = self.filters[position].on_connect
        task = self.listener.loop.create_task(coro)
        self._tasks = self._tasks or set()
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._task_done(done, callback))

    def _task_done(self, task: asyncio.Task[None], callback: Callable[..., Any]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, Exception):
                raise error
            self.filter_failed(callback, error)

    def call_later(self, delay: float, callback: Callable[[], object], position: int) -> Timer:
        if self.reason is not None:
            return Timer(callback, {})  # never due
        on_connect = self.filters[position].on_connect

        def call() -> None:
            timers.discard(timer)
            try:
                callback()
            except Exception as error:
                self.filter_failed(on_connect, error)

        timers = self._timers = set() if self._timers is None else self._timers
        timer = self.listener.timers.call_later(delay, call)
        timers.add(timer)
        return timer

    @property
    def state(self) -> dict[str, Any]:
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def activity(self) -> int:
        """Grows with every byte read or written on either side: who compares it at intervals knows whether it is
        idle."""
        client, upstream = self.client, self.upstream
        return client.received + client.sent + (upstream.received + upstream.sent if upstream is not None else 0)

    def drain(self) -> None:
        """Tell the filters that the server wants this connection to end soon."""
        for at, use in enumerate(self.chain.filters):
            if use.drains and self.reason is None and at not in self._detached:
                callback = self.filters[at].on_drain
                try:
                    callback()
                except Exception as error:
                    self.filter_failed(callback, error)

    # Closing

    def close(self, reason: CloseReason, *, flush: bool = True, reset: bool = False) -> None:
        """End the connection. ``flush`` sends first what was written, ``reset`` then ends it with RST. The first call
        wins."""
        if self.reason is not None:
            return
        self.reason = reason
        self._resets = reset
        self.up.cut()
        self.down.cut()
        for timer in self._timers or ():
            timer.cancel()
        self.listener.poller.defer(self._begin_flush if flush else self._finish)

    def cut_off(self, detail: str) -> None:
        """End now, also where it is closing and flushes. What the upstream has not ended shall not look complete to the
        client: it ends with RST."""
        unfinished = self.upstream is not None and not self.upstream.eof_received
        self.close(CloseReason("proxy", self.phase, detail), flush=False, reset=unfinished)
        self.listener.poller.defer(self._finish)

    def _begin_flush(self) -> None:
        for stream in (self.client, self.upstream):
            if stream is not None and not stream.closed:
                stream.on_lost = stream.on_flushed = self._check_flush
                if not self._resets:
                    stream.write_last_eof()
        if not self.client.closed:
            self.client.on_eof = self._check_flush
            self.client.discard_input()
        if self.client.eof_received and self._flushed():
            self._finish()
        else:
            self._await_flush()
            self._check_flush()

    def _await_flush(self) -> None:
        """Wait as long as bytes leave."""
        sent = self._sent()

        def look() -> None:
            if self._sent() == sent:
                self._finish()
            else:
                self._await_flush()

        self._flush_timer = self.listener.timers.call_later(FLUSH_TIMEOUT, look)

    def _sent(self) -> int:
        return self.client.sent + (self.upstream.sent if self.upstream is not None else 0)

    def _flushed(self) -> bool:
        return not (self.client.buffered or (self.upstream is not None and self.upstream.buffered))

    def _check_flush(self, *_: object) -> None:
        if self._flush_timer is None or not self._flushed():
            return
        client = self.client
        if client.closed or client.eof_received or self._resets:
            self._finish()
        elif self.phase != "lingering":
            self.phase = "lingering"
            self._flush_timer.cancel()
            self._flush_timer = self.listener.timers.call_later(LINGER_TIMEOUT, self._finish)

    def _finish(self) -> None:
        """Release everything. Works once: after it no callback of this connection is left anywhere."""
        if self.phase == "closed":
            return
        self.phase = "closed"
        assert self.reason is not None
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        # Made while the sockets know their addresses; what on_close adds to the state is seen in it, too.
        record = of_connection(self) if self.listener.loggers_of(self) else None
        self.client.close(reset=self._resets)
        if self.upstream is not None:
            self.upstream.close(reset=self._resets)
        for task in self._tasks or ():
            task.cancel()
        for at, use in enumerate(self.chain.filters):
            if use.closes:
                try:
                    self.filters[at].on_close(self.reason)
                except Exception:
                    use.stats.errors_total += 1
                    log.exception("on_close of filter %s failed on connection %d", use.name, self.id)
        self.listener.connection_closed(self, record)
        del self.up, self.down  # the paths and this object refer to each other
        self.filters = ()


def peer_of(sock: socket.socket) -> Peer:
    """Both ends of a connected socket, asked of the system."""
    return Peer(*_address(sock.getpeername), *_address(sock.getsockname))


def _address(ask: Callable[[], Any]) -> tuple[str, int]:
    """Host and port of one of a socket's names; a unix socket has none, nor has one that is just being torn down."""
    try:
        name = ask()
    except OSError:
        return "", 0
    return (name[0], name[1]) if isinstance(name, tuple) else ("", 0)


def _lost(who: str, phase: str, error: OSError) -> CloseReason:
    detail = lost_detail(error)
    return CloseReason(who, phase, detail, errno=error.errno or 0, message="" if detail == "reset" else str(error))
