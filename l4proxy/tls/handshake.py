"""A TLS handshake: a small state machine between the poller and OpenSSL, limited by a timer. No task stands behind it.

It owns the socket until it is ready, and closes it when it fails or is cancelled. Exactly one of its two callbacks is
called, unless it is cancelled, and never from inside the call that began it.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from errno import ENOTCONN, EPIPE
from typing import TYPE_CHECKING

from l4proxy.filter import TlsInfo
from l4proxy.poller import ERROR, WRITE
from l4proxy.stream import EVERYTHING, SOMETHING_TO_READ
from l4proxy.tls.failures import HandshakeFailed, is_end, what_broke
from l4proxy.tls.stream import TlsStream

if TYPE_CHECKING:
    from l4proxy.poller import Poller
    from l4proxy.timers import Timer, Timers
    from l4proxy.tls.stats import TlsStats

__all__ = ["Handshake", "OnFailed", "OnReady", "Side"]

WRITE_OR_ERROR = WRITE | ERROR

OnReady = Callable[[TlsStream, TlsInfo, float], object]
"""Called with the stream, what was agreed on, and the seconds that the handshake took."""
OnFailed = Callable[[str, str], object]
"""Called with a snake-case name and a sentence for people."""


class Side:
    """What a handshake asks of the context that it belongs to."""

    timeout: float
    stats: TlsStats
    opens: bool
    """This side sends the first message."""
    under_way = 0
    """Handshakes that are not over."""

    def wrap(self, sock: socket.socket, hostname: str) -> ssl.SSLSocket:
        """Called once, when there is something to do: a client that connects and says nothing costs no more than its
        socket. Raises HandshakeFailed."""
        raise NotImplementedError

    def approve(self, sock: ssl.SSLSocket) -> TlsInfo:
        """OpenSSL is content with the peer. Raises HandshakeFailed if we are not."""
        raise NotImplementedError

    def explain(self, sock: ssl.SSLSocket, error: ssl.SSLError) -> tuple[str, str]:
        """OpenSSL is not: a snake-case name and a sentence for people."""
        raise NotImplementedError

    def ended(self, sock: ssl.SSLSocket) -> None:
        """The stream that came of the handshake is about to end."""


class Handshake:
    """One handshake under way. Made by a context's ``accept`` or ``connect``."""

    __slots__ = ("_fd", "_high", "_hostname", "_on_failed", "_on_ready", "_poller", "_side", "_sock", "_started",
                 "_timer", "_tls", "_wanted", "pending")  # fmt: skip

    def __init__(
        self,
        side: Side,
        sock: socket.socket,
        hostname: str,
        poller: Poller,
        timers: Timers,
        on_ready: OnReady,
        on_failed: OnFailed,
        high: int,
    ) -> None:
        self.pending = True
        """Neither callback was called, nor ``cancel``."""
        self._side = side
        self._sock = sock
        self._hostname = hostname
        self._tls: ssl.SSLSocket | None = None
        self._fd = sock.fileno()
        self._poller = poller
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._high = high
        self._wanted = WRITE_OR_ERROR if side.opens else SOMETHING_TO_READ
        """The events at which OpenSSL goes on."""
        self._started = time.monotonic()
        side.under_way += 1
        self._timer: Timer = timers.call_later(side.timeout, self._timed_out)
        poller.register(self._fd, EVERYTHING, self._on_event)

    def cancel(self) -> None:
        """Stop and close the socket. Harmless when it is over."""
        if self.pending:
            self._over()
            self._poller.forget(self._fd)
            (self._tls or self._sock).close()

    def _over(self) -> None:
        self.pending = False
        self._side.under_way -= 1
        self._timer.cancel()

    def _on_event(self, mask: int) -> None:
        if not mask & self._wanted:
            return
        side, tls = self._side, self._tls
        try:
            if tls is None:
                self._sock.getpeername()  # fails where the peer has gone, which would take wrap by surprise
                tls = self._tls = side.wrap(self._sock, self._hostname)
            tls.do_handshake()
            info = side.approve(tls)
        except ssl.SSLWantReadError:
            self._wanted = SOMETHING_TO_READ
        except ssl.SSLWantWriteError:
            self._wanted = WRITE_OR_ERROR
        except HandshakeFailed as error:
            self._fail(error.why, str(error))
        except OSError as error:
            self._fail(*self._explain(error))
        else:
            self._finish(tls, info)

    def _explain(self, error: OSError) -> tuple[str, str]:
        if isinstance(error, ssl.SSLError) and self._tls is not None:
            if not is_end(error):
                return self._side.explain(self._tls, error)
            broken = what_broke(self._tls)
            if broken is None or broken.errno == EPIPE:  # the end came first, then a reset for the alert OpenSSL sent
                return "eof", "the peer hung up during the handshake"
            error = broken
        reset = isinstance(error, ConnectionError) or error.errno == ENOTCONN
        return "reset" if reset else "lost", error.strerror or str(error)

    def _finish(self, tls: ssl.SSLSocket, info: TlsInfo) -> None:
        self._over()
        self._poller.unregister(self._fd)
        seconds = time.monotonic() - self._started
        stats = self._side.stats
        stats.handshakes_total += 1
        stats.handshakes_resumed_total += bool(tls.session_reused)
        stats.handshake_seconds.record(seconds)
        stats.versions_total.add(info.version)
        stats.ciphers_total.add(info.cipher)
        self._on_ready(TlsStream(tls, self._poller, self._high, stats, self._side.ended), info, seconds)

    def _timed_out(self) -> None:
        self._fail("tls_handshake_timeout", f"the handshake was not done within {self._side.timeout:g} s")

    def _fail(self, why: str, message: str) -> None:
        if self.pending:
            self.cancel()
            self._side.stats.handshake_failed_total.add(why)
            self._on_failed(why, message)
