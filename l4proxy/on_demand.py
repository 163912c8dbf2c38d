"""Endpoints that connections ask for: made when the first one does, forgotten when nobody has for a while."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l4proxy.connect import ConnectRequest
    from l4proxy.discovery import OnDemandDiscovery
    from l4proxy.endpoint import Endpoint, EndpointSpec
    from l4proxy.endpoint_set import EndpointSet
    from l4proxy.timers import Timer, Timers

__all__ = ["OnDemand"]


class OnDemand:
    """Stands in for the balancer of a cluster whose discovery is an ``OnDemandDiscovery``."""

    def __init__(self, discovery: OnDemandDiscovery[Any], endpoints: EndpointSet, timers: Timers) -> None:
        self._discovery = discovery
        self._endpoints = endpoints
        self._timers = timers
        self._timer: Timer | None = None
        self._closed = False

    def find(self, request: ConnectRequest, found: Callable[[Endpoint | None], None]) -> None:
        """Call ``found`` with the endpoint that a connection is meant for, or None; now or later."""
        self._discovery.find(request, partial(self._found, found))

    def _found(self, found: Callable[[Endpoint | None], None], spec: EndpointSpec | None) -> None:
        if spec is None or self._closed:
            found(None)
            return
        if self._timer is None:
            self._timer = self._timers.call_later(self._discovery.idle_time, self._sweep)
        found(self._endpoints.on_demand(spec))

    def _sweep(self) -> None:
        self._timer = None
        if self._endpoints.sweep():
            self._timer = self._timers.call_later(self._discovery.idle_time, self._sweep)

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
