"""Standard output, written by a thread: who does not read it holds up that thread, and not the traffic.

A proxy that waits for a pipe to be read lets its clients wait, too, and a capture that waits loses packets. So what
does not fit into the queue is dropped, and counted: the statistics are right all the same. Files and recordings are
read as fast as their output is, and need none of this.
"""

from __future__ import annotations

import os
import select
import time
from typing import TextIO

from l4proxy.access_log.writer import LineWriter

__all__ = ["Output"]

CAPACITY = 16 * 1024 * 1024
"""Bytes that wait to be read, a few ten thousand lines."""
INTERVAL = 0.1
"""Seconds for which lines are gathered."""
PATIENCE = 5.0
"""Seconds for which who reads may take the last lines."""
STUCK_AFTER = 0.5
"""Who has taken nothing for so many seconds is not waited for."""


class Output:
    """As much of a stream as lines are written with. ``dropped`` are the lines that nobody will see."""

    def __init__(self, stream: TextIO) -> None:
        self._is_terminal = stream.isatty()
        self._encoding = stream.encoding
        self._pipe = _Pipe(stream.fileno())
        self._put = 0
        self._dropped_at_once = 0
        self._writer = LineWriter(
            "standard output", self._pipe, capacity=CAPACITY, interval=INTERVAL, on_dropped=self._drop, tell=False
        )

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, line: str) -> None:
        self._put += 1
        self._writer.put(line.encode(self._encoding, "backslashreplace"))

    def _drop(self, _reason: str, lines: int) -> None:
        self._dropped_at_once += lines

    def flush(self) -> None:
        """Raises OSError when who read it has left. What waits is written soon anyway."""
        if self._pipe.error is not None:
            raise self._pipe.error

    @property
    def dropped(self) -> int:
        return self._put - self._pipe.lines

    def close(self) -> None:
        """Wait for the last lines to be read, as long as some are."""
        if not self._put:
            return
        self._writer.close()
        self._writer.wait()
        now = time.monotonic()
        until, taken, moved = now + PATIENCE, self._pipe.taken, now
        while self.dropped > self._dropped_at_once and self._pipe.error is None and now < until:
            if self._pipe.taken != taken:
                taken, moved = self._pipe.taken, now
            if now - moved > STUCK_AFTER:
                break
            time.sleep(0.02)
            now = time.monotonic()


class _Pipe:
    """Where the writer's thread writes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.error: OSError | None = None
        self.taken = 0
        """Bytes."""
        self.lines = 0

    def write(self, lines: list[bytes]) -> None:
        for line in _joined(lines):
            data = memoryview(line)
            while data and self.error is None:
                try:
                    sent = os.write(self._fd, data)
                except BlockingIOError:  # somebody else has made it so
                    select.select([], [self._fd], [])
                except OSError as error:
                    self.error = error
                else:
                    self.taken += sent
                    data = data[sent:]
            if self.error is None:
                self.lines += line.count(b"\n")

    def reopen(self) -> None:
        """There is nothing to be opened."""

    def close(self) -> None:
        """Others may have more to say."""


def _joined(lines: list[bytes], most: int = 100) -> list[bytes]:
    return [b"".join(lines[at : at + most]) for at in range(0, len(lines), most)]
