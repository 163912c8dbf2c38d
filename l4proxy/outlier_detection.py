"""Outlier detection: endpoints that fail real connections and requests get none for a while.

Whoever uses an endpoint tells it how that went (`Endpoint.report`): connections report themselves, filters that carry
requests report each. After so many failures in a row the endpoint is *ejected*, for the longer the more often it
happens. Names and defaults are Envoy's ("Outlier detection"), of which this is the part about consecutive failures; its
statistical part needs more traffic than most clusters have, and is not here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.config.schema import OutlierDetection
    from l4proxy.endpoint import Endpoint
    from l4proxy.timers import Timer, Timers

__all__ = ["Outliers"]

log = logging.getLogger("l4proxy.health")

FORGIVEN_EVERY = 10.0
"""Seconds that an endpoint has to be back for one of its ejections to be forgotten (Envoy's ``interval``)."""


class Outliers:
    """Ejects endpoints of one cluster, and lets them back."""

    def __init__(self, cluster: str, timers: Timers, on_changed: Callable[[], object]) -> None:
        """``on_changed`` is called when an endpoint is to get new connections again, or is not to get any more."""
        self._cluster = cluster
        self._timers = timers
        self._on_changed = on_changed
        self._config: OutlierDetection | None = None
        self._endpoints: Collection[Endpoint] = ()
        self._returns: dict[Endpoint, Timer] = {}
        self._history: dict[Endpoint, tuple[int, float]] = {}
        """How often an endpoint was ejected, and until when."""

    def use(self, config: OutlierDetection | None) -> None:
        """From now on go by these options; with None, all are let back."""
        self._config = config

    def follow(self, endpoints: Collection[Endpoint]) -> None:
        """These are the endpoints, and no others."""
        self._endpoints = endpoints
        config = self._config
        for endpoint in [known for known in self._returns if config is None or known not in endpoints]:
            self._returns.pop(endpoint).cancel()
            endpoint.ejected = False
        for endpoint in [known for known in self._history if config is None or known not in endpoints]:
            del self._history[endpoint]
        for endpoint in endpoints:
            endpoint.failure_limit = config.consecutive_failures if config is not None else 0
            endpoint.on_failure_limit = self._failed

    def stop(self) -> None:
        self._config = None
        self.follow(())

    def _failed(self, endpoint: Endpoint) -> None:
        """An endpoint has failed too often in a row. It may have been removed meanwhile."""
        config = self._config
        endpoint.failures = 0
        if config is None or endpoint.ejected or endpoint not in self._endpoints:
            return
        if len(self._returns) * 100 >= config.max_ejection_percent * len(self._endpoints):
            endpoint.stats.ejections_overflow_total += 1
            return
        times, until = self._history.get(endpoint, (0, 0.0))
        now = time.monotonic()
        times = max(0, times - int((now - until) / FORGIVEN_EVERY)) + 1
        seconds = min(config.base_ejection_time * times, config.max_ejection_time)
        self._history[endpoint] = times, now + seconds
        self._returns[endpoint] = self._timers.call_later(seconds, lambda: self._return(endpoint))
        endpoint.ejected = True
        endpoint.stats.ejections_total += 1
        text = "cluster %s: endpoint %s is ejected for %g s: %d failures in a row"
        log.warning(text, self._cluster, endpoint.name, seconds, config.consecutive_failures)
        self._on_changed()

    def _return(self, endpoint: Endpoint) -> None:
        del self._returns[endpoint]
        endpoint.ejected = False
        endpoint.failures = 0
        log.info("cluster %s: endpoint %s is back", self._cluster, endpoint.name)
        self._on_changed()
