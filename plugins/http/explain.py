"""``x-l4proxy-explain``: why a request went where it went, told to who may know."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from l4proxy.plugins.http.log_operators import PROBLEM

if TYPE_CHECKING:
    from l4proxy.plugins.http.action_config import HashPart
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.routes import CompiledRoute, RouteTable

__all__ = ["Notes"]

MOST_ROUTES = 8
"""Routes that did not take the request of which it is told why: those right before the one that did."""
MOST_TEXT = 200
"""Characters of anything that the client has sent."""
_monotonic = time.monotonic


class Notes:
    """What is written down of a request on its way, because its client has asked."""

    __slots__ = ("_routed", "forwarded_at", "tries")

    def __init__(self) -> None:
        self.forwarded_at = 0.0
        """When it had passed the filters."""
        self.tries: list[dict[str, Any]] = []
        """Those that failed."""
        self._routed: dict[str, Any] = {}

    def routed(self, exchange: Exchange, table: RouteTable, route: CompiledRoute) -> None:
        """The route was found; later the request may look different."""
        request = exchange.request
        self._routed = {
            "virtual_host": table.name,
            "route": route.name,
            "path": route.told_path(),
            "conditions": [condition.text for condition in route.conditions],
            "parameters": {key: text[:MOST_TEXT] for key, text in route.found_in(request.path).items()},
            "not_taken": [
                f"{other.name}: {other.refusal(request, exchange.client) or 'by chance'}"
                for other in table.routes[max(0, route.order - MOST_ROUTES) : route.order]
            ],
        }

    def tried(self, exchange: Exchange, why: str) -> None:
        """A try has failed, or has become one of several."""
        endpoint = exchange.endpoint.name if exchange.endpoint is not None else None
        self.tries.append({"endpoint": endpoint, "why": why, "ms": _ms(exchange.started, _monotonic())})

    def explanation(self, exchange: Exchange) -> str:
        """What is known when the head of the response is about to be sent, as JSON in ASCII."""
        now = _monotonic()
        request, response = exchange.request, exchange.response
        told: dict[str, Any] = {
            "listener": exchange.host.listener,
            "client": exchange.client,
            **self._routed,
            "filters": [
                use.name
                for use in exchange.layer.filters.variants[request._variant]
                if use is not None and use.sees(request.kind)
            ],
            "target": request.target[:MOST_TEXT],
            "authority": request.authority[:MOST_TEXT],
            **_upstream(exchange),
            "attempts": exchange.attempts,
            "failed": self.tries,
            "details": response.details if response is not None else None,
            "problem": request.state.get(PROBLEM),
            "flags": exchange.flags,
            "ms": {
                "request": _ms(exchange.started, exchange.request_done_at),
                "filters": _ms(exchange.started, self.forwarded_at),
                "connection": _ms(self.forwarded_at, exchange.sent_at),
                "endpoint": _ms(exchange.sent_at, exchange.first_byte_at),
                "response_filters": _ms(exchange.first_byte_at, now),
                "total": _ms(exchange.started, now),
            },
        }
        return json.dumps(told, separators=(",", ":"))


def _upstream(exchange: Exchange) -> dict[str, Any]:
    """Which cluster, which endpoint, and why."""
    pool, action, connection = exchange.pool, exchange.action, exchange.connection
    if pool is None or action is None:
        return {"cluster": None}
    endpoints, config = pool.cluster.endpoints, action.config
    by = "weight" if config.clusters else config.cluster_header or ("forward" if config.forward else "route")
    return {
        "cluster": pool.cluster.name,
        "cluster_by": by,
        "balancer": pool.cluster.config.load_balancer.name,
        "hash": [_hashed(part) for part in config.hash_policy],
        "endpoints": len(endpoints.current),
        "endpoints_usable": len(endpoints.choosable()),
        "endpoint": exchange.endpoint.name if exchange.endpoint is not None else None,
        "address": str(connection.peer.host) if connection is not None else None,
        "protocol": connection.version if connection is not None else None,
        "reused": connection is not None and connection.requests > 1,
        "requests_active": pool.active,
    }


def _hashed(part: HashPart) -> str:
    if part.source_ip:
        return "source_ip"
    return next(f"{key} {getattr(part, key)}" for key in ("header", "query", "cookie") if getattr(part, key))


def _ms(start: float, end: float) -> float | None:
    """None: it has not come to that."""
    return round((end - start) * 1000, 2) if start and end else None
