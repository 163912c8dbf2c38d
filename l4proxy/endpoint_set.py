"""The endpoints of one cluster: who came, who went, who is still being drained, and what they carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.endpoint import Endpoint, EndpointSpec, EndpointStats

if TYPE_CHECKING:
    from l4proxy.cluster import ClusterStats
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.stream import Stream
    from l4proxy.timers import Timer, Timers

__all__ = ["EndpointRemoved", "EndpointSet"]


class EndpointRemoved(ConnectionAbortedError):
    """A connection outlived its endpoint by more than ``drain_removed``."""


class EndpointSet:
    """Endpoints by name. An endpoint that is removed takes no new connections; those it has may go on for
    ``drain_time`` seconds (0: for ever). One that comes back in that time is the same object again."""

    def __init__(
        self,
        cluster: str,
        registry: StatsRegistry,
        totals: ClusterStats,
        timers: Timers,
        on_freed: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_freed`` is called whenever a connection was closed."""
        self.current: dict[str, Endpoint] = {}
        self.removed: dict[str, Endpoint] = {}
        self.drain_time = 0.0
        self.panic_threshold = 0.0
        """Percent. Where fewer endpoints are available, all of them may be chosen: health checks, or the network, are
        then rather at fault than the endpoints, and the few that are left would be overrun (Envoy's panic mode)."""
        self.open = 0
        """Connections, to removed endpoints too."""
        self._cluster = cluster
        self._registry = registry
        self._totals = totals
        self._timers = timers
        self._on_freed = on_freed
        self._limits: dict[str, Timer] = {}
        self._used: set[str] = set()

    # Membership

    def available(self) -> list[Endpoint]:
        """Those that are known to be well, for who asks how the cluster is: panic makes nobody well."""
        return [endpoint for endpoint in self.current.values() if endpoint.weight > 0 and endpoint.available]

    def choosable(self) -> list[Endpoint]:
        """Those that a balancer chooses from."""
        wanted = [endpoint for endpoint in self.current.values() if endpoint.weight > 0]
        available = [endpoint for endpoint in wanted if endpoint.available]
        return wanted if len(available) * 100 < self.panic_threshold * len(wanted) else available

    def update(self, specs: Iterable[EndpointSpec]) -> bool:
        """Take over the whole list. Returns whether a balancer would choose differently."""
        before = {endpoint: endpoint.weight for endpoint in self.choosable()}
        wanted: dict[str, EndpointSpec] = {}
        for spec in specs:
            wanted.setdefault(spec.name, spec)
        old, self.current = self.current, {name: self._take(spec) for name, spec in wanted.items()}
        for name in old.keys() - wanted.keys():
            self._remove(old[name])
        self._totals.endpoints = len(self.current)
        self._totals.endpoints_draining = len(self.removed)
        return before != {endpoint: endpoint.weight for endpoint in self.choosable()}

    def on_demand(self, spec: EndpointSpec) -> Endpoint:
        """The endpoint that a connection asked for; it stays while ``sweep`` finds it used."""
        self._used.add(spec.name)
        endpoint = self.current.get(spec.name)
        if endpoint is None:
            endpoint = self.current[spec.name] = self._take(spec)
            self._totals.endpoints = len(self.current)
        elif endpoint.spec != spec:
            endpoint.update(spec)
        return endpoint

    def sweep(self) -> int:
        """Forget the endpoints that have no connection and got none since the last sweep. Returns how many are left."""
        for name, endpoint in list(self.current.items()):
            if not endpoint.connections and name not in self._used:
                del self.current[name]
                self._forget(endpoint)
        self._used.clear()
        self._totals.endpoints = len(self.current)
        return len(self.current)

    def _take(self, spec: EndpointSpec) -> Endpoint:
        """The endpoint of this name, whether it is there, is being drained, or has to be made."""
        endpoint = self.current.get(spec.name)
        if endpoint is None and (endpoint := self.removed.pop(spec.name, None)) is not None:
            endpoint.draining = False
            self._stop_limit(spec.name)
        if endpoint is not None:
            endpoint.update(spec)
            return endpoint
        endpoint = Endpoint(spec)
        endpoint.stats = self._registry.group(EndpointStats, cluster=self._cluster, endpoint=spec.name)
        endpoint.release = partial(self._closed, endpoint)
        return endpoint

    def _remove(self, endpoint: Endpoint) -> None:
        endpoint.draining = True
        if not endpoint.connections:
            self._forget(endpoint)
            return
        self.removed[endpoint.name] = endpoint
        if self.drain_time:
            self._limits[endpoint.name] = self._timers.call_later(self.drain_time, partial(self._cut, endpoint))

    def _cut(self, endpoint: Endpoint) -> None:
        """The time of a removed endpoint's connections is over."""
        for stream in list(endpoint.streams):
            stream.lose(EndpointRemoved(f"endpoint {endpoint.name} was removed"))

    def _forget(self, endpoint: Endpoint) -> None:
        self._collect_one(endpoint)
        self._stop_limit(endpoint.name)
        self.removed.pop(endpoint.name, None)
        self._totals.endpoints_draining = len(self.removed)
        self._registry.discard(endpoint.stats)

    def _stop_limit(self, name: str) -> None:
        timer = self._limits.pop(name, None)
        if timer is not None:
            timer.cancel()

    # Connections

    def opened(self, endpoint: Endpoint, stream: Stream, seconds: float) -> None:
        """A connection was made; ``endpoint.connections`` counts it already."""
        stream.on_closed = endpoint.release
        endpoint.streams.add(stream)
        self.open += 1
        for stats in (endpoint.stats, self._totals):
            stats.connections_total += 1
            stats.connections_active += 1
            stats.connect_seconds.record(seconds)

    def _closed(self, endpoint: Endpoint, stream: Stream) -> None:
        endpoint.streams.discard(stream)
        endpoint.traffic.closed(stream)
        self.open -= 1
        endpoint.stats.connections_active -= 1
        self._totals.connections_active -= 1
        self.released(endpoint)
        self._on_freed()

    def attempted(self, endpoint: Endpoint) -> None:
        """A connection is being made. It ends with ``released``, by failing or when the stream is closed."""
        endpoint.connections += 1
        endpoint.active += 1

    def released(self, endpoint: Endpoint) -> None:
        endpoint.connections -= 1
        endpoint.active -= 1
        if endpoint.draining and not endpoint.connections:
            self._forget(endpoint)

    def each(self, call: Callable[[Stream], object]) -> None:
        """Call with every open stream."""
        for endpoint in (*self.current.values(), *self.removed.values()):
            for stream in list(endpoint.streams):
                call(stream)

    # Statistics

    def collect(self) -> None:
        """Fold the bytes of open streams into the counters; called before statistics are read."""
        for endpoint in (*self.current.values(), *self.removed.values()):
            self._collect_one(endpoint)
            endpoint.stats.available = int(endpoint.available and not endpoint.draining)
        self._totals.endpoints_available = sum(endpoint.available for endpoint in self.current.values())

    def _collect_one(self, endpoint: Endpoint) -> None:
        received, sent = endpoint.traffic.collect(endpoint.streams)
        for stats in (endpoint.stats, self._totals):
            stats.received_bytes_total += received
            stats.sent_bytes_total += sent
