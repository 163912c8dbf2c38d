"""Coarse timers: connections have many time limits and nearly none of them ever fires.

Callbacks stand in buckets by the tick at which they are due; the further away, the coarser the tick. Those of one
bucket are called in the order in which they were set. Setting or cancelling one is an operation of a dictionary,
whatever the number of connections, and the loop knows of one timer only: the next bucket's.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

__all__ = ["TICK", "Timer", "Timers"]

TICK = 0.1
"""Seconds."""

log = logging.getLogger("l4proxy.timers")


def _ticks_per_bucket(delay: float) -> int:
    if delay < 10:
        return 1
    return 10 if delay < 600 else 100


def _nothing() -> None:
    """The callback of a timer that fired or was cancelled."""


class Timer:
    """One call that is due later. ``cancel()`` may be called at any time, also after it fired."""

    __slots__ = ("_bucket", "callback")

    def __init__(self, callback: Callable[[], object], bucket: dict[Timer, None]) -> None:
        self.callback = callback
        self._bucket: dict[Timer, None] | None = bucket

    def cancel(self) -> None:
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self.take()

    def take(self) -> Callable[[], object]:
        """The callback, which the timer forgets: it often refers back to whoever holds the timer."""
        callback, self.callback, self._bucket = self.callback, _nothing, None
        return callback


class Timers:
    """The timers of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback()`` once, in ``delay`` seconds. It is never early; it may be late by 0.1 s, by 1 s where the
        delay is 10 s or more, by 10 s where it is ten minutes or more."""
        step = _ticks_per_bucket(delay)
        tick = math.ceil((self._loop.time() + delay) / (TICK * step)) * step
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            if self._handle is None or tick < self._armed:
                self._arm(tick)
        timer = Timer(callback, bucket)
        bucket[timer] = None
        return timer

    def _arm(self, tick: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = tick
        self._handle = self._loop.call_at(tick * TICK, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._armed
        for tick in sorted(tick for tick in self._buckets if tick <= now):
            for timer in list(self._buckets.pop(tick)):
                callback = timer.take()  # does nothing, if one before has cancelled it
                try:
                    callback()
                except (Exception, asyncio.CancelledError):
                    log.exception("a timer's callback failed")
        if self._buckets:
            self._arm(min(self._buckets))

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._buckets.clear()
