"""A token bucket whose tokens are bytes, shared fairly by those who wait for them.

While there are tokens and nobody waits, taking some is an addition. Who gets fewer than wanted waits, and from then on
everybody does until the next tick (about every tenth of a second): then all tokens are dealt out evenly to those in the
queue, as a credit that holds until the tick after. What a flow left of its credit is dealt out again. So flows that
always want more get the same, however large their chunks, and what others do not use is theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from l4proxy.timers import TICK

if TYPE_CHECKING:
    from l4proxy.timers import Timer, Timers

__all__ = ["FairBucket", "Flow"]

QUANTUM = 1024
"""Where the tokens are too few to give everybody so many, only the first in the queue get some at a tick."""


class Flow:
    """One who takes tokens. ``credit`` is the bucket's business."""

    __slots__ = ("credit",)

    def __init__(self) -> None:
        self.credit = 0

    def more(self) -> None:
        """There are tokens again for a flow that has got too few. Called once each time, and may take."""
        raise NotImplementedError


class FairBucket:
    """``rate`` tokens are added per second, up to ``burst``; in the beginning it is full."""

    __slots__ = ("_burst", "_clock", "_credited", "_filled_at", "_rate", "_timer", "_timers", "_tokens", "_waiting")

    def __init__(self, rate: float, burst: float, timers: Timers, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._timers = timers
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock()
        self._waiting: dict[Flow, None] = {}
        """In the order of their turns."""
        self._credited: list[Flow] = []
        self._timer: Timer | None = None

    def take(self, flow: Flow, wanted: int) -> int:
        """Take up to ``wanted`` tokens. When it is fewer, ``flow.more()`` is called as soon as there are more."""
        taken = min(flow.credit, wanted)
        flow.credit -= taken
        if taken < wanted and not self._waiting:
            self._fill()
            rest = min(int(self._tokens), wanted - taken)
            self._tokens -= rest
            taken += rest
        if taken < wanted:
            self._waiting[flow] = None
            self._arm()
        return taken

    def put_back(self, count: int) -> None:
        """Of tokens that were taken, so many were not needed."""
        self._tokens += count

    def leave(self, flow: Flow) -> None:
        """A flow has ended: it waits no more, and gives its credit back."""
        self._waiting.pop(flow, None)
        self._tokens += flow.credit
        flow.credit = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _arm(self) -> None:
        if self._timer is None:
            # Timers fire at ticks: half of one later is the next tick, also when this one's work took a moment.
            self._timer = self._timers.call_later(TICK / 2, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for flow in self._credited:
            self._tokens += flow.credit
            flow.credit = 0
        self._fill()
        self._credited = self._deal()
        for flow in self._credited:
            if flow.credit:  # another one's may have ended it
                flow.more()
        if self._waiting or self._credited:
            self._arm()

    def _deal(self) -> list[Flow]:
        """Give the tokens to those who wait, as credit. Returns who got some."""
        tokens = int(self._tokens)
        if not tokens or not self._waiting:
            return []
        count = min(len(self._waiting), max(1, tokens // QUANTUM))
        flows = list(islice(self._waiting, count))
        share = tokens // count
        self._tokens -= share * count
        for flow in flows:
            del self._waiting[flow]
            flow.credit = share
        return flows
