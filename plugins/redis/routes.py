"""From the configuration to routes and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.cluster_target import ClusterTarget
from l4proxy.plugins.redis.replicated import ReplicationTarget, SentinelTarget
from l4proxy.plugins.redis.router import Mirror, Route
from l4proxy.plugins.redis.target import HashTarget, Servers, Target
from l4proxy.plugins.redis.watched import WatchedTarget

if TYPE_CHECKING:
    from l4proxy.plugins.redis.config import MirrorConfig
    from l4proxy.plugins.redis.hub import Hub

__all__ = ["make_routes"]

HASHING = frozenset(("ring_hash", "maglev"))
"""Balancers that divide keys among servers."""
_WATCHED: dict[str, type[WatchedTarget]] = {
    "cluster": ClusterTarget,
    "sentinel": SentinelTarget,
    "replication": ReplicationTarget,
}


def make_routes(hub: Hub) -> list[Route]:
    """Those that are written, and the last resort."""
    config = hub.config
    targets = {one.cluster: _target(hub, one.cluster) for one in config.all_upstreams()}

    def mirrors(configured: tuple[MirrorConfig, ...]) -> tuple[Mirror, ...]:
        return tuple(Mirror(targets[one.cluster], one.percent) for one in configured)

    routes = [
        Route(
            route.prefix.encode(),
            targets[route.cluster],
            route.replacement(),
            targets[route.read_cluster] if route.read_cluster else None,
            mirrors(route.mirrors),
        )
        for route in config.routes
    ]
    if config.cluster:
        reads = targets[config.read_cluster] if config.read_cluster else None
        routes.append(Route(b"", targets[config.cluster], None, reads, mirrors(config.mirrors)))
    return routes


def _target(hub: Hub, name: str) -> Target:
    """What kind of cluster it is, its own configuration says."""
    settings = hub.config.upstream(name)
    if settings.topology != "servers":
        return _WATCHED[settings.topology](hub, settings)
    try:
        cluster = hub.clusters.find(name)
    except UpstreamError:
        return Servers(hub, settings)  # which says so to each client
    if cluster.config.load_balancer.name in HASHING:
        return HashTarget(hub, settings)
    return Servers(hub, settings)
