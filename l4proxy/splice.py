"""Large transfers that nobody reads are moved by the kernel: socket to pipe to socket, never into this process.

A `Splicer` takes over the reading of one stream when its reads come back full. It holds a pipe only while bytes are in
it: pipes come from a small pool and go back at once, so that a thousand spliced connections share a few. When the sink
takes no more, the rest waits in the pipe, counts as the sink's ``buffered``, and the source is not read. When reads
become small again the stream goes back to plain ``recv`` and ``send``, which cost less for small chunks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from errno import EINVAL
from typing import TYPE_CHECKING

from l4proxy.poller import URGENT

if TYPE_CHECKING:
    from l4proxy.stream import Stream

__all__ = ["AVAILABLE", "BoundedSplicer", "Splicer", "close_spare_pipes"]

AVAILABLE = hasattr(os, "splice")
PIPE_SIZE = 1024 * 1024
"""Bytes asked for per pipe; the system may give less to an unprivileged process with many pipes."""
SMALL = 16 * 1024
"""A read below this many bytes ends the spliced phase."""
COPY_SIZE = 64 * 1024
"""Bytes that are copied at a time where they cannot be spliced."""
SPARE_PIPES = 8
PIPED = 4
"""Why a source is not read: its bytes wait in a pipe."""

_spare: list[tuple[int, int]] = []
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if AVAILABLE else 0


def _take_pipe() -> tuple[int, int]:
    if _spare:
        return _spare.pop()
    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return pipe


def _close_pipe(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    os.close(pipe[1])


def close_spare_pipes() -> None:
    """Give the pipes back that nobody uses now: a server has ended. Another one makes new ones."""
    while _spare:
        _close_pipe(_spare.pop())


class Splicer:
    """Moves what ``source`` receives to ``sink``. ``read`` stands in for the source's own; ``push`` is called by the
    sink when it can be written again."""

    __slots__ = ("_pending", "_pipe", "_sink", "_source")

    def __init__(self, source: Stream, sink: Stream) -> None:
        self._source = source
        self._sink = sink
        self._pipe: tuple[int, int] | None = None
        self._pending = 0

    def read(self, mask: int) -> None:
        source, sink = self._source, self._sink
        if sink.buffered or sink.closed or sink.failure is not None or mask & URGENT:
            source.read(mask)
            return
        try:
            pipe = self._pipe = _take_pipe()
        except OSError:  # no descriptors left: copying needs none
            source.read_plainly()
            source.read(mask)
            return
        try:
            size = os.splice(source.fd, pipe[1], PIPE_SIZE, flags=_FLAGS)
        except BlockingIOError:
            self._give_back()
            return
        except OSError as error:
            self._give_back()
            if error.errno == EINVAL:  # this kind of socket cannot be spliced
                source.never_splice()
                source.read(mask)
            else:
                source.lose(error)
            return
        self._moved(size, mask)

    @property
    def stuck(self) -> bool:
        """The sink has not taken all of what came last."""
        return self._pending > 0

    def _moved(self, size: int, mask: int) -> None:
        source = self._source
        if size == 0:
            self._give_back()
            source.read(mask)  # the end, or urgent data in front of more
            return
        source.received += size
        self._pending = size
        if not self.push():
            source.hold_reading(PIPED)
            return
        if size < SMALL:
            source.read_plainly()
        source.rearm()

    def push(self) -> bool:
        """Move on what is in the pipe. False: the sink takes no more now, and will call again."""
        pipe, sink = self._pipe, self._sink
        assert pipe is not None
        waited = sink.piped is self
        while self._pending:
            try:
                sent = os.splice(pipe[0], sink.fd, self._pending, flags=_FLAGS)
            except BlockingIOError:
                break
            except OSError as error:
                self.drop()
                sink.write_failed(error)
                break
            self._pending -= sent
            sink.sent += sent
        if not sink.closed:
            sink.wait_for_pipe(self if self._pending else None, self._pending)
        if self._pending:
            return False
        self._give_back()
        if waited:
            self._source.release_reading(PIPED)
        return True

    def _give_back(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            return
        if len(_spare) < SPARE_PIPES:
            _spare.append(pipe)
        else:
            _close_pipe(pipe)

    def drop(self) -> None:
        """The sink is gone: what is in the pipe is lost, and so is the pipe."""
        if self._pipe is not None:
            _close_pipe(self._pipe)
            self._pipe = None
            self._pending = 0


class BoundedSplicer(Splicer):
    """Moves so many bytes and no more; what follows them the source reads as before. For a protocol that has read how
    long a message is. Where the kernel cannot move them just now they are copied: nobody else sees any of them."""

    __slots__ = ("_copies", "left")

    def __init__(self, source: Stream, sink: Stream, size: int) -> None:
        super().__init__(source, sink)
        self.left = size
        """Bytes still to be moved."""
        self._copies = False

    def read(self, mask: int) -> None:
        source, sink = self._source, self._sink
        if self._copies or sink.buffered or sink.closed or sink.failure is not None or mask & URGENT:
            self._copy()
            return
        try:
            pipe = self._pipe = _take_pipe()
        except OSError:  # no descriptors left: copying needs none
            self._copy()
            return
        try:
            size = os.splice(source.fd, pipe[1], min(self.left, PIPE_SIZE), flags=_FLAGS)
        except BlockingIOError:
            self._give_back()
            return
        except OSError as error:
            self._give_back()
            if error.errno == EINVAL:  # this kind of socket cannot be spliced
                self._copies = True
                self._copy()
            else:
                source.lose(error)
            return
        if size == 0:
            self._give_back()
            self._copy()  # the end, or urgent data in front of more
            return
        source.received += size
        self.left -= size
        self._pending = size
        if not self.push():
            source.hold_reading(PIPED)
        self._go_on()

    def drop(self) -> None:
        """The source goes on without the sink: others may wait for what follows."""
        super().drop()
        self._source.release_reading(PIPED)

    def _copy(self) -> None:
        source = self._source
        try:
            data = source.sock.recv(min(self.left, COPY_SIZE))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            source.lose(error)
            return
        if not data:
            source.end()
            return
        source.received += len(data)
        self.left -= len(data)
        self._sink.write(data)
        self._go_on()

    def _go_on(self) -> None:
        if not self.left:
            self._source.moving = None
            self._source.read_plainly()
        if not self._source.closed:
            self._source.rearm()
