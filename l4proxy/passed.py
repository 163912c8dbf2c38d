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

if TYPE_CHECKING:
    from l4proxy.filter import Filter, Passed, Side
    from l4proxy.poller import Poller

__all__ = ["EPOCH", "PassedChunks", "now"]

_perf_counter = time.perf_counter
EPOCH = time.time() - _perf_counter()


def now() -> float:
    """Seconds since the epoch, by a clock that does not jump when the system's is set."""
    return _perf_counter() + EPOCH


class PassedChunks(list["Passed"]):
    """Of all connections of one observer's place in the configuration, those that have not been shown yet."""

    __slots__ = ("_defer", "_show")

    def __init__(self, show: Callable[[list[Passed]], None], poller: Poller) -> None:
        self._show = show
        self._defer = poller.defer

    def note(self, who: Filter[Any], side: Side, data: bytes) -> None:
        """A chunk has passed ``who``. Where nobody else reads what a stream brings, `Stream.read` does the same."""
        if not self:
            self._defer(self.show)
        self.append((who, side, data, now()))

    def show(self) -> None:
        """Show what has passed since the last time."""
        chunks = self.copy()
        if chunks:
            self.clear()
            self._show(chunks)
