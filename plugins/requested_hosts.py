"""Hosts that nobody has configured: one cluster for all of them, where every connection brings its own endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    from l4proxy.endpoint import Target
    from l4proxy.server import Server
    from l4proxy.tls import ClientTlsContext

__all__ = ["HostRequest", "RequestedHosts", "host_cluster", "sibling_cluster"]


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
    return _own(settings, None, None, server)


def sibling_cluster(configured: Cluster, suffix: str, server: Server) -> Cluster:
    """A cluster of our own beside a configured one, with the same options, for hosts that its endpoints have named.
    It is called ``NAME/suffix``, and is made the first time; after a reload, what the configured one has now holds."""
    settings = replace(
        configured.config,
        name=f"{configured.name}/{suffix}",
        endpoints=(),
        discovery=Use(RequestedHosts.name, NoConfig(), cls=RequestedHosts),
        load_balancer=Use("random", NoConfig(), cls=RandomChoice),  # never asked
    )
    return _own(settings, configured.tls, configured.source, server)


def _own(settings: schema.Cluster, tls: ClientTlsContext | None, source: Target | None, server: Server) -> Cluster:
    clusters = server.clusters.own
    cluster = clusters.get(settings.name)
    if cluster is None:
        parts = Parts(settings, RequestedHosts(NoConfig(), settings), (), tls, source)
        cluster = clusters[settings.name] = Cluster(parts, server)
    else:
        cluster.take_over(Parts(settings, cluster.discovery, None, tls, source))
    return cluster
