"""The brokers of one cluster, or of several that clients see as one.

Each cluster numbers its brokers itself, so of several, two may have the same number. Clients know broker N of the
cluster at position I of COUNT as broker ``N * COUNT + I``: that is never the same for two of them, can be reversed, and
needs no table that workers would have to share. Of one cluster the numbers are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.plugins.kafka_proxy.brokers import Brokers
    from l4proxy.plugins.kafka_proxy.places import Places
    from l4proxy.protocols.kafka.addresses import Broker

__all__ = ["Fleet", "View"]


class Fleet:
    """``clusters`` with what is known of their ``brokers``, in the same order."""

    def __init__(self, clusters: Sequence[Cluster], brokers: Sequence[Brokers]) -> None:
        self.clusters = tuple(clusters)
        self.brokers = tuple(brokers)
        self._alive: frozenset[int] = frozenset()
        self._as_of = -1

    def __len__(self) -> int:
        return len(self.clusters)

    def number(self, index: int, node: int) -> int:
        """How clients know a broker of one of the clusters."""
        return node * len(self.clusters) + index

    def split(self, number: int) -> tuple[int, int]:
        """Which cluster has a broker that clients know by this number, and how it is numbered there."""
        node, index = divmod(number, len(self.clusters))
        return index, node

    @property
    def revision(self) -> int:
        """Grows when ``alive`` changes."""
        return sum(brokers.revision for brokers in self.brokers)

    @property
    def alive(self) -> frozenset[int]:
        """All brokers that are there, as far as is known, as clients number them."""
        if self._as_of != self.revision:
            self._as_of = self.revision
            self._alive = frozenset(
                self.number(index, node) for index, brokers in enumerate(self.brokers) for node in brokers.alive
            )
        return self._alive


class View:
    """What relays to brokers of one of the clusters know of addresses and numbers: their directory
    (`l4proxy.protocols.kafka.addresses`)."""

    def __init__(self, places: Places, index: int) -> None:
        self._places = places
        self._fleet = places.fleet
        self._brokers = places.fleet.brokers[index]
        self._index = index
        self.renumbers = len(places.fleet) > 1

    def learn(self, brokers: Sequence[Broker], *, all: bool) -> None:
        self._brokers.learn(brokers, all=all)

    def place(self, node: int) -> tuple[int, bytes, int] | None:
        number = self._fleet.number(self._index, node)
        place = self._places.find(number)
        if place is None:
            self._brokers.not_placed(node)
            return None
        return number, *place

    def number(self, node: int) -> int:
        return self._fleet.number(self._index, node)
