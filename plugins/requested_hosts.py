"""Hosts that nobody has configured: one cluster for all of them, where every connection brings its own endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy import NoConfig
from l4proxy.cluster import Cluster, Parts
from l4proxy.config import schema
from l4proxy.config.types import Duration, Use
from l4proxy.connect import ConnectRequest
from l4proxy.discovery import OnDemandDiscovery
from l4proxy.endpoint import EndpointSpec
from l4proxy.plugins.random_choice import RandomChoice

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["HostRequest", "RequestedHosts", "host_cluster"]


@dataclass(slots=True)
class HostRequest(ConnectRequest):
    """A connection to a host whose addresses are known."""

    host: EndpointSpec | None = None


class RequestedHosts(OnDemandDiscovery[NoConfig]):
    """The endpoint is the one in the request."""

    name = "requested_hosts"

    def find(self, request: ConnectRequest, found: Callable[[EndpointSpec | None], None]) -> None:
        assert isinstance(request, HostRequest)
        found(request.host)


def host_cluster(name: str, connect_timeout: float, max_connections: int, server: Server) -> Cluster:
    """The server's cluster of this name, made the first time. It outlives reloads, as configured clusters do, so that
    connections and statistics go on; the settings given last hold."""
    settings = schema.Cluster(
        name,
        connect_timeout=Duration(connect_timeout),
        max_connections=max_connections,
        discovery=Use(RequestedHosts.name, NoConfig(), cls=RequestedHosts),
        load_balancer=Use("random", NoConfig(), cls=RandomChoice),  # never asked
    )
    clusters = server.clusters.own
    cluster = clusters.get(name)
    if cluster is None:
        parts = Parts(settings, RequestedHosts(NoConfig(), settings), (), None, None)
        cluster = clusters[name] = Cluster(parts, server)
    else:
        cluster.take_over(Parts(settings, cluster.discovery, None, None, None))
    return cluster
