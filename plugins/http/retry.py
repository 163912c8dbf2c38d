"""When a request is tried again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from l4proxy.plugins.http.conditions import value_test
from l4proxy.protocols.grpc import GrpcStatus

if TYPE_CHECKING:
    from l4proxy.plugins.http.action_config import Retry
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.message import HttpResponse

__all__ = ["RetryPolicy"]


GRPC = {
    "cancelled": GrpcStatus.CANCELLED,
    "deadline-exceeded": GrpcStatus.DEADLINE_EXCEEDED,
    "internal": GrpcStatus.INTERNAL,
    "resource-exhausted": GrpcStatus.RESOURCE_EXHAUSTED,
    "unavailable": GrpcStatus.UNAVAILABLE,
}
"""Statuses of gRPC, by the names that policies have for them. What is in trailers comes too late for a retry."""


class RetryPolicy:
    """A route's ``retry``, compiled. Limits of the cluster, and whether the body is still there, are the exchange's to
    see to."""

    def __init__(self, config: Retry) -> None:
        """Raises ValueError."""
        self.config = config
        self.on = frozenset(config.on)
        self._methods = frozenset(config.methods)
        self._status = frozenset(config.status)
        self._headers = [(match.name.lower(), value_test(match)) for match in config.headers]
        self._response_headers = [(match.name.lower(), value_test(match)) for match in config.response_headers]
        self.per_try_timeout = config.per_try_timeout
        self._grpc = {str(int(GRPC[why])): why for why in sorted(self.on & GRPC.keys())}
        by_response = {"5xx", "gateway-error", "retriable-status-codes", "retriable-headers", *GRPC}
        self.reads_responses = bool(self.on & by_response)

    def allows(self, exchange: Exchange, why: str, safe: bool) -> bool:
        """Whether a try that failed as ``why`` may be followed by another one. ``safe``: nothing was acted upon."""
        request = exchange.request
        if exchange.attempts > self.config.attempts:
            return False
        if why in ("connect-failure", "refused-stream", "reset", "per-try-timeout"):
            slow = why == "per-try-timeout" and self.on & {"reset", "gateway-error"}
            if not (why in self.on or "5xx" in self.on or slow):
                return False
        if not safe and why not in GRPC and self._methods and request.kind not in self._methods:
            return False
        return all(test(request.field(name)) for name, test in self._headers)

    def reason(self, response: HttpResponse) -> str:
        """Why a response is to be followed by another try; empty: it is not."""
        status, on = response.status, self.on
        if status >= 500 and "5xx" in on:
            return "5xx"
        if status in (502, 503, 504) and "gateway-error" in on:
            return "gateway-error"
        if status in self._status and "retriable-status-codes" in on:
            return "retriable-status-codes"
        if "retriable-headers" in on and any(test(response.field(name)) for name, test in self._response_headers):
            return "retriable-headers"
        return self._grpc.get(response.field("grpc-status") or "", "") if self._grpc else ""

    def pause(self, attempt: int) -> float:
        """Seconds before the try behind number ``attempt``: fully jittered exponential backoff."""
        longest: float = min(self.config.backoff * (2**attempt - 1), self.config.backoff_max)
        return longest * random.random()
