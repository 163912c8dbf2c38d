"""``connection_limit``: a bound on the connections that are open at a time."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy import CloseReason, Filter, Register, hookimpl
from l4proxy.config.types import Duration, Range
from l4proxy.plugins.admission import refuse, source_key
from l4proxy.stats import Stats, counter, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["ConnectionLimit", "ConnectionLimitConfig"]


@dataclass(frozen=True, slots=True)
class ConnectionLimitConfig:
    max_connections: Annotated[int, Range(0)] = 0
    """Connections at a time; 0: any number."""
    max_connections_per_source: Annotated[int, Range(0)] = 0
    """Connections at a time from one source; 0: any number."""
    ipv4_prefix: Annotated[int, Range(0, 32)] = 32
    """IPv4 addresses that have so many bits in common are one source: 24 is a whole `/24`."""
    ipv6_prefix: Annotated[int, Range(0, 128)] = 64
    """The same for IPv6. A single host often has a whole `/64`."""
    delay: Duration = Duration(0.0)
    """How long a connection over the limit is kept, unread, before it is closed: it slows down those who try again at
    once. 0: it is closed at once."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not self.max_connections and not self.max_connections_per_source:
            raise ValueError("max_connections: write max_connections, max_connections_per_source, or both")


class ConnectionLimitStats(Stats, subsystem="connection_limit", labels=("name",)):
    """Connections through one use."""

    connections_active = gauge("Connections open now that were let through.")
    connections_total = counter("Connections that were let through.")
    limited_total = labelled_counter("Connections refused, by the limit that they were over.", label="limit")


class OpenConnections:
    """The connections of one use that were let through and are open."""

    def __init__(self, config: ConnectionLimitConfig, stats: ConnectionLimitStats) -> None:
        self.stats = stats
        self.key_of = source_key(config.ipv4_prefix, config.ipv6_prefix)
        self._limit = config.max_connections
        self._limit_per_source = config.max_connections_per_source
        self._active = 0
        self._by_source: dict[bytes, int] = {}

    def enter(self, source: bytes) -> str:
        """Count one more connection, or return the option that forbids it."""
        if self._limit and self._active >= self._limit:
            return "max_connections"
        if self._limit_per_source:
            of_source = self._by_source.get(source, 0)
            if of_source >= self._limit_per_source:
                return "max_connections_per_source"
            self._by_source[source] = of_source + 1
        self._active += 1
        self.stats.connections_active += 1
        self.stats.connections_total += 1
        return ""

    def leave(self, source: bytes) -> None:
        self._active -= 1
        self.stats.connections_active -= 1
        if self._limit_per_source:
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]


class ConnectionLimit(Filter[ConnectionLimitConfig]):
    """Refuse connections while too many are open, over all of this place in the configuration or from one source.

        { use = "connection_limit", max_connections = 1000, max_connections_per_source = 20, ipv4_prefix = 24 }

    Each worker counts for itself, and a reload begins to count anew. A refused connection is closed as
    `connection_limit`. The listener has `max_connections` of its own, which costs less and knows no sources.
    """

    name = "connection_limit"
    shared: OpenConnections

    def __init__(self) -> None:
        self._source: bytes | None = None
        """Set while this connection is counted."""

    @classmethod
    def provision(cls, config: ConnectionLimitConfig, server: Server) -> OpenConnections:
        return OpenConnections(config, server.stats.group(ConnectionLimitStats, name=config.name))

    def on_connect(self) -> Awaitable[None] | None:
        source = self.shared.key_of(self.conn.client.host)
        limit = self.shared.enter(source)
        if not limit:
            self._source = source
            return None
        self.shared.stats.limited_total.add(limit)
        reason = CloseReason("filter", "on_connect", "connection_limit", self.name, message=f"{limit} is reached")
        return refuse(self.conn, reason, self.config.delay)

    def on_close(self, reason: CloseReason) -> None:
        if self._source is not None:
            self.shared.leave(self._source)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(ConnectionLimit)
