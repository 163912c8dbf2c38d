"""Who speaks: client ids, their software, principals; and hosts that open too many connections.

Client ids are often made up anew for every run. So their metrics are forgotten when one was not seen for a while, and
what counts for them is remembered for as long as a connection uses it.
"""

from __future__ import annotations

from collections.abc import Iterator

from l4proxy.plugins.kafka.stats import ClientStats
from l4proxy.stats_registry import StatsRegistry

__all__ = ["Client", "Clients", "Storms"]

STORM_SECONDS = 10.0
HOSTS = 10_000
"""Hosts whose connections are counted at a time."""


class Client:
    """One client id. ``connections`` counts those that use it now."""

    __slots__ = ("connections", "host", "name", "principal", "seen", "software", "stats")

    def __init__(self, name: str, stats: ClientStats) -> None:
        self.name = name
        self.stats = stats
        self.connections = 0
        self.seen = 0.0
        self.host = ""
        self.software = ""
        self.principal = ""


class Clients:
    """All client ids that were seen of late."""

    def __init__(self, registry: StatsRegistry) -> None:
        self._registry = registry
        self._by_id: dict[bytes, Client] = {}
        self.nobody = Client("", ClientStats(("",), registry))
        """Stands in for the client of a connection that has sent nothing yet."""

    def __iter__(self) -> Iterator[Client]:
        return iter(self._by_id.values())

    def enter(self, client_id: bytes, at: float) -> Client:
        """A connection goes by this id from now on."""
        client = self._by_id.get(client_id)
        if client is None:
            name = client_id.decode(errors="backslashreplace")
            client = self._by_id[client_id] = Client(name, self._registry.group(ClientStats, client_id=name))
        client.connections += 1
        client.seen = at
        return client

    def leave(self, client: Client, at: float) -> None:
        client.connections -= 1
        client.seen = at

    def collect(self, at: float, forget_after: float) -> None:
        for client_id, client in list(self._by_id.items()):
            if not client.connections and forget_after and at - client.seen > forget_after:
                del self._by_id[client_id]
                self._registry.discard(client.stats)


class Storms:
    """Finds hosts that open more than ``limit`` connections within `STORM_SECONDS`; 0: none is looked for."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._since = 0.0
        self._counts: dict[str, int] = {}

    def opened(self, host: str, at: float) -> bool:
        """A connection was opened. Return True for the one with which it becomes a storm."""
        if not self.limit:
            return False
        if at - self._since >= STORM_SECONDS or len(self._counts) >= HOSTS:
            self._since = at
            self._counts.clear()
        count = self._counts[host] = self._counts.get(host, 0) + 1
        return count == self.limit + 1
