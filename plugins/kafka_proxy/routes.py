"""Which cluster a topic, a group or a transactional id belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from l4proxy.config.types import ClusterName
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.protocols.bounded import remember
from l4proxy.protocols.kafka.names import GROUP, TOPIC, TRANSACTIONAL_ID

__all__ = ["KafkaRoute", "Routes"]

REMEMBERED = 10_000
"""Names whose cluster is remembered."""


@dataclass(frozen=True, slots=True)
class KafkaRoute:
    cluster: ClusterName
    """Where these are."""
    topics: tuple[str, ...] = ()
    """Topics: `["orders", "logs.*"]`. A star stands for any text."""
    groups: tuple[str, ...] = ()
    """Consumer groups. A group has to be where its topics are."""
    transactional_ids: tuple[str, ...] = ()
    """Transactional ids of producers. A transaction has to be where its topics and its group are."""

    def __post_init__(self) -> None:
        if not (self.topics or self.groups or self.transactional_ids):
            raise ValueError("topics: write topics, groups, or transactional_ids")


class Routes:
    """The first route that has a name says where it is; what none has is at the first cluster."""

    def __init__(self, first: str, routes: Sequence[KafkaRoute]) -> None:
        self.clusters = tuple(dict.fromkeys([first, *(route.cluster for route in routes)]))
        """Names of all clusters; places in here are what routes lead to."""
        at = self.clusters.index
        self._patterns = {
            TOPIC: [(Patterns(route.topics), at(route.cluster)) for route in routes],
            GROUP: [(Patterns(route.groups), at(route.cluster)) for route in routes],
            TRANSACTIONAL_ID: [(Patterns(route.transactional_ids), at(route.cluster)) for route in routes],
        }
        self._known: dict[tuple[str, bytes], int] = {}

    def find(self, kind: str, name: bytes) -> int | None:
        """The cluster of a name (kinds are those of `l4proxy.protocols.kafka.names`); None: such names have none."""
        known = self._known.get((kind, name))
        if known is not None or (patterns := self._patterns.get(kind)) is None:
            return known
        text = name.decode(errors="replace")
        found = next((index for those, index in patterns if those.matches(text)), 0)
        remember(self._known, (kind, name), found, REMEMBERED)
        return found
