"""``tcp_proxy``: connect the client to an endpoint of a cluster and let the bytes run both ways.

The terminal filter of most chains. It reads no bytes itself, so that a chain of nothing else is moved by the kernel.
"""

from __future__ import annotations

import random
import time
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy import CloseReason, Filter, Register, UpstreamError, hookimpl
from l4proxy.balancer import stable_hash
from l4proxy.config.types import ClusterName, Duration, Range
from l4proxy.connect import ConnectRequest

if TYPE_CHECKING:
    from l4proxy.cluster_manager import ClusterManager
    from l4proxy.connect import Attempt
    from l4proxy.endpoint import Endpoint
    from l4proxy.server import Server
    from l4proxy.stream import Stream


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    cluster: ClusterName
    """A cluster."""
    weight: Annotated[int, Range(0)] = 1
    """Its share of connections, relative to the others'."""


@dataclass(frozen=True, slots=True)
class TcpProxyConfig:
    cluster: ClusterName | None = None
    """Where connections go, unless a filter before this one chose another cluster."""
    weighted_clusters: tuple[WeightedCluster, ...] = ()
    """Or several clusters, each with its share."""
    hash_policy: tuple[Literal["source_ip", "server_name", "port"], ...] = ()
    """What of a connection decides its endpoint, for `ring_hash` and `maglev`: the client's address, the TLS server
    name, the port that the client meant."""
    max_connect_attempts: Annotated[int, Range(1, 100)] = 1
    """Endpoints that are tried before the client is disconnected."""
    idle_timeout: Duration = Duration(3600.0)
    """A connection on which nothing moves for this long, or up to a quarter longer, is closed; 0: never."""
    max_connection_duration: Duration = Duration(0.0)
    """Close every connection that is this old; 0: never."""
    proxy_protocol: Literal["off", "v1", "v2"] = "off"
    """Tell the endpoint who the client is, with a PROXY protocol header."""

    def __post_init__(self) -> None:
        if bool(self.cluster) == bool(self.weighted_clusters):
            raise ValueError("cluster: write cluster, or weighted_clusters" + ("; not both" if self.cluster else ""))
        if self.weighted_clusters and not sum(one.weight for one in self.weighted_clusters):
            raise ValueError("weighted_clusters: at least one weight must be above 0")


class ClusterChoice:
    """Which cluster a connection goes to; shared by all connections of one use."""

    def __init__(self, config: TcpProxyConfig, clusters: ClusterManager) -> None:
        self.clusters = clusters
        self._names = [config.cluster] if config.cluster else [one.cluster for one in config.weighted_clusters]
        self._bounds = list(accumulate(one.weight for one in config.weighted_clusters))

    def choose(self) -> str:
        if not self._bounds:
            return self._names[0]
        return self._names[bisect(self._bounds, random.random() * self._bounds[-1])]


class TcpProxy(Filter[TcpProxyConfig]):
    """Connect the client to an endpoint of a cluster and let the bytes run both ways."""

    name = "tcp_proxy"
    terminal = True
    shared: ClusterChoice

    def __init__(self) -> None:
        self._attempt: Attempt | None = None
        self._activity = -1
        self._quiet_quarters = 0

    @classmethod
    def provision(cls, config: TcpProxyConfig, server: Server) -> ClusterChoice:
        return ClusterChoice(config, server.clusters)

    def on_connect(self) -> None:
        config, conn = self.config, self.conn
        name = conn.chosen_upstream or self.shared.choose()
        request = ConnectRequest(
            hash_key=self._hash_key() if config.hash_policy else None,
            original_destination=conn.destination,
            server_name=conn.server_name,
            attempts=config.max_connect_attempts,
        )
        conn.connecting(name)
        try:
            cluster = self.shared.clusters.find(name)
        except UpstreamError as error:
            self._failed(error)
            return
        if config.idle_timeout:
            self._watch()
        if config.max_connection_duration:
            conn.call_later(config.max_connection_duration, self._too_old)
        self._started = time.monotonic()
        attempt = cluster.connect(request, self._connected, self._failed)
        if not attempt.done:
            self._attempt = attempt

    def _hash_key(self) -> int:
        conn = self.conn
        parts = {"source_ip": conn.client.host, "server_name": conn.server_name, "port": str(conn.destination[1])}
        return stable_hash("\0".join(parts[part] for part in self.config.hash_policy).encode())

    def _connected(self, stream: Stream, endpoint: Endpoint) -> None:
        attempt, self._attempt = self._attempt, None
        if self.config.proxy_protocol != "off":
            stream.write(self._proxy_header())
        self.conn.attach_upstream(
            stream,
            endpoint=endpoint.name,
            attempts=attempt.number if attempt else 1,
            connect_seconds=time.monotonic() - self._started,
        )

    def _proxy_header(self) -> bytes:
        from l4proxy.protocols.proxy_protocol import encode_v1, encode_v2

        client = self.conn.client
        source, destination = (client.host, client.port), self.conn.destination
        return encode_v1(source, destination) if self.config.proxy_protocol == "v1" else encode_v2(source, destination)

    def _failed(self, error: UpstreamError) -> None:
        self._attempt = None
        self.conn.close(
            CloseReason(
                "upstream", "connecting", error.detail, errno=error.errno, flags=(error.flag,), message=str(error)
            )
        )

    def _watch(self) -> None:
        """Look four times per idle timeout whether anything has moved: no clock is read per chunk."""
        activity = self.conn.activity
        self._quiet_quarters = self._quiet_quarters + 1 if activity == self._activity else 0
        self._activity = activity
        if self._quiet_quarters == 4:
            self.conn.close(CloseReason("proxy", "relay", "idle_timeout"))
        else:
            self.conn.call_later(self.config.idle_timeout / 4, self._watch)

    def _too_old(self) -> None:
        self.conn.close(CloseReason("proxy", "relay", "max_connection_duration", flags=("DT",)))

    def on_close(self, reason: CloseReason) -> None:
        if self._attempt is not None:
            self._attempt.cancel()


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(TcpProxy)
