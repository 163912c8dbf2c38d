"""What all observers of one name know together: the base of the views of ``kafka`` and ``redis_watch``."""

from __future__ import annotations

import time
from typing import Any

from l4proxy.stats_registry import StatsRegistry

__all__ = ["SharedView"]

LIVE = 60.0
"""Seconds that the time of live traffic may be off from the system's."""


class SharedView:
    """One for each name (``StatsRegistry.shared``), which outlives reloads."""

    def __init__(self, registry: StatsRegistry) -> None:
        self.registry = registry
        self.conversations: set[Any] = set()
        """Those that go on. Each enters and leaves itself, and its ``now`` is when something of it was last seen."""
        self.now = 0.0
        """The time of what was seen last: a recording has its own."""
        self._is_live = False
        registry.on_collect(self.collect)

    def seen(self, at: float) -> None:
        """Something was seen. For what is rare: it is here that live traffic is told from a recording's."""
        self.now = max(self.now, at)
        self._is_live = abs(time.time() - at) < LIVE

    def collect(self) -> None:
        """Bring the metrics up to date that are not counted as things happen."""
        raise NotImplementedError

    def moment(self) -> float:
        """For ``collect``, the time it is: the system's, or in a recording that of what was seen last."""
        self.now = max([self.now, *(conversation.now for conversation in self.conversations)])
        return max(self.now, time.time()) if self._is_live else self.now
