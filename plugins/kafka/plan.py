"""What the observer does with requests of one API and version, besides reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.histograms import SECONDS, Histogram
from l4proxy.plugins.kafka.calls import ANSWERS, CALLS, ELEMENTS, any_answer
from l4proxy.plugins.kafka.stats import ApiStats, VersionStats
from l4proxy.protocols.kafka.plan import Plan, Reading
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.calls import OnAnswer, OnCall

__all__ = ["ObserverPlan"]


class ObserverPlan(Plan):
    """``on_call`` is called with requests that were read, ``on_answer`` with responses that were, ``on_element`` with
    what comes of a large response one at a time. ``has_throttle`` tells whether the first thing that is read of a
    response is its throttle time."""

    __slots__ = ("_version_stats", "has_throttle", "on_answer", "on_call", "on_element",
                 "record_seconds", "request_bytes", "requests", "response_bytes", "seconds", "stats")  # fmt: skip

    on_call: OnCall | None
    on_answer: OnAnswer
    on_element: OnAnswer

    def __init__(self, key: int, version: int, reading: Reading, registry: StatsRegistry) -> None:
        super().__init__(key, version, reading)
        self.stats = registry.group(ApiStats, api=self.name)
        self.requests = self.request_bytes = self.response_bytes = 0
        """What was counted since the last ``fold``; so are ``seconds``."""
        self.seconds = Histogram(SECONDS)
        self.record_seconds = self.seconds.record
        self._version_stats = registry.group(VersionStats, api=self.name, version=str(version))
        self.on_call = CALLS.get(self.name)
        self.on_answer = ANSWERS.get(self.name, any_answer)
        self.on_element = ELEMENTS.get(self.name, any_answer)
        response = reading[1]
        self.reads_lone = self.name == "Produce"
        self.has_throttle = response is not None and response.selection[0].name == "throttle_time_ms"

    def fold(self) -> None:
        """Bring the statistics up to date."""
        self._version_stats.requests_total += self.requests
        self.stats.request_bytes_total += self.request_bytes
        self.stats.response_bytes_total += self.response_bytes
        self.requests = self.request_bytes = self.response_bytes = 0
        self.stats.request_seconds.add(self.seconds)
        self._version_stats.version_request_seconds.add(self.seconds)
        self.seconds.clear()

    @property
    def requests_total(self) -> int:
        return self.requests + self._version_stats.requests_total
