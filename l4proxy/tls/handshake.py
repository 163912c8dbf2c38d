"""A TLS handshake: a small state machine between the poller and OpenSSL, limited by a timer. No task stands behind it.

It owns the socket until it is ready, and closes it when it fails or is cancelled. Exactly one of its two callbacks is
called, unless it is cancelled, and never from inside the call that began it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.filter import TlsInfo
from l4proxy.poller import EDGE, ERROR, PEER_ENDED, READ, WRITE
from l4proxy.tls.failures import HandshakeFailed
from l4proxy.tls.stream import SCRATCH, TlsStream

if TYPE_CHECKING:
    from l4proxy.poller import Poller
    from l4proxy.timers import Timer, Timers
    from l4proxy.tls.stats import TlsStats

__all__ = ["Handshake", "OnFailed", "OnReady", "Side"]

READ_SIZE = 16 * 1024
EVERYTHING = READ | WRITE | PEER_ENDED | EDGE

OnReady = Callable[[TlsStream, TlsInfo, float], object]
"""Called with the stream, what was agreed on, and the seconds that the handshake took."""
OnFailed = Callable[[str, str], object]
"""Called with a snake-case name and a sentence for people."""


class Side:
    """What a handshake asks of the context that it belongs to."""

    timeout: float
    stats: TlsStats

    def approve(self, tls: ssl.SSLObject) -> TlsInfo:
        """OpenSSL is content with the peer. Raises HandshakeFailed if we are not."""
        raise NotImplementedError

    def explain(self, tls: ssl.SSLObject, error: ssl.SSLError) -> tuple[str, str]:
        """OpenSSL is not: a snake-case name and a sentence for people."""
        raise NotImplementedError

    def ended(self, tls: ssl.SSLObject) -> None:
        """The stream that came of the handshake has closed."""


class Handshake:
    """One handshake under way. Made and started by a context's ``accept`` or ``connect``."""

    __slots__ = ("_begin", "_high", "_on_failed", "_on_ready", "_opens", "_poller", "_side", "_sock", "_started",
                 "_timer", "_tls", "_unsent", "pending")  # fmt: skip

    def __init__(
        self,
        side: Side,
        begin: Callable[[], ssl.SSLObject],
        sock: socket.socket,
        poller: Poller,
        timers: Timers,
        on_ready: OnReady,
        on_failed: OnFailed,
        high: int,
        *,
        opens: bool = False,
    ) -> None:
        self.pending = True
        """Neither callback was called, nor ``cancel``."""
        self._side = side
        self._sock = sock
        self._begin = begin
        self._tls: ssl.SSLObject | None = None
        """Made when there is something to do: a client that connects and says nothing costs no more than its socket."""
        self._poller = poller
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._high = high
        self._opens = opens
        self._unsent: bytes | memoryview = b""
        self._started = time.monotonic()
        self._timer: Timer = timers.call_later(side.timeout, self._timed_out)
        poller.register(sock.fileno(), EVERYTHING, self._on_event)

    def cancel(self) -> None:
        """Stop and close the socket. Harmless when it is over."""
        if self.pending:
            self._detach()
            self._sock.close()

    def _detach(self) -> None:
        self.pending = False
        self._timer.cancel()
        self._poller.unregister(self._sock.fileno())

    def _on_event(self, mask: int) -> None:
        try:
            if self._opens:
                self._opens = False
                self._advance(b"")
            elif self._unsent:
                self._push()
            if mask & (READ | PEER_ENDED | ERROR) and self.pending:
                self._receive()
        except OSError as error:
            self._fail("reset" if isinstance(error, ConnectionError) else "lost", error.strerror or str(error))

    def _receive(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._fail("eof", "the peer hung up during the handshake")
            return
        if len(data) == READ_SIZE:
            self._poller.change(self._sock.fileno(), EVERYTHING)
        self._advance(data)

    def _advance(self, data: bytes) -> None:
        """Give OpenSSL what came, and send what it answers: in case of an error an alert."""
        incoming, outgoing = SCRATCH.incoming, SCRATCH.outgoing
        failure: tuple[str, str] | None = None
        info: TlsInfo | None = None
        try:
            tls = self._tls = self._tls or self._begin()
            incoming.write(data)
            tls.do_handshake()
            info = self._side.approve(tls)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            failure = self._side.explain(tls, error)
        except HandshakeFailed as error:
            failure = error.why, str(error)
        early = incoming.read()
        self._unsent = bytes(self._unsent) + outgoing.read()
        if failure is not None:
            with contextlib.suppress(OSError):
                self._push()
            self._fail(*failure)
            return
        self._push()
        if info is not None:
            self._finish(tls, info, early)

    def _push(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                self._unsent = memoryview(self._unsent)[self._sock.send(self._unsent) :]

    def _finish(self, tls: ssl.SSLObject, info: TlsInfo, early: bytes) -> None:
        self._detach()
        seconds = time.monotonic() - self._started
        stats = self._side.stats
        stats.handshakes_total += 1
        stats.handshakes_resumed_total += bool(tls.session_reused)
        stats.handshake_seconds.record(seconds)
        stats.versions_total.add(info.version)
        stats.ciphers_total.add(info.cipher)
        stream = TlsStream(
            self._sock,
            tls,
            self._poller,
            self._high,
            stats,
            early=early,
            unsent=self._unsent,
            on_end=self._side.ended,
        )
        self._on_ready(stream, info, seconds)

    def _timed_out(self) -> None:
        self._fail("tls_handshake_timeout", f"the handshake was not done within {self._side.timeout:g} s")

    def _fail(self, why: str, message: str) -> None:
        if self.pending:
            self._detach()
            self._sock.close()
            self._side.stats.handshake_failed_total.add(why)
            self._on_failed(why, message)
