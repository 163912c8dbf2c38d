"""Connections to the endpoints of a cluster, kept and used again.

A request takes an endpoint from the cluster's balancer, and of that endpoint the connection that was used last: the
others grow old and are closed. Where all are busy, another one is made and the request waits; whichever is free first
has it. A cluster knows nothing of this: it is asked for an endpoint and for a stream.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from l4proxy.connect import Attempt, ConnectRequest
from l4proxy.connection import peer_of
from l4proxy.errors import UpstreamError
from l4proxy.plugins.http.stats import CLASSES, Http2Stats, HttpClusterStats
from l4proxy.plugins.http.versions import ASSUMED_STREAMS, client_connection, client_version
from l4proxy.protocols.grpc import is_grpc

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.http.config import Upstream
    from l4proxy.plugins.http.connection import ClientConnection
    from l4proxy.plugins.http.http2_shared import Http2Shared
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.server import Server
    from l4proxy.stream import Stream

MAX_HEAD = 80 * 1024
MAX_FIELDS = 100
"""What a response may have. As in Envoy, an endpoint may say a little more than a client."""
HEAD_TIMEOUT = 30.0
"""Seconds until a header section that an endpoint has begun is complete."""

__all__ = ["ClusterPool", "EndpointPool", "Waiter", "cluster_pool"]


class Waiter(Protocol):
    """Who wants a connection."""

    def on_connection(self, connection: ClientConnection) -> None:
        """Here it is, with room for a request."""

    def on_no_connection(self, error: UpstreamError) -> None:
        """None could be had."""


class Wait:
    """A request that waits for a connection to an endpoint."""

    __slots__ = ("pool", "waiter")

    def __init__(self, pool: EndpointPool, waiter: Waiter) -> None:
        self.pool = pool
        self.waiter = waiter

    def cancel(self) -> None:
        self.pool.leave(self)


class EndpointPool:
    """The connections to one endpoint. What a `ClientConnection` has for its host."""

    def __init__(self, owner: ClusterPool, endpoint: Endpoint, protocol: str) -> None:
        """``protocol``: as in configurations."""
        self.owner = owner
        self.endpoint = endpoint
        self.protocol = protocol
        self.ready: dict[ClientConnection, None] = {}
        """Those with room, the last used one last."""
        self.connections: set[ClientConnection] = set()
        self.waiting: deque[Wait] = deque()
        self.making: dict[Attempt, None] = {}
        """Connections that are being made, the oldest first. Whichever is there first is for whoever has waited
        longest; should one fail, it was for whoever has its place among those that wait."""
        self._connecting = False
        self.streams = ASSUMED_STREAMS if protocol == "http2" else 1
        """How many requests a connection takes at a time, as the last one has said: so many wait for the same one."""

    def acquire(self, waiter: Waiter, *, fresh: bool = False) -> Wait | None:
        """Give ``waiter`` a connection, now (then None is returned) or later. ``fresh``: one that nobody has used;
        where many share one, one that takes requests has not failed."""
        if (not fresh or self.streams > 1) and self.ready and (connection := self._take()) is not None:
            waiter.on_connection(connection)
            return None
        return self._wait(waiter)

    def _take(self) -> ClientConnection | None:
        """A connection with room for a request."""
        ready = self.ready
        while ready:
            connection = ready.popitem()[0]
            capacity = connection.capacity
            if capacity > 1:
                ready[connection] = None
            if capacity > 0:
                return connection
        return None

    def _wait(self, waiter: Waiter) -> Wait | None:
        owner = self.owner
        if owner.pending >= owner.options.max_pending:
            owner.stats.overflow_total.add("max_pending")
            text = f"cluster {owner.cluster.name}: {owner.pending} requests are waiting already (max_pending)"
            waiter.on_no_connection(UpstreamError("UO", "max_pending", text))
            return None
        wait = Wait(self, waiter)
        self.waiting.append(wait)
        owner.pending += 1
        self._connect_more()
        return wait if wait in self.waiting else None

    def _connect_more(self) -> None:
        """Make connections for those that wait: one for each, or for as many as share one.

        A connection on loopback is there before ``start`` returns, and whoever gets it may need another one. So this is
        a loop that is not entered twice, and not a recursion as deep as there are requests.
        """
        if self._connecting:
            return
        self._connecting = True
        limit = self.owner.options.max_connections
        try:
            while len(self.making) * self.streams < len(self.waiting):
                if limit and len(self.connections) + len(self.making) >= limit:
                    break
                self._connect()
        finally:
            self._connecting = False

    def _connect(self) -> None:
        request = ConnectRequest(endpoint=self.endpoint, reports=True)
        attempt = Attempt(
            self.owner.cluster,
            request,
            lambda stream, _endpoint: self._connected(attempt, stream),
            lambda error: self._failed(attempt, error),
        )
        self.making[attempt] = None
        attempt.start()

    def leave(self, wait: Wait) -> None:
        """Wait no longer."""
        if wait in self.waiting:
            self.waiting.remove(wait)
            self.owner.pending -= 1
        self._cancel_surplus()
        if self.waiting:
            self._connect_more()

    def _cancel_surplus(self) -> None:
        """Stop making connections that nobody waits for any more, the youngest first."""
        making = self.making
        while making and (len(making) - 1) * self.streams >= len(self.waiting):
            making.popitem()[0].cancel()

    def _connected(self, attempt: Attempt, stream: Stream) -> None:
        del self.making[attempt]
        connection = self.owner.make(stream, self.endpoint, self)
        connection.peer = peer_of(stream.sock)
        self.connections.add(connection)
        if connection.capacity:
            self.ready[connection] = None
            self._serve()

    def _failed(self, attempt: Attempt, error: UpstreamError) -> None:
        """An attempt has failed: so has the request that has its place, and when there is no other attempt, all that
        would have shared the connection."""
        place = list(self.making).index(attempt)
        del self.making[attempt]
        failed = list(self.waiting)
        if self.making or self.streams == 1:
            failed = failed[place : place + 1]
        for wait in failed:
            if wait in self.waiting:
                self.waiting.remove(wait)
                self.owner.pending -= 1
                wait.waiter.on_no_connection(error)

    def on_capacity(self, connection: ClientConnection) -> None:
        self.streams = connection.most
        limit = self.owner.options.requests_per_connection
        if self.endpoint.draining or (limit and connection.requests >= limit):
            connection.drain()
            return
        self.ready[connection] = None
        if self.waiting:
            self._serve()
        elif not self.owner.watching:
            self.owner.watch_idle()

    def on_gone(self, connection: ClientConnection) -> None:
        self.connections.discard(connection)
        self.ready.pop(connection, None)
        if not self.connections and not self.waiting:
            self.owner.forget(self)
        elif self.waiting:
            self._connect_more()

    def _serve(self) -> None:
        """Give what is ready to those that wait."""
        while self.waiting and (connection := self._take()) is not None:
            wait = self.waiting.popleft()
            self.owner.pending -= 1
            self._cancel_surplus()
            wait.waiter.on_connection(connection)
        if self.waiting:
            self._connect_more()

    def close_idle(self) -> None:
        """Close the connections that have carried nothing since the last look."""
        idle = [one for one in self.ready if not one.active]
        for connection in idle:
            if connection.requests == connection.requests_seen or self.endpoint.draining:
                connection.drain()
            else:
                connection.requests_seen = connection.requests


class ClusterPool:
    """The connections to the endpoints of one cluster, and the limits of its requests."""

    def __init__(self, cluster: Cluster, options: Upstream, server: Server) -> None:
        self.cluster = cluster
        self.options = options
        self.server = server
        self.stats = server.stats.group(HttpClusterStats, cluster=cluster.name)
        self._pools: dict[Endpoint, EndpointPool] = {}
        self._grpc_pools: dict[Endpoint, EndpointPool] = {}
        self._parts_grpc = options.protocol == "auto" and cluster.tls is None
        """Nothing says what endpoints speak, but whoever serves gRPC speaks HTTP/2 with those who know that beforehand,
        and cannot be asked over HTTP/1. So these calls have connections of their own."""
        self.active = 0
        """Requests under way."""
        self.pending = 0
        """Those of them that wait for a connection."""
        self.retrying = 0
        self.responses = dict.fromkeys(CLASSES[1:], 0)
        """Responses by class of status that the statistics have not yet."""
        self.watching = False
        self._counted = (0, 0)
        """What the statistics, which pools of one cluster share, have of ``active`` and ``pending``."""
        server.stats.on_collect(self._collect)

    def _collect(self) -> None:
        active, pending = self._counted
        self._counted = self.active, self.pending
        self.stats.requests_active += self.active - active
        self.stats.requests_pending += self.pending - pending
        for status_class, count in self.responses.items():
            if count:
                self.stats.responses_total.add(status_class, count)
                self.responses[status_class] = 0

    def pool(self, endpoint: Endpoint, request: HttpRequest) -> EndpointPool:
        """Where a request finds a connection to an endpoint."""
        if self._parts_grpc and request.kind == "POST" and is_grpc(request.field("content-type")):
            pool = self._grpc_pools.get(endpoint)
            if pool is None:
                pool = self._grpc_pools[endpoint] = EndpointPool(self, endpoint, "http2")
            return pool
        pool = self._pools.get(endpoint)
        if pool is None:
            pool = self._pools[endpoint] = EndpointPool(self, endpoint, self.options.protocol)
        return pool

    def forget(self, pool: EndpointPool) -> None:
        for pools in self._pools, self._grpc_pools:
            if pools.get(pool.endpoint) is pool:
                del pools[pool.endpoint]

    def make(self, stream: Stream, endpoint: Endpoint, pool: EndpointPool) -> ClientConnection:
        """A connection of the version that the configuration, or TLS, says."""
        return client_connection(client_version(pool.protocol, stream), stream, endpoint, pool)

    @cached_property
    def http2(self) -> Http2Shared:
        """For connections that speak it; made for the first one."""
        from l4proxy.plugins.http.http2_shared import Http2Shared

        options = self.options.http2
        limits = options.limits(max_head=MAX_HEAD, max_fields=MAX_FIELDS, head_timeout=HEAD_TIMEOUT, stall_timeout=0)
        stats = self.server.stats.group(Http2Stats, peers=f"endpoints of {self.cluster.name}")
        return Http2Shared(options, limits, stats, self.server)

    def watch_idle(self) -> None:
        """Look after connections that nobody uses, as long as there are any: twice in their time, so that nobody has to
        ask the clock for every request."""
        seconds = self.options.idle_timeout
        if seconds:
            self.watching = True
            self.cluster.timers.call_later(seconds / 2, self._close_idle)

    def _close_idle(self) -> None:
        self.watching = False
        for pool in [*self._pools.values(), *self._grpc_pools.values()]:
            pool.close_idle()
        if any(pool.ready for pool in [*self._pools.values(), *self._grpc_pools.values()]):
            self.watch_idle()

    def may_retry(self) -> bool:
        """Whether the limits allow one more retry."""
        options = self.options
        return self.retrying < max(options.max_retries, int(self.active * options.retry_budget / 100))


class TunnelPool(ClusterPool):
    """Connections that each carry one tunnel (CONNECT), and then are no more."""

    def make(self, stream: Stream, endpoint: Endpoint, pool: EndpointPool) -> ClientConnection:
        from l4proxy.plugins.http.tunnel_client import TunnelClient

        return TunnelClient(stream, endpoint, pool)


def cluster_pool(cluster: Cluster, options: Upstream, server: Server, *, tunnels: bool = False) -> ClusterPool:
    """The pool of a cluster. All who have the same options share it, and it outlives reloads, as the cluster does."""
    make = TunnelPool if tunnels else ClusterPool
    key = make, options
    pool: ClusterPool | None = cluster.kept.get(key)
    if pool is None:
        pool = cluster.kept[key] = make(cluster, options, server)
    return pool
