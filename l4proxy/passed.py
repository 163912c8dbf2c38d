"""What has passed observers, kept until the loop turn is over: one look at the chunks of many connections.

Between two system calls little of what Python needs is in the processor's caches, so that looking at a chunk there and
then costs about twice as much as looking at many of them in a row. So an observer with ``on_passed`` is shown all that
passed it in a turn, on all its connections, when everybody who had something to read has been called. A *turn* is not
long: the poller calls what was deferred after a few dozen callbacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from l4proxy.stream import READ_SIZE

if TYPE_CHECKING:
    from l4proxy.filter import Filter, Passed, Side
    from l4proxy.poller import Poller

__all__ = ["PassedChunks", "now"]

_perf_counter = time.perf_counter
EPOCH = time.time() - _perf_counter()


def now() -> float:
    """Seconds since the epoch, by a clock that does not jump when the system's is set."""
    return _perf_counter() + EPOCH


class PassedChunks:
    """Of all connections of one observer's place in the configuration."""

    __slots__ = ("_chunks", "_defer", "_show")

    def __init__(self, show: Callable[[list[Passed]], None], poller: Poller) -> None:
        self._show = show
        self._defer = poller.defer
        self._chunks: list[Passed] = []

    def behind(self, deliver: Callable[[bytes], object], who: Filter[Any], side: Side) -> Callable[[bytes], None]:
        """What delivers a chunk and notes that it has passed ``who``. The hot path, and so all in one function.

        A large one is shown at once: how large the next read will be depends on how much work this one is."""
        chunks, defer, show, clock, epoch = self._chunks, self._defer, self.show, _perf_counter, EPOCH

        def deliver_and_note(data: bytes) -> None:
            deliver(data)
            if not chunks:
                defer(show)
            chunks.append((who, side, data, clock() + epoch))
            if len(data) >= READ_SIZE:
                show()

        return deliver_and_note

    def show(self) -> None:
        """Show what has passed since the last time."""
        chunks = self._chunks.copy()
        if chunks:
            self._chunks.clear()
            self._show(chunks)
