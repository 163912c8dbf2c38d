"""Lines on their way out: a bounded queue that the event loop fills and one thread empties.

A disk that is slow or a pipe that nobody reads holds up this thread and nothing else. When the queue is full, lines are
dropped and counted: the log must never decide how fast bytes are moved.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from l4proxy.logging_setup import once_per

__all__ = ["LineWriter", "Outlet", "piece_size", "wait_for_last_lines", "write_lines"]

log = logging.getLogger("l4proxy.access_log")

CLOSE_PATIENCE = 0.25
"""Seconds that a call of the outlet may take while somebody waits for it. A healthy one takes a few milliseconds."""

PIECE = 1 << 20
"""Bytes of one write to a file. All workers append to it, and what one write appends stays together."""

_closing: set[LineWriter] = set()
"""Those whose threads write their last lines."""


async def wait_for_last_lines() -> None:
    """Wait for all writers that are closed, as `LineWriter.wait` does: a process that ends loses what they have not
    written."""
    for writer in list(_closing):
        await asyncio.to_thread(writer.wait)


class Outlet(Protocol):
    """Where lines go. Everything is called in the writer's thread, may block and may raise OSError."""

    def write(self, lines: list[bytes]) -> None:
        """Write all lines. When it raises, they count as lost."""

    def reopen(self) -> None:
        """Open the file, or connect, again."""

    def close(self) -> None:
        """Called once, after everything is written."""


class LineWriter:
    """The queue and the thread of an outlet.

    ``capacity`` bounds the bytes that wait. ``interval`` is how many seconds lines are gathered before they are written
    together, unless the queue is half full before. ``on_dropped(reason, lines)`` is called for every loss: ``full`` in
    the thread that puts, ``error`` in the writer's. The log tells of losses now and then, unless ``tell`` says no: it
    may go where the lines go.
    """

    def __init__(
        self,
        name: str,
        outlet: Outlet,
        *,
        capacity: int,
        interval: float,
        on_dropped: Callable[[str, int], None],
        tell: bool = True,
    ) -> None:
        self.name = name
        self._outlet = outlet
        self._capacity = capacity
        self._half = capacity // 2
        self._interval = interval
        self._on_dropped = on_dropped
        self._tell = tell
        self._lines: deque[bytes] = deque()
        """Filled on one side and emptied on the other: neither needs a lock."""
        self._queued = 0
        """Bytes that were ever queued, counted in the loop's thread."""
        self._gone = 0
        """Bytes of these that were written or lost, counted in the writer's."""
        self._awake = threading.Event()
        self._woken = False
        """``_awake`` is set, or its thread has not looked at the queue since."""
        self._advanced = threading.Event()
        """Something is written, or lost."""
        self._reopening = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        self._calls = 0
        self._call = 0
        """The number of the outlet's call that is under way; 0: none."""
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """Queue a line, or drop it when the queue is full. Never blocks."""
        queued = self._queued + len(line)
        waiting = queued - self._gone
        if waiting > self._capacity:
            self._drop()
            return
        self._lines.append(line)
        self._queued = queued
        if not self._woken:
            self._wake()
        if waiting > self._half:
            self._hurry.set()

    def _drop(self) -> None:
        self._on_dropped("full", 1)
        if self._tell and (times := once_per(60, f"{self.name} full")):
            log.warning("%s does not keep up, lines are dropped (%d times)", self.name, times)

    @property
    def waiting(self) -> int:
        """Bytes that are not written yet."""
        return self._queued - self._gone

    def flush(self) -> None:
        """Wait, in whichever thread, until all is written that was put, however late a busy machine comes to it; but
        not for an outlet that is stuck."""
        goal = self._queued
        self._hurry.set()
        while self._gone < goal:
            call = self._call
            self._advanced.clear()
            moved = self._gone >= goal or self._advanced.wait(CLOSE_PATIENCE)
            if not moved and call and call == self._call:
                return

    def reopen(self) -> None:
        """Reopen the outlet before the lines that wait are written."""
        self._reopening.set()
        self._wake()

    def close(self) -> None:
        """Write what waits, then close the outlet; its thread does so, and nobody waits for that (``wait`` does)."""
        self._closing = True
        _closing.add(self)
        self._hurry.set()
        self._wake()

    def wait(self) -> None:
        """Wait for what ``close`` has begun, as ``flush`` does."""
        thread = self._thread
        while thread is not None and thread.is_alive():
            call = self._call
            thread.join(CLOSE_PATIENCE)
            if call and call == self._call:
                return

    def _wake(self) -> None:
        if self._thread is None:  # only now, so that a proxy that never logs has no thread, and none is lost by a fork
            self._thread = threading.Thread(target=self._run, name=f"l4proxy {self.name}", daemon=True)
            self._thread.start()
        self._woken = True
        self._awake.set()

    def _run(self) -> None:
        closing = False
        while not closing:
            self._awake.wait()
            self._hurry.wait(self._interval)
            self._hurry.clear()
            self._awake.clear()
            self._woken = False
            closing = self._closing
            if self._reopening.is_set():
                self._reopening.clear()
                self._try(self._outlet.reopen)
            self._write_waiting()
        self._try(self._outlet.close)
        _closing.discard(self)

    def _write_waiting(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines and not self._try(lambda: self._outlet.write(lines)):
            self._on_dropped("error", len(lines))
        self._gone += sum(map(len, lines))
        self._advanced.set()

    def _try(self, action: Callable[[], None]) -> bool:
        self._calls += 1
        self._call = self._calls
        try:
            action()
        except OSError as error:
            if self._tell and (times := once_per(60, f"{self.name} {error.errno}")):
                log.error("%s: %s (%d times)", self.name, error, times)
            return False
        finally:
            self._call = 0
        return True


def piece_size(fd: int) -> int:
    """Bytes that may be written to it at once."""
    return select.PIPE_BUF if stat.S_ISFIFO(os.fstat(fd).st_mode) else PIECE


def write_lines(fd: int, lines: list[bytes], piece: int) -> None:
    """Write all lines, and whole ones at a time (``piece_size``). Blocks. Raises OSError."""
    for data in _pieces(lines, piece):
        _write(fd, data)


def _pieces(lines: list[bytes], limit: int) -> Iterator[bytes]:
    """Join whole lines up to ``limit`` bytes: the lines of several processes in one pipe are then never mixed."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > limit:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    yield b"".join(piece)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # it is shared with a program that made it nonblocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
