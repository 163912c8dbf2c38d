"""A cluster: endpoints that do the same, and the one way to get a connection to them.

What filters use is `Cluster.connect` (callbacks; nothing waits) and `Cluster.open` (for coroutines). A cluster outlives
reloads: a changed configuration is taken over by the same object, so that connections, counters and endpoints that are
in both simply go on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from l4proxy.connect import Attempt, ConnectRequest
from l4proxy.discovery import OnDemandDiscovery
from l4proxy.endpoint_set import EndpointSet
from l4proxy.errors import UpstreamError
from l4proxy.on_demand import OnDemand
from l4proxy.sockets import set_keepalive
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l4proxy.balancer import LoadBalancer
    from l4proxy.config import schema
    from l4proxy.discovery import Discovery
    from l4proxy.endpoint import Endpoint, EndpointSpec, Target
    from l4proxy.health import Health
    from l4proxy.health_check import HealthCheck
    from l4proxy.outlier_detection import Outliers
    from l4proxy.poller import Poller
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.stream import Stream
    from l4proxy.timers import Timers
    from l4proxy.tls import ClientTlsContext

__all__ = ["Cluster", "ClusterStats", "Parts", "Runtime"]

log = logging.getLogger("l4proxy.cluster")

DISCOVERY_PAUSE = 5.0
"""Seconds until a discovery that raised is run again."""


class ClusterStats(Stats, subsystem="cluster", labels=("cluster",)):
    """Connections to a cluster, all its endpoints together."""

    connections_total = counter("Connections made.")
    connections_active = gauge("Connections open now.")
    connections_pending = gauge("Connections that wait for endpoints to be known, or for others to be closed.")
    connect_failed_total = labelled_counter("Attempts to connect that failed, by reason.", label="reason")
    connect_seconds = histogram("How long it took to connect, TLS handshake included.", buckets=SECONDS)
    retries_total = counter("Further attempts after one that failed.")
    received_bytes_total = counter("Bytes received from endpoints.")
    sent_bytes_total = counter("Bytes sent to endpoints.")
    endpoints = gauge("Endpoints known now.")
    endpoints_available = gauge("Endpoints that are neither unhealthy nor ejected.")
    endpoints_draining = gauge("Endpoints that were removed and still have connections.")
    discovery_updates_total = counter("Look-ups or reads of endpoints that went well.")
    discovery_failures_total = counter("Look-ups or reads of endpoints that failed.")


class Runtime(Protocol):
    """What a cluster needs of the server."""

    @property
    def poller(self) -> Poller: ...
    @property
    def timers(self) -> Timers: ...
    @property
    def stats(self) -> StatsRegistry: ...


@dataclass(slots=True)
class Parts:
    """A configuration with everything made of it that can fail, so that taking it over cannot."""

    config: schema.Cluster
    discovery: Discovery[Any]
    known: Sequence[EndpointSpec] | None
    """What a new discovery knows without waiting."""
    tls: ClientTlsContext | None
    source: Target | None
    health_check: HealthCheck[Any] | None = None
    health_check_tls: ClientTlsContext | None = None


class Cluster:
    """One entry of ``clusters``."""

    def __init__(self, parts: Parts, runtime: Runtime) -> None:
        self.name = parts.config.name
        self.poller = runtime.poller
        self.timers = runtime.timers
        self.stats = runtime.stats.group(ClusterStats, cluster=self.name)
        self.endpoints = EndpointSet(self.name, runtime.stats, self.stats, runtime.timers, self._slot_freed)
        self.ready = False
        """The endpoints are known, be it that there are none."""
        self.removed = False
        """The configuration has it no more."""
        self.connecting = 0
        self.kept: dict[object, Any] = {}
        """What filters keep with it for as long as it exists, by keys of their own: pools of connections."""
        self._pending: dict[Attempt, None] = {}
        self._waiting: dict[Callable[[], None], None] = {}
        self._running: asyncio.Task[None] | None = None
        self._health: Health | None = None
        self._outliers: Outliers | None = None
        self._configure(parts)
        self._use_discovery(parts)

    # Configuration

    def take_over(self, parts: Parts) -> None:
        """Go on with another configuration. Discovery goes on where its own part is the same object."""
        self.removed = False
        self._configure(parts)
        if parts.discovery is not self.discovery:
            running = self._running is not None
            self._stop_discovery()
            self._use_discovery(parts)
            if running:
                self.start()
        self._follow_endpoints()
        self._rebalance()
        self._advance()

    def _configure(self, parts: Parts) -> None:
        self.config = parts.config
        self.tls = parts.tls
        self.source = parts.source
        self.endpoints.drain_time = parts.config.drain_removed
        self.endpoints.panic_threshold = parts.config.panic_threshold
        if self._health is None and parts.health_check is not None:
            from l4proxy.health import Health

            self._health = Health(self.name, self._rebalance)
        if self._health is not None:
            self._health.use(parts.health_check, parts.health_check_tls, parts.source)
        if self._outliers is None and parts.config.outlier_detection is not None:
            from l4proxy.outlier_detection import Outliers

            self._outliers = Outliers(self.name, self.timers, self._rebalance)
        if self._outliers is not None:
            self._outliers.use(parts.config.outlier_detection)

    def _use_discovery(self, parts: Parts) -> None:
        self.discovery = discovery = parts.discovery
        self.on_demand: OnDemand | None = None
        if isinstance(discovery, OnDemandDiscovery):
            self.on_demand = OnDemand(discovery, self.endpoints, self.timers)
        self._rebalance()
        if parts.known is not None:
            self._update(parts.known)

    def start(self) -> None:
        """Begin to discover endpoints."""
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._discover(self.discovery))
            self._follow_endpoints()

    async def _discover(self, discovery: Discovery[Any]) -> None:
        while True:
            try:
                await discovery.run(self._update)
                return
            except Exception as error:
                discovery.report(f"{type(error).__name__}: {error}")
                log.exception("cluster %s: discovery %s failed", self.name, discovery.name)
            await asyncio.sleep(DISCOVERY_PAUSE)

    def _stop_discovery(self) -> None:
        if self._running is not None:
            self._running.cancel()
            self._running = None
        if self.on_demand is not None:
            self.on_demand.close()

    def _update(self, specs: Sequence[EndpointSpec]) -> None:
        """Discovery's word on which endpoints there are."""
        changed = self.endpoints.update(specs)
        self._follow_endpoints()
        if changed or not self.ready:
            self._rebalance()
        self.ready = True
        for call in list(self._waiting):
            call()
        self._advance()

    def _follow_endpoints(self) -> None:
        """Tell those who look after the endpoints' health which endpoints there are."""
        endpoints = self.endpoints.current.values()
        if self._health is not None and self._running is not None:
            self._health.follow(endpoints)
        if self._outliers is not None:
            self._outliers.follow(endpoints)

    def _rebalance(self) -> None:
        use = self.config.load_balancer
        self.balancer: LoadBalancer[Any] = use.cls(use.config, self.endpoints.choosable())

    def remove(self) -> None:
        """The configuration has no such cluster any more: its connections drain, new ones fail."""
        self.removed = True
        self.endpoints.update(())
        self._follow_endpoints()
        self._stop_discovery()
        self._rebalance()
        for attempt in list(self._pending):
            attempt.refuse(self._no_cluster())

    async def stop(self) -> None:
        """The server stops: nothing of this cluster stays open."""
        running = self._running
        self._stop_discovery()
        if self._health is not None:
            await self._health.stop()
        if self._outliers is not None:
            self._outliers.stop()
        for attempt in list(self._pending):
            attempt.cancel()
        self.endpoints.each(lambda stream: stream.close())
        if running is not None:
            await asyncio.wait([running])

    # Connecting

    def connect(
        self,
        request: ConnectRequest,
        on_connected: Callable[[Stream, Endpoint], object],
        on_failed: Callable[[UpstreamError], object],
    ) -> Attempt:
        """Connect to an endpoint. One of the callbacks is called, once, **possibly before this returns** (then the
        attempt is ``done``), unless the attempt is cancelled. The stream belongs to the caller, who calls its
        ``start()``."""
        attempt = Attempt(self, request, on_connected, on_failed)
        attempt.start()
        return attempt

    def admit(self, attempt: Attempt) -> None:
        """Let an attempt begin now, or when there is room, or refuse it."""
        if self.removed:
            attempt.refuse(self._no_cluster())
        elif self.ready and not self._pending and self._has_room():
            attempt.begin()
        elif len(self._pending) < self.config.max_pending:
            self._pending[attempt] = None
            self.stats.connections_pending += 1
            attempt.wait()
        else:
            text = f"cluster {self.name}: {len(self._pending)} connections are waiting already (max_pending)"
            attempt.refuse(UpstreamError("UO", "max_pending", text))

    async def open(self, request: ConnectRequest) -> tuple[Stream, Endpoint]:
        """Connect to an endpoint, for code that may wait. Raises UpstreamError."""
        result: asyncio.Future[tuple[Stream, Endpoint]] = asyncio.get_running_loop().create_future()

        def connected(stream: Stream, endpoint: Endpoint) -> None:
            if result.cancelled():
                stream.close()
            else:
                result.set_result((stream, endpoint))

        def failed(error: UpstreamError) -> None:
            if not result.cancelled():
                result.set_exception(error)

        attempt = self.connect(request, connected, failed)
        try:
            return await result
        except asyncio.CancelledError:
            attempt.cancel()
            if result.done() and not result.cancelled() and result.exception() is None:
                result.result()[0].close()
            raise

    def when_ready(self, call: Callable[[], object]) -> None:
        """Call once when the endpoints are known, or the connect timeout is over; at once where they are known already.
        For filters that choose endpoints by themselves: attempts wait by themselves."""
        if self.ready:
            call()
            return

        def once() -> None:
            timer.cancel()
            if self._waiting.pop(once, self) is None:
                call()

        timer = self.timers.call_later(self.config.connect_timeout, once)
        self._waiting[once] = None

    def _has_room(self) -> bool:
        return self.endpoints.open + self.connecting < self.config.max_connections

    def _slot_freed(self) -> None:
        if self._pending:
            self.poller.defer(self._advance)

    def _advance(self) -> None:
        """Let those begin that have waited, as many as there is room for."""
        while self._pending and self.ready and self._has_room():
            attempt = next(iter(self._pending))
            self.leave_queue(attempt)
            try:
                attempt.begin()
            except Exception:
                log.exception("cluster %s: a callback failed", self.name)

    # What attempts ask and tell

    def leave_queue(self, attempt: Attempt) -> None:
        if attempt in self._pending:
            del self._pending[attempt]
            self.stats.connections_pending -= 1

    def finished(self) -> None:
        """An attempt that had begun is over."""
        self.connecting -= 1
        self._slot_freed()

    def waited_in_vain(self) -> UpstreamError:
        """Why an attempt had to wait for longer than the connect timeout."""
        if not self.ready:
            return self.no_endpoint()
        text = f"cluster {self.name}: all {self.config.max_connections} connections are in use (max_connections)"
        return UpstreamError("UO", "max_connections", text)

    def no_endpoint(self) -> UpstreamError:
        problem = self.discovery.problem
        text = f"cluster {self.name} has no endpoint" + (f": {problem}" if problem else "")
        if self.endpoints.current and self.ready:
            count = len(self.endpoints.current)
            text = f"cluster {self.name} has no endpoint that is well: {count} are unhealthy, ejected or of weight 0"
        return UpstreamError("UH", "no_healthy_upstream", text)

    def _no_cluster(self) -> UpstreamError:
        return UpstreamError("NC", "no_cluster", f"cluster {self.name} was removed from the configuration")

    def tune(self, sock: socket.socket) -> None:
        """Set the options of a connected TCP socket."""
        if self.config.nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        set_keepalive(sock, self.config.keepalive)

    # Statistics

    def collect(self) -> None:
        """Bring the counters up to date; called before statistics are read."""
        self.endpoints.collect()
        self.stats.discovery_updates_total += self.discovery.updates
        self.stats.discovery_failures_total += self.discovery.failures
        self.discovery.updates = self.discovery.failures = 0
