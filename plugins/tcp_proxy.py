"""``tcp_proxy``: connect the client to an endpoint of a cluster and let the bytes run both ways.

It reads no bytes itself, so that a chain of nothing else is moved by the kernel.
"""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy import Register, UpstreamError, hookimpl
from l4proxy.balancer import stable_hash
from l4proxy.config.types import ClusterName, Duration, Range
from l4proxy.connect import ConnectRequest
from l4proxy.plugins.forwarder import Forwarder

if TYPE_CHECKING:
    from l4proxy.cluster_manager import ClusterManager
    from l4proxy.server import Server

__all__ = ["TcpProxy", "TcpProxyConfig", "WeightedCluster"]


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
    """Or several clusters, each with its share: `[{ cluster = "blue", weight = 9 }, { cluster = "green" }]`."""
    hash_policy: tuple[Literal["source_ip", "server_name", "port"], ...] = ()
    """What of a connection decides its endpoint, for `ring_hash` and `maglev`: the client's address, the TLS server
    name, the port that the client meant; several are taken together."""
    max_connect_attempts: Annotated[int, Range(1, 100)] = 1
    """Endpoints that are tried before the client is disconnected."""
    connect_backoff: Duration = Duration(0.0)
    """The pause before another endpoint is tried is random, up to this, then 3, then 7 times this, at most 10 times."""
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


class TcpProxy(Forwarder[TcpProxyConfig]):
    """Connect the client to an endpoint of a cluster and let the bytes run both ways.

    What the client sends before the upstream is connected waits, in a buffer of the listener's `buffer_limit`. Each
    side may end its direction while the other goes on.
    """

    name = "tcp_proxy"
    shared: ClusterChoice

    @classmethod
    def provision(cls, config: TcpProxyConfig, server: Server) -> ClusterChoice:
        return ClusterChoice(config, server.clusters)

    def on_connect(self) -> None:
        config, conn = self.config, self.conn
        try:
            cluster = self.shared.clusters.find(conn.chosen_upstream or self.shared.choose())
        except UpstreamError as error:
            conn.connect_failed(error)
            return
        request = ConnectRequest(
            hash_key=self._hash_key() if config.hash_policy else None,
            original_destination=conn.destination,
            server_name=conn.server_name,
            attempts=config.max_connect_attempts,
            backoff=config.connect_backoff,
        )
        self.forward(cluster, request, b"" if config.proxy_protocol == "off" else self._proxy_header())

    def _hash_key(self) -> int:
        conn = self.conn
        parts = {"source_ip": conn.client.host, "server_name": conn.server_name, "port": str(conn.destination[1])}
        return stable_hash("\0".join(parts[part] for part in self.config.hash_policy).encode())

    def _proxy_header(self) -> bytes:
        """A client without an IP address (a unix socket) is ``UNKNOWN`` or ``LOCAL``: HAProxy takes nothing else."""
        from l4proxy.protocols.proxy_protocol import encode_v1, encode_v2

        client, destination = self.conn.client, self.conn.destination
        encode = encode_v1 if self.config.proxy_protocol == "v1" else encode_v2
        if not client.host or not destination[0]:
            return encode(None, None)
        return encode((client.host, client.port), destination)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(TcpProxy)
