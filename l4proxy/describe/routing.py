"""Where connections come from and where they go: listeners and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.address import in_ranges

if TYPE_CHECKING:
    from l4proxy.chain import FilterChain
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.listener import Listener
    from l4proxy.server import Server

__all__ = ["clusters", "listeners"]


def listeners(server: Server) -> list[dict[str, Any]]:
    server.stats.collect()
    return [_listener(server, one) for one in server.listeners]


def _listener(server: Server, one: Listener) -> dict[str, Any]:
    stats = one.stats
    namesakes = [other for generation in server.generations for other in generation.listeners if other.name == one.name]
    return {
        "name": one.name,
        "addresses": in_ranges(server.addresses[one.name]),
        "state": "closed" if one.retired else "accepting",
        "connections": sum(len(other.connections) for other in namesakes),
        "pending": sum(len(other.pending) for other in namesakes),
        "max_connections": one.config.max_connections,
        "connections_total": stats.connections_total,
        "refused_total": dict(stats.refused_total.values),
        "bytes_received_total": stats.received_bytes_total,
        "bytes_sent_total": stats.sent_bytes_total,
        "filter_chains": [_chain(chain) for chain in one.chains],
    }


def _chain(chain: FilterChain) -> dict[str, Any]:
    return {
        "name": chain.name,
        "match": [matcher.name for matcher in chain.matchers],
        "tls": chain.tls is not None,
        "filters": [use.name for use in chain.filters],
    }


def clusters(server: Server) -> list[dict[str, Any]]:
    server.stats.collect()
    return [_cluster(one) for one in server.clusters]


def _cluster(one: Cluster) -> dict[str, Any]:
    stats, config = one.stats, one.config
    endpoints = [*one.endpoints.current.values(), *one.endpoints.removed.values()]
    return {
        "name": one.name,
        "discovery": config.discovery.name,
        "problem": one.discovery.problem,
        "ready": one.ready,
        "load_balancer": config.load_balancer.name,
        "health_check": config.health_check.name if config.health_check is not None else "",
        "tls": one.tls is not None,
        "connections": one.endpoints.open,
        "connecting": one.connecting,
        "pending": stats.connections_pending,
        "max_connections": config.max_connections,
        "max_pending": config.max_pending,
        "connections_total": stats.connections_total,
        "connect_failed_total": dict(stats.connect_failed_total.values),
        "retries_total": stats.retries_total,
        "bytes_received_total": stats.received_bytes_total,
        "bytes_sent_total": stats.sent_bytes_total,
        "endpoints": [_endpoint(endpoint) for endpoint in endpoints],
    }


def _endpoint(one: Endpoint) -> dict[str, Any]:
    stats = one.stats
    return {
        "name": one.name,
        "addresses": [str(address) for address in one.spec.addresses],
        "hostname": one.hostname,
        "state": _state(one),
        "problem": one.health_problem,
        "weight": one.weight,
        "active": one.active,
        "connections": one.connections,
        "connections_total": stats.connections_total,
        "connect_failed_total": dict(stats.connect_failed_total.values),
        "bytes_received_total": stats.received_bytes_total,
        "bytes_sent_total": stats.sent_bytes_total,
    }


def _state(one: Endpoint) -> str:
    if one.draining:
        return "draining"
    if one.health_problem:
        return "unhealthy"
    return "ejected" if one.ejected else "active"
