"""The pages about listeners and clusters: where connections come from and where they go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from l4proxy.admin.content import Column, Content, human_bytes, outline, records, render
from l4proxy.admin.http import Request, Response
from l4proxy.admin.workers import merge_named, missing

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["clusters", "listeners"]


def _by_reason(counts: dict[str, int]) -> str | int:
    """``3 (connect_refused 2, connect_timeout 1)``."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    return f"{sum(counts.values())} ({reasons})" if counts else 0


def _of_limit(one: dict[str, Any]) -> str | int:
    return f"{one['connections']} of {one['max_connections']}" if one["max_connections"] else one["connections"]


TRAFFIC: Mapping[str, Column] = {
    "received": lambda one: human_bytes(one["bytes_received_total"]),
    "sent": lambda one: human_bytes(one["bytes_sent_total"]),
}
LISTENERS: Mapping[str, Column] = {
    "listener": "name",
    "address": "addresses",
    "state": "state",
    "connections": _of_limit,
    "pending": "pending",
    "total": "connections_total",
    "refused": lambda one: _by_reason(one["refused_total"]),
    **TRAFFIC,
}
CHAINS: Mapping[str, Column] = {
    "listener": "listener",
    "filter chain": "name",
    "match": "match",
    "TLS": "tls",
    "filters": "filters",
}
ENDPOINTS: Mapping[str, Column] = {
    "endpoint": "name",
    "address": "addresses",
    "state": lambda one: f"{one['state']} ({one['problem']})" if one["problem"] else one["state"],
    "weight": "weight",
    "active": "active",
    "connections": "connections",
    "total": "connections_total",
    "failed": lambda one: _by_reason(one["connect_failed_total"]),
    **TRAFFIC,
}


async def listeners(target: AdminTarget, request: Request) -> Response:
    answers = await target.describe("listeners")
    data = {"listeners": merge_named(answer.value for answer in answers)}

    def text(data: dict[str, Any]) -> Iterator[str]:
        yield from records(LISTENERS, data["listeners"])
        yield "\n"
        chains = ({**chain, "listener": one["name"]} for one in data["listeners"] for chain in one["filter_chains"])
        yield from records(CHAINS, chains)
        yield from missing(target, answers)

    return await render(Content(data, text), request)


async def clusters(target: AdminTarget, request: Request) -> Response:
    answers = await target.describe("clusters")
    data = {"clusters": merge_named(answer.value for answer in answers)}

    def text(data: dict[str, Any]) -> Iterator[str]:
        for one in data["clusters"]:
            yield from _cluster_lines(one)
        yield from missing(target, answers)

    return await render(Content(data, text), request)


def _cluster_lines(one: dict[str, Any]) -> Iterator[str]:
    about = {
        "discovery": one["discovery"] + ("" if one["ready"] else " (the endpoints are not known yet)"),
        "problem": one["problem"],
        "load balancer": one["load_balancer"],
        "health check": one["health_check"],
        "TLS": one["tls"],
        "connections": f"{_of_limit(one)}, {one['connecting']} being made",
        "waiting": f"{one['pending']} of {one['max_pending']}",
        "total": f"{one['connections_total']} connections, {one['retries_total']} retries",
        "failed": _by_reason(one["connect_failed_total"]),
    }
    yield from outline({f"cluster {one['name']}": about})
    yield from records(ENDPOINTS, one["endpoints"], "  ")
    yield "\n"
