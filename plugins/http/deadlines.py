"""Time limits of requests, at the price of two set operations each.

A request has several limits (its body, the response, a pause in either) and hardly ever meets one. It stands in one
bucket, that of the first moment at which any of them can be over. Most are gone by then; who is not is asked
(``check_time``), and says for how long it may go on.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from l4proxy.timers import Timers

__all__ = ["Deadlines", "Limited"]

COARSE = 10.0
"""Seconds from which on a second more does not matter; below it is a tenth."""

EARLY = 0.02
"""Seconds. The timers have the same ticks, and would take the next one for what is a little more than this one."""


class Limited(Protocol):
    bucket: set[Limited] | None
    """Where it stands; it leaves with ``bucket.discard(self)``."""

    def check_time(self, now: float) -> float:
        """Do what has to be done by now (``time.monotonic()``). Returns the seconds after which to ask again; 0:
        never."""


class Deadlines:
    """The limits of everything that one ``http`` filter has under way."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._buckets: dict[int, set[Limited]] = {}

    def watch(self, item: Limited, now: float, seconds: float) -> None:
        """Ask ``item`` after so many seconds; never early, at most a tenth (from ten seconds on: one second) late."""
        tick = int((now + seconds) * 10) + 1 if seconds < COARSE else int(now + seconds) * 10 + 10
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            self._timers.call_later(tick / 10 - now - EARLY, partial(self._due, tick))
        bucket.add(item)
        item.bucket = bucket

    def rewatch(self, item: Limited, now: float, seconds: float) -> None:
        """The same, in place of what was said before."""
        if item.bucket is not None:
            item.bucket.discard(item)
        self.watch(item, now, seconds)

    def _due(self, tick: int) -> None:
        now = time.monotonic()
        bucket = self._buckets.pop(tick)
        while bucket:
            item = bucket.pop()
            item.bucket = None
            seconds = item.check_time(now)
            if seconds:
                self.rewatch(item, now, seconds)
