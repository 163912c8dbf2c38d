"""What is known of one Kafka cluster: shared by all observers that see a part of its traffic.

A client speaks with one broker about a topic and with another one about its group, each through a listener of its own.
Only together do the connections tell how far a group lags behind. So all observers of a server that have the same
``name`` look at one view, which outlives reloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.plugins.kafka.clients import Clients, Storms
from l4proxy.plugins.kafka.groups import Groups
from l4proxy.plugins.kafka.plan import ObserverPlan
from l4proxy.plugins.kafka.reading import READINGS
from l4proxy.plugins.kafka.stats import KafkaStats
from l4proxy.plugins.kafka.topics import Topics
from l4proxy.plugins.shared_view import SharedView
from l4proxy.protocols.kafka.plan import Plans, Reading
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.config import KafkaConfig
    from l4proxy.plugins.kafka.conversation import KafkaConversation

__all__ = ["View", "view_of"]


class View(SharedView):
    """Everything that is known, and counted, under one name."""

    conversations: set[KafkaConversation]

    def __init__(self, registry: StatsRegistry, name: str, plan: type[ObserverPlan] = ObserverPlan) -> None:
        super().__init__(registry)
        prefix = f"{name}/" if name else ""
        self.stats = registry.group(KafkaStats)
        self.topics = Topics(registry, self.stats, prefix)
        self.groups = Groups(registry, prefix)
        self.clients = Clients(registry)
        self._plan_class = plan
        self.plans: Plans[ObserverPlan] = Plans(self._plan, READINGS)
        self.forget_after = 0.0
        self.storms = Storms(0)

    def _plan(self, key: int, version: int, reading: Reading) -> ObserverPlan:
        return self._plan_class(key, version, reading, self.registry)

    def fold(self) -> None:
        """Bring the metrics of APIs and clients up to date."""
        for plan in self.plans.values():
            plan.fold()
        for conversation in self.conversations:
            conversation.fold()

    def collect(self) -> None:
        at = self.moment()
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
