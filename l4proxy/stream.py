"""A stream: one nonblocking socket, its reader and its write buffer.

The byte path of the proxy is two streams that call each other: what one reads it hands to ``on_data``, and that is, in
a chain without filters, the other one's ``write``. A chunk that can be sent at once passes through two Python calls and
two system calls and is never copied.

Rules that keep it bounded and right:

- Reading goes on while nobody holds it: ``hold_reading(reason)`` and ``release_reading(reason)`` are a bit each, so
  that a filter's pause and a full write buffer do not undo one another.
- ``write`` never refuses. Above the high watermark it says ``on_writable(False)``, at half of it ``on_writable(True)``;
  who writes is expected to hold what it reads from in between.
- End of stream and errors come once, behind the data: ``on_eof()``, then nothing more is read; ``on_lost(error)`` when
  the socket is broken, after which the stream is closed. A stream that its owner closes says nothing.
- A peer that takes no more may have said why before it went (a server that refuses an upload answers and closes). So
  when writing fails, what has come is read, and only then is the stream lost. What is written meanwhile is dropped.
- Bytes are counted here, in plain integers; everything that needs them (statistics, idle timeouts, access logs) reads
  those.

The poller watches a stream edge-triggered and for everything, once, for its whole life: it costs the kernel less than
asking again after every read, and holding, releasing and waiting to write need no system call. The price is a rule: an
edge is told once, so whoever leaves bytes unread must ask for it again (``rearm``). A read that comes back shorter than
asked has emptied the socket, and if the peer had ended its side before that read, there is nothing behind but the end.
There are two exceptions, in front of which a read stops and behind which the next one goes on: a reset, which must not
be taken for an end, and urgent data (the byte itself is not relayed).
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from errno import EAGAIN, ECONNABORTED, ECONNRESET
from fcntl import ioctl
from termios import FIONREAD
from typing import TYPE_CHECKING, Any, NoReturn

from l4proxy import splice
from l4proxy.passed import EPOCH, PassedChunks
from l4proxy.poller import EDGE, ERROR, PEER_ENDED, READ, URGENT, WRITE, Poller

if TYPE_CHECKING:
    from l4proxy.filter import Filter, Side

__all__ = ["Stream"]

log = logging.getLogger("l4proxy.stream")

_cpu_time = time.thread_time
_clock = time.perf_counter

READ_SIZE = 16 * 1024
"""First size of a read. Small, because most connections are idle or carry small messages."""
READ_SIZE_MAX = 256 * 1024
"""A stream whose reads come back full reads in pieces of up to this size."""
READ_SIZE_MIN = 1024
"""One whose pieces are much work reads smaller ones, down to this size."""
LONG_WORK = 0.005
"""Seconds of CPU time that one piece may take, as all others wait for them."""
IOV_LIMIT = 512
"""Pieces that one system call takes; the kernel's own limit is 1024."""
JOIN_LIMIT = 64 * 1024
"""Queued chunks are joined up to this size into one system call."""
SOON_LIMIT = 8 * 1024
"""What is larger is worth a system call of its own, at once: ``write_soon`` is for messages."""

EVERYTHING = READ | WRITE | PEER_ENDED | URGENT | EDGE
SOMETHING_TO_READ = READ | PEER_ENDED | ERROR
SOMETHING_BEHIND = PEER_ENDED | URGENT | ERROR

_RESET = struct.pack("ii", 1, 0)
_NO_BYTES = bytes(4)


def _ignore(*_args: object) -> None:
    """Stands in for every callback of a closed stream, so that nothing late is delivered and nothing is kept alive."""


class Stream:
    """One end of a connection. Made with a connected, nonblocking socket; reading begins with ``start()``.

    Functions that are kept in attributes are taken from there first and then called: ``self._send(data)`` would have
    the interpreter look for a method of that name at every call.
    """

    __slots__ = (
        "_holds",
        "_poller",
        "_queue",
        "_read",
        "_read_size",
        "_recv",
        "_send",
        "_soon",
        "_splice_sink",
        "_started",
        "blocked",
        "buffered",
        "closed",
        "eof_received",
        "eof_sent",
        "failure",
        "fd",
        "high",
        "moving",
        "noting",
        "on_closed",
        "on_data",
        "on_eof",
        "on_flushed",
        "on_lost",
        "on_writable",
        "peer_ended",
        "piped",
        "received",
        "sent",
        "sock",
    )

    spliceable = splice.AVAILABLE
    """Whether the kernel may move this kind of stream's bytes (not where they are encrypted here)."""

    on_closed: Callable[[Stream], object]
    """Called once, by whichever way the stream was closed, with the counters at their last values. For whoever lent
    it."""
    on_data: Callable[[bytes], object]
    on_eof: Callable[[], object]
    on_flushed: Callable[[], object]
    on_lost: Callable[[OSError], object]
    on_writable: Callable[[bool], object]

    def __init__(self, sock: socket.socket, poller: Poller, high: int = 64 * 1024) -> None:
        self.sock = sock
        self.high = high
        self.on_closed = self.on_data = self.on_eof = self.on_flushed = self.on_lost = self.on_writable = _ignore
        self.noting: tuple[PassedChunks, Filter[Any], Side] | None = None
        """Where it is noted what was handed on, whom it has passed, and which side this is."""
        self.received = 0
        self.sent = 0
        self.buffered = 0
        """Bytes written here that the kernel has not taken yet."""
        self.blocked = False
        """Whether ``buffered`` went above the high watermark and has not come down to half of it since."""
        self.closed = False
        self.eof_received = False
        self.peer_ended = False
        """Whether the peer was seen to end its side while this was held: ``on_eof`` comes behind what is unread."""
        self.eof_sent = False
        """Whether ``write_eof`` was called; the FIN leaves behind the buffered bytes."""
        self.failure: OSError | None = None
        """Why nothing can be sent any more."""
        self._poller = poller
        self.fd = sock.fileno()
        self._recv = sock.recv
        self._send: Callable[[bytes | memoryview], int] = sock.send
        self._read: Callable[[int], None] = self.read
        self._splice_sink: Stream | None = None
        self.moving: splice.BoundedSplicer | None = None
        """What moves the next bytes, until so many have been moved."""
        self.piped: splice.Splicer | None = None
        self._read_size = READ_SIZE
        self._holds = 0
        self._started = False
        self._queue: deque[bytes | memoryview] | None = None
        self._soon: bytes | None = None
        """All that is buffered, where that is one message which leaves at the end of the turn."""

    # Reading

    def start(self) -> None:
        """Begin to read (unless held) and to report errors."""
        self._started = True
        self._poller.register(self.fd, EVERYTHING, self._on_event)

    def hold_reading(self, reason: int) -> None:
        """Stop reading until the same ``reason`` (a bit) is released."""
        self._holds |= reason

    def release_reading(self, reason: int) -> None:
        if self._holds & reason:
            self._holds &= ~reason
            if not self._holds:
                self.rearm()

    @property
    def holds(self) -> int:
        """The reasons (bits) for which it is not read, for who explains a connection."""
        return self._holds

    @property
    def reading(self) -> bool:
        return not (self._holds or self.closed or self.eof_received)

    def rearm(self) -> None:
        """Be told again of what is there to be read."""
        if self._started and not self.closed and not self.eof_received:
            self._poller.change(self.fd, EVERYTHING)

    def _on_event(self, mask: int) -> None:
        try:
            if mask & WRITE and self.buffered:
                self._flush()
            if self._holds:
                if mask & PEER_ENDED:
                    self.peer_ended = True
                if mask & ERROR and not self.closed:
                    self._lose_if_broken()
            elif mask & SOMETHING_TO_READ and not self.eof_received:
                read = self._read
                read(mask)
            elif mask & ERROR:
                self.lose(ConnectionResetError(ECONNRESET, "both directions are shut"))
        except Exception:
            self._callback_failed()

    def _callback_failed(self) -> None:
        """A mistake in this program, or in a plugin, must not leave anybody waiting for what never comes."""
        log.exception("a callback of a stream failed, which is closed for it")
        if not self.closed:
            self.lose(ConnectionAbortedError(ECONNABORTED, "an internal error, which is in the log"))

    def _lose_if_broken(self) -> None:
        """A held stream reports a reset at once; an orderly end stays behind the bytes that are still to be read."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lose(OSError(code, os.strerror(code)))

    def read(self, mask: int) -> None:
        """Read once and hand on what came. Called by the poller with the event mask."""
        receive, on_data, noting = self._recv, self.on_data, self.noting
        try:
            data = receive(self._read_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(error)
            return
        size = len(data)
        if not size:
            self.end()
            return
        self.received += size
        if size == self._read_size:
            self._read_more(data)
        else:
            on_data(data)
            if noting is not None:
                passed, who, side = noting
                if not passed:
                    self._poller.defer(passed.show)
                passed.append((who, side, data, _clock() + EPOCH))
            if mask & SOMETHING_BEHIND and not self.closed:
                if mask & (URGENT | ERROR):
                    self.rearm()
                else:
                    self.end()

    def _read_more(self, data: bytes) -> None:
        """A read came back full: larger pieces from now on, or none at all where the kernel can move them."""
        self.rearm()
        if self._read_size == READ_SIZE_MAX and self._splice_sink is not None:
            self._read = splice.Splicer(self, self._splice_sink).read
        self._hand_on(data)

    def _pass_on(self, data: bytes) -> None:
        """Hand on what was read, and note whom it has passed, as `read` does."""
        noting = self.noting
        self.on_data(data)
        if noting is not None:
            passed, who, side = noting
            passed.note(who, side, data)

    def _hand_on(self, data: bytes) -> None:
        """A large piece, behind which there may be more. How much work it is decides how large the next one is: many
        small messages keep the loop busy for long, and large ones do not."""
        size, noting = self._read_size, self.noting
        began = _cpu_time()
        self._pass_on(data)
        if noting is not None:
            noting[0].show()  # at once: it is work, too
        took = _cpu_time() - began
        if self._read_size != size:  # it began anew
            return
        if took > LONG_WORK:
            self._read_size = max(READ_SIZE_MIN, size // 4)
        elif took < LONG_WORK / 4 and size < READ_SIZE_MAX:
            self._read_size = size * 4

    def has_input(self) -> bool:
        """Bytes wait in the kernel. Asking costs a system call."""
        try:
            return ioctl(self.fd, FIONREAD, _NO_BYTES) != _NO_BYTES
        except OSError:  # not a socket of the system's
            return False

    def splice_to(self, sink: Stream | None) -> None:
        """Nobody reads these bytes but ``sink``: let the kernel move them when they are many. None: somebody does."""
        self._splice_sink = sink if sink is not None and self.spliceable and sink.spliceable else None
        if sink is None and self._read_size > READ_SIZE and self.moving is None:
            self.read_plainly()

    def splice_next(self, sink: Stream, size: int) -> splice.BoundedSplicer | None:
        """Let the kernel move the next ``size`` bytes to ``sink``; what follows goes to ``on_data`` again. Holding the
        stream holds them, too. None: these streams cannot do it."""
        if not (self.spliceable and sink.spliceable) or self.closed or sink.closed:
            return None
        self.moving = splice.BoundedSplicer(self, sink, size)
        self._read = self.moving.read
        self.rearm()
        return self.moving

    def read_plainly(self) -> None:
        """Back to reads into memory, until they come back full again."""
        if not self.closed:
            self._read = self.read
            self._read_size = READ_SIZE

    def never_splice(self) -> None:
        self._splice_sink = None
        self.read_plainly()

    def end(self) -> None:
        """End of stream was read."""
        if self.failure is not None:
            self.lose(self.failure)
            return
        self.eof_received = True
        self.on_eof()

    def discard_input(self) -> None:
        """Read on, or begin to, and drop what comes, whoever held it: closing with bytes unread would send RST."""
        self.on_data = self._discard
        self.noting = None
        self._holds = 0
        if self._started:
            self.rearm()
        elif not self.closed:
            self.start()

    def _discard(self, data: bytes) -> None:
        self.received -= len(data)  # nobody has received it

    # Writing

    def write(self, data: bytes) -> None:
        """Send, or keep in order for when the socket takes it. Harmless on a closed stream."""
        if self.buffered:
            self._enqueue(data)
            return
        send = self._send
        try:
            sent = send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.write_failed(error)
            return
        self.sent += sent
        if sent != len(data):
            self._enqueue(memoryview(data)[sent:])

    def write_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send several pieces, in one system call and without joining them first: for pieces that are large. Where
        bytes are encrypted here they have to be joined all the same."""
        if self.buffered or not self.spliceable or len(parts) > IOV_LIMIT:
            self.write(b"".join(parts))
            return
        try:
            sent = self.sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.write_failed(error)
            return
        self.sent += sent
        for part in parts:
            size = len(part)
            if sent >= size:
                sent -= size
            else:
                self._enqueue(memoryview(part)[sent:] if sent else part)
                sent = 0

    def _enqueue(self, data: bytes | memoryview) -> None:
        if self.closed:
            return
        if type(data) is not bytes:
            data = memoryview(data)  # TypeError now, where whoever wrote it is known, and not when the queue is sent
        if self._queue is None:
            self._queue = deque()
            if self._soon is not None:
                self._queue.append(self._soon)
                self._soon = None
        self._queue.append(data)
        self.buffered += len(data)
        if self.buffered > self.high and not self.blocked:
            self.blocked = True
            self.on_writable(False)

    def write_soon(self, data: bytes) -> None:
        """Like ``write``, but what is small leaves when the loop has called who has something to read: joined with all
        else that is written to this stream until then, and together with what others write to theirs.

        The second is worth more than it seems. A peer on the same machine that sleeps has to be woken, which costs the
        sender more than all else in ``send``; one that finds the next message when it has dealt with the last one does
        not go back to sleep.
        """
        size = len(data)
        if self.buffered or not 0 < size <= SOON_LIMIT or type(data) is not bytes:
            self.write(data)
        elif not self.closed:
            self._soon = data
            self.buffered = size
            self._poller.defer(self._flush_soon)

    def _flush_soon(self) -> None:
        data = self._soon
        if data is None:  # more has been written behind it, or it has left
            if self.buffered:
                self._flush()
            return
        self._soon = None
        self.buffered = 0
        self.write(data)
        if not self.buffered and not self.closed:
            if self.eof_sent:
                self._shutdown()
            if self.on_flushed is not _ignore:
                self.on_flushed()

    def wait_for_pipe(self, splicer: splice.Splicer | None, pending: int) -> None:
        """Bytes of a spliced transfer wait in a pipe for this socket (``splicer`` is called when it is writable), or no
        longer do."""
        if splicer is self.piped is None:
            return
        self.piped = splicer
        self.buffered = pending + sum(map(len, self._queue or ()))

    def _flush(self) -> None:
        if self._soon is not None:
            self._flush_soon()
            return
        if self.piped is not None and not self.piped.push():
            return
        queue = self._queue
        while queue:
            chunk = queue[0] if len(queue) == 1 or len(queue[0]) >= JOIN_LIMIT else self._join(queue)
            try:
                sent = self._send(chunk)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self.write_failed(error)
                return
            self.sent += sent
            self.buffered -= sent
            if sent != len(chunk):
                queue[0] = memoryview(chunk)[sent:]
                break
            queue.popleft()
        if not self.buffered:
            self._queue = None
            if self.eof_sent:
                self._shutdown()
            self.on_flushed()
        if self.blocked and self.buffered <= self.high // 2:
            self.blocked = False
            self.on_writable(True)

    def write_failed(self, error: OSError) -> None:
        """Nothing can be sent any more: read what the peer had sent before, then lose the stream. One that is held is
        lost at once, for there is no telling how long that takes."""
        if self.closed or self.failure is not None:
            return
        if not self._started or not self.reading or not self.has_input():
            self.lose(error)
            return
        self.failure = error
        self._drop_output()
        self._send = self._swallow
        if self.blocked:
            self.blocked = False
            self.on_writable(True)
        self.rearm()

    def _swallow(self, data: bytes | memoryview) -> int:
        self.sent -= len(data)  # which the caller adds
        return len(data)

    def _drop_output(self) -> None:
        if self.piped is not None:
            self.piped.drop()
            self.piped = None
        self._queue = self._soon = None
        self.buffered = 0

    @staticmethod
    def _join(queue: deque[bytes | memoryview]) -> bytes:
        parts = []
        size = 0
        while queue and size < JOIN_LIMIT:
            parts.append(queue.popleft())
            size += len(parts[-1])
        joined = b"".join(parts)
        queue.appendleft(joined)
        return joined

    def write_eof(self) -> None:
        """Send FIN behind everything written. Nothing may be written after it."""
        if not self.eof_sent and not self.closed and self.failure is None:
            self.eof_sent = True
            if not self.buffered:
                self._shutdown()

    def write_last_eof(self) -> None:
        """Send FIN before a close that follows when everything is written. Where the peer has ended its side and
        nothing waits to be written, that close is the FIN."""
        if self.buffered or not self.eof_received:
            self.write_eof()

    def _shutdown(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.write_failed(error)

    # The end

    def lose(self, error: OSError) -> None:
        """The socket is broken: close, and say so once."""
        on_lost = self.on_lost
        error = self.failure or error
        self.close()
        on_lost(error)

    def close(self, *, reset: bool = False) -> None:
        """Close now; buffered bytes are dropped. With ``reset``, or where bytes are dropped, RST is sent, so that the
        peer cannot mistake it for a clean end."""
        if self.closed:
            return
        self.closed = True
        if self._started:
            self._poller.forget(self.fd)
        if (reset or self.buffered) and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()
        self._drop_output()
        self._splice_sink = None
        self._recv = self._send = _closed
        self._read = _ignore
        self.on_data = self.on_eof = self.on_flushed = self.on_lost = self.on_writable = _ignore
        on_closed, self.on_closed = self.on_closed, _ignore
        on_closed(self)


def _closed(*_args: object) -> NoReturn:
    raise BlockingIOError(EAGAIN, "closed")
