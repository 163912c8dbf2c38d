"""Requests that are held for a time: what the ``fault`` of HTTP, Kafka and Redis have in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from l4proxy.config.types import Duration, Percent
from l4proxy.message import MessageFilter, Request
from l4proxy.timers import Timer

__all__ = ["Delays"]

Q = TypeVar("Q", bound=Request)


class DelayOptions(Protocol):
    @property
    def delay(self) -> Duration: ...
    @property
    def delay_percent(self) -> Percent: ...
    @property
    def max_active(self) -> int: ...


class DelayStats(Protocol):
    delays_total: int
    active: int


class Delays(Generic[Q]):
    """What one filter of one connection holds. Made in its ``on_connect``; its ``on_cancel`` and ``on_close`` are to be
    told here."""

    def __init__(self, options: DelayOptions, stats: DelayStats) -> None:
        self._options = options
        self._stats = stats
        self._timers: dict[Q, Timer] = {}

    def hold(self, holder: MessageFilter[Any, Q, Any], request: Q, then: Callable[[Q], Q | None]) -> Q | None:
        """For ``on_request``: what ``then(request)`` returns, or None, where it is called after a delay. The request is
        released then, if it returns it."""
        options, stats = self._options, self._stats
        delays = options.delay and random.random() * 100 < options.delay_percent
        if not delays or stats.active >= options.max_active:
            return then(request)
        stats.delays_total += 1
        stats.active += 1

        def go_on() -> None:
            self.cancel(request)
            if then(request) is not None:
                holder.release(request)

        self._timers[request] = holder.conn.call_later(options.delay, go_on)
        return None

    def cancel(self, request: Q) -> None:
        """Hold ``request`` no longer, if it was held."""
        timer = self._timers.pop(request, None)
        if timer is not None:
            timer.cancel()
            self._stats.active -= 1

    def close(self) -> None:
        """The connection is over, and its timers with it."""
        self._stats.active -= len(self._timers)
        self._timers.clear()
