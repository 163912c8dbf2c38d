"""``x-l4proxy-explain``: why a request went where it went, told to who may know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange

__all__ = ["explanation"]


def explanation(exchange: Exchange, now: float) -> str:
    """What is known when the head of the response is about to be sent, as JSON in ASCII."""
    started, pool, route = exchange.started, exchange.pool, exchange.route
    told: dict[str, Any] = {
        "route": route.name if route is not None else None,
        "path": route.told_path() if route is not None else None,
        "conditions": [condition.text for condition in route.conditions] if route is not None else [],
        "cluster": pool.cluster.name if pool is not None else None,
        "balancer": pool.cluster.config.load_balancer.name if pool is not None else None,
        "endpoint": exchange.endpoint.name if exchange.endpoint is not None else None,
        "reused": exchange.connection is not None and exchange.connection.requests > 1,
        "attempts": exchange.attempts,
        "retries": exchange.notes,
        "details": exchange.response.details if exchange.response is not None else None,
        "flags": exchange.flags,
        "ms": {
            "connected": _ms(started, exchange.sent_at),
            "request": _ms(started, exchange.request_done_at),
            "response": _ms(started, exchange.first_byte_at),
            "now": _ms(started, now),
        },
    }
    return json.dumps(told, separators=(",", ":"))


def _ms(start: float, end: float) -> float | None:
    return round((end - start) * 1000, 2) if end else None
