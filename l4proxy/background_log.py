"""The process's own log, written by a thread: whoever reads standard error never holds up the proxy.

A terminal that is stopped (Ctrl-S), a pager, a container runtime that does not read its end of the pipe: a write to
them waits, and in the event loop everybody's traffic would wait with it. So lines go through the bounded queue that
access logs have. What it cannot hold is dropped and counted, and the log says so as soon as there is room.

The order of lines stays. What a process says at its end comes out before what is printed behind it, for ``flush`` waits
for that; but not for a reader that is stuck.
"""

from __future__ import annotations

import errno
import logging
from typing import TextIO

from l4proxy.access_log.writer import LineWriter, piece_size, write_lines

__all__ = ["BackgroundHandler"]

CAPACITY = 1 << 20
"""Bytes that may wait; some ten thousand lines."""


class BackgroundHandler(logging.Handler):
    """``logging.StreamHandler`` for a stream that is a file, a pipe or a terminal, and takes its time."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._encoding = stream.encoding
        self._dropped = self._failed = self._untold = 0
        self._writer = LineWriter(
            "log", _Descriptor(stream), capacity=CAPACITY, interval=0, on_dropped=self._drop, tell=False
        )

    @property
    def lost(self) -> int:
        """Lines that were never written."""
        return self._dropped + self._failed

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._untold and self._writer.waiting < CAPACITY // 2:
                self._put(_notice(self._untold))
                self._untold = 0
            self._put(record)
        except Exception:
            self.handleError(record)

    def _put(self, record: logging.LogRecord) -> None:
        self._writer.put(f"{self.format(record)}\n".encode(self._encoding, "backslashreplace"))

    def _drop(self, reason: str, lines: int) -> None:
        if reason == "full":
            self._dropped += lines
            self._untold += lines
        else:  # in the writer's thread
            self._failed += lines

    def flush(self) -> None:
        self._writer.flush()


def _notice(lines: int) -> logging.LogRecord:
    message = "%d lines above are missing: they were not read in time"
    return logging.LogRecord("l4proxy.log", logging.WARNING, __file__, 0, message, (lines,), None)


class _Descriptor:
    """What is below a stream. It is asked for each time: a stream that was closed has none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, lines: list[bytes]) -> None:
        try:
            fd = self._stream.fileno()
        except ValueError:
            raise OSError(errno.EBADF, "closed") from None
        write_lines(fd, lines, piece_size(fd))

    def reopen(self) -> None:
        """Nobody can."""

    def close(self) -> None:
        """It is the process's."""
