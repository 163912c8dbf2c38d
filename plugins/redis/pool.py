"""Connections to servers, kept by who they are: shared ones, and those that a client has to itself for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from l4proxy.plugins.redis.dedicated import DedicatedConnection
from l4proxy.plugins.redis.replies import LOST, TIMEOUT, UNREADABLE, first_word
from l4proxy.plugins.redis.shared import SharedConnection
from l4proxy.plugins.redis.stats import CommandStats, EndpointCommandStats

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.config import RedisProxyConfig
    from l4proxy.plugins.redis.connection import ServerConnection
    from l4proxy.plugins.redis.identity import Identity
    from l4proxy.plugins.redis.stats import RedisProxyStats, Tally
    from l4proxy.server import Server
    from l4proxy.timers import Timer, Timers

__all__ = ["Pool", "Pools"]

Key: TypeAlias = "tuple[Cluster, Endpoint | None, Identity]"
SWEEP = 1.0
"""Seconds between two looks at which connections nobody needs any more."""
AILING = frozenset(("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN"))
"""Errors that say of a server, and not of the command, that it cannot serve now: outlier detection is told."""
SPARE_CONNECTIONS = 4
"""So many times as many shared connections as configured there may be, while some of them are held."""


class Pool:
    """All connections of one identity to one endpoint, or to any of a cluster's where they all have the same data."""

    def __init__(
        self, pools: Pools, cluster: Cluster, endpoint: Endpoint | None, identity: Identity, name: str = ""
    ) -> None:
        self.pools = pools
        self.name = name or cluster.name
        """Of the cluster, in statistics."""
        self.cluster = cluster
        self.endpoint = endpoint
        self.identity = identity
        self.timers: Timers = cluster.timers
        self.clock = pools.clock
        config = pools.config
        self.limits = config.limits()
        self.server_protocol = config.server_protocol or identity.protocol
        """What servers are spoken to; 2, once one of them knew no other."""
        self.op_timeout = config.op_timeout
        self.max_waiting = config.max_waiting
        self.shared: list[SharedConnection] = []
        self.dedicated: set[DedicatedConnection] = set()
        self.idle: list[DedicatedConnection] = []
        """Dedicated ones that nobody has, those used last at the end."""

    # Connections

    @property
    def translates(self) -> bool:
        """Whether clients speak another version of the protocol than the servers."""
        return self.server_protocol != self.identity.protocol

    def shared_connection(self) -> SharedConnection:
        """The one that a client without any should use: that with the fewest clients, or a new one while there are
        fewer than configured. It may still be connecting."""
        wanted = self.pools.config.connections
        if self.endpoint is None:
            wanted *= max(1, len(self.cluster.endpoints.choosable()))
        usable = [connection for connection in self.shared if connection.usable]
        if len(usable) >= wanted or (usable and len(self.shared) >= wanted * SPARE_CONNECTIONS):
            return min(usable, key=lambda connection: connection.clients)
        connection = SharedConnection(self)
        self.shared.append(connection)
        connection.connect()
        return connection

    def dedicated_connection(self, endpoint: Endpoint | None = None) -> DedicatedConnection:
        """One that nobody else has, of ``endpoint`` if that is said. It may still be connecting."""
        for at in range(len(self.idle) - 1, -1, -1):
            if endpoint is None or self.idle[at].endpoint is endpoint:
                return self.idle.pop(at)
        connection = DedicatedConnection(self, endpoint or self.endpoint)
        self.dedicated.add(connection)
        connection.connect()
        return connection

    def give_back(self, connection: DedicatedConnection) -> None:
        """Its client needs it no more."""
        connection.owner = None
        room = len(self.idle) < self.pools.config.max_idle
        if (
            connection.clean
            and connection.identity == self.identity
            and room
            and not (connection.endpoint is None or connection.endpoint.draining)
        ):
            connection.idle_since = self.clock()
            self.idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: ServerConnection) -> None:
        """It is closed."""
        self.count(connection)
        if isinstance(connection, SharedConnection):
            self.shared.remove(connection)
        elif isinstance(connection, DedicatedConnection):
            self.dedicated.discard(connection)
            if connection in self.idle:
                self.idle.remove(connection)

    def sweep(self, idle_before: float) -> bool:
        """Close what nobody needs. Return whether anything is left."""
        for connection in [one for one in self.idle if one.idle_since < idle_before or _is_gone(one.endpoint)]:
            connection.close()
        choosable = self.cluster.endpoints.choosable() if self.endpoint is None else ()
        for shared in list(self.shared):
            if _is_gone(shared.endpoint) or (choosable and shared.ready and shared.endpoint not in choosable):
                shared.retire()
            if not shared.clients and not shared.waiting and (shared.retired or shared.idle_since < idle_before):
                shared.close()
        return bool(self.shared or self.dedicated)

    def close(self) -> None:
        for connection in (*self.shared, *self.dedicated):
            connection.lose(connection.failure)

    # What connections tell

    def command_stats(self, command: str) -> CommandStats:
        return self.pools.command_stats(self.name, command)

    def endpoint_stats(self, connection: ServerConnection) -> EndpointCommandStats:
        return self.pools.endpoint_stats(self.name, connection.endpoint_name)

    def count(self, connection: ServerConnection) -> None:
        """Add what it has counted to the statistics."""
        if connection.tallies:
            of_endpoint = self.endpoint_stats(connection)
            for tally in connection.tallies.values():
                tally.add_to(of_endpoint)

    def count_errors(self, connection: ServerConnection, stats: Tally, errors: list[bytes]) -> None:
        """Replies that were errors; the list is emptied."""
        of_endpoint = self.endpoint_stats(connection)
        assert stats.command is not None
        for text in errors:
            prefix = text.partition(b" ")[0].decode("latin-1")
            stats.command.errors_total.add(prefix)
            of_endpoint.errors_total.add(prefix)
            if prefix in AILING:
                connection.blame(1)
        errors.clear()

    def lost(self, connection: ServerConnection, count: int) -> None:
        """So many commands got an error instead of a reply."""
        stats = self.endpoint_stats(connection)
        word = first_word(connection.failure)[1:].decode("latin-1")
        if connection.refused:
            stats.errors_total.add(word)
        else:
            stats.failed_total += count
        if connection.failure in (LOST, UNREADABLE):
            connection.blame(1)
        elif connection.failure is TIMEOUT or word in AILING:
            connection.blame(count)


def _is_gone(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and endpoint.draining


class Pools:
    """The pools of one use of the filter."""

    def __init__(self, config: RedisProxyConfig, stats: RedisProxyStats, server: Server) -> None:
        self.config = config
        self.stats = stats
        self.clock = server.loop.time
        self._registry = server.stats
        self._pools: dict[Key, Pool] = {}
        self._command_stats: dict[tuple[str, str], CommandStats] = {}
        self._endpoint_stats: dict[tuple[str, str], EndpointCommandStats] = {}
        self._timers = server.timers
        self._timer: Timer | None = None
        self._stop_collecting = server.stats.on_collect(self._collect)

    def get(self, cluster: Cluster, identity: Identity, endpoint: Endpoint | None = None, name: str = "") -> Pool:
        key = (cluster, endpoint, identity)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(self, cluster, endpoint, identity, name)
            if self._timer is None:
                self._timer = self._timers.call_later(SWEEP, self._sweep)
        return pool

    def give_up(self, cluster: Cluster, endpoint: str) -> None:
        """Others say that it is dead: whoever waits for it waits no longer."""
        for (of, at, _), pool in list(self._pools.items()):
            for connection in (*pool.shared, *pool.dedicated) if of is cluster and at and at.name == endpoint else ():
                connection.lose(LOST)

    def _sweep(self) -> None:
        idle_before = self.clock() - self.config.idle_timeout
        for key, pool in list(self._pools.items()):
            if not pool.sweep(idle_before):
                del self._pools[key]
        self._timer = self._timers.call_later(SWEEP, self._sweep) if self._pools else None

    def close(self) -> None:
        """The last client is gone."""
        for pool in list(self._pools.values()):
            pool.close()
        if self._timer is not None:
            self._timer.cancel()
        self._stop_collecting()

    def command_stats(self, cluster: str, command: str) -> CommandStats:
        stats = self._command_stats.get((cluster, command))
        if stats is None:
            stats = self._registry.group(CommandStats, cluster=cluster, command=command)
            self._command_stats[cluster, command] = stats
        return stats

    def endpoint_stats(self, cluster: str, endpoint: str) -> EndpointCommandStats:
        stats = self._endpoint_stats.get((cluster, endpoint))
        if stats is None:
            stats = self._registry.group(EndpointCommandStats, cluster=cluster, endpoint=endpoint)
            self._endpoint_stats[cluster, endpoint] = stats
        return stats

    def _collect(self) -> None:
        """Bring up to date what is not counted per command."""
        for stats in self._endpoint_stats.values():
            stats.in_flight = stats.connections_shared = stats.connections_dedicated = stats.connections_idle = 0
        for pool in self._pools.values():
            for connection in (*pool.shared, *pool.dedicated):
                stats = pool.endpoint_stats(connection)
                stats.in_flight += connection.waiting
                pool.count(connection)
            for shared in pool.shared:
                pool.endpoint_stats(shared).connections_shared += 1
            for dedicated in pool.dedicated:
                stats = pool.endpoint_stats(dedicated)
                if dedicated.owner is None:
                    stats.connections_idle += 1
                else:
                    stats.connections_dedicated += 1
