"""What is known of one Kafka cluster: shared by all observers that see a part of its traffic.

A client speaks with one broker about a topic and with another one about its group, each through a listener of its own.
Only together do the connections tell how far a group lags behind. So all observers of a server that have the same
``name`` look at one view, which outlives reloads.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from l4proxy.plugins.kafka.clients import Clients, Storms
from l4proxy.plugins.kafka.groups import Groups
from l4proxy.plugins.kafka.plan import ObserverPlan
from l4proxy.plugins.kafka.reading import READINGS
from l4proxy.plugins.kafka.stats import KafkaStats
from l4proxy.plugins.kafka.topics import Topics
from l4proxy.protocols.kafka.plan import Plans, Reading
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.config import KafkaConfig
    from l4proxy.plugins.kafka.conversation import KafkaConversation

__all__ = ["View", "view_of"]

LIVE = 60.0
"""Seconds that the time of live traffic may be off from the system's."""


class View:
    """Everything that is known, and counted, under one name."""

    def __init__(self, registry: StatsRegistry, name: str, plan: type[ObserverPlan] = ObserverPlan) -> None:
        prefix = f"{name}/" if name else ""
        self.registry = registry
        self.stats = registry.group(KafkaStats)
        self.topics = Topics(registry, self.stats, prefix)
        self.groups = Groups(registry, self.topics, prefix)
        self.clients = Clients(registry)
        self._plan_class = plan
        self.plans: Plans[ObserverPlan] = Plans(self._plan, READINGS)
        self.conversations: set[KafkaConversation] = set()
        self.forget_after = 0.0
        self.storms = Storms(0)
        self.now = 0.0
        """The time of what was seen last: a recording has its own."""
        self._is_live = False
        registry.on_collect(self.collect)

    def _plan(self, key: int, version: int, reading: Reading) -> ObserverPlan:
        return self._plan_class(key, version, reading, self.registry)

    def seen(self, at: float) -> None:
        """Something was seen. For what is rare: it is here that live traffic is told from a recording's."""
        self.now = max(self.now, at)
        self._is_live = abs(time.time() - at) < LIVE

    def fold(self) -> None:
        """Bring the metrics of APIs and clients up to date."""
        for plan in self.plans.values():
            plan.fold()
        for conversation in self.conversations:
            conversation.fold()

    def collect(self) -> None:
        """Bring the metrics up to date that are not counted as things happen."""
        self.now = max([self.now, *(conversation.now for conversation in self.conversations)])
        at = max(self.now, time.time()) if self._is_live else self.now
        self.fold()
        self.stats.opaque_requests_total = sum(plan.requests_total for plan in self.plans.values() if not plan.is_known)
        self.stats.requests_in_flight = sum(conversation.in_flight for conversation in self.conversations)
        self.topics.collect()
        self.groups.collect(at, self.forget_after)
        self.clients.collect(at, self.forget_after)


def view_of(registry: StatsRegistry, config: KafkaConfig, plan: type[ObserverPlan] = ObserverPlan) -> View:
    """The view that all observers of this name share."""
    view = registry.shared((View, config.name), lambda: View(registry, config.name, plan))
    view.forget_after = config.forget_after
    view.storms.limit = config.connection_storm
    return view
