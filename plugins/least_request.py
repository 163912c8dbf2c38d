"""Least request: prefer endpoints that have little to do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

from l4proxy.balancer import LoadBalancer
from l4proxy.endpoint import Endpoint
from l4proxy.hookspecs import Register, hookimpl

__all__ = ["LeastRequest", "LeastRequestConfig"]


@dataclass(frozen=True, slots=True)
class LeastRequestConfig:
    choice_count: int = 2
    """Endpoints of equal weight: how many are drawn at random, of which the least busy is taken. Two is nearly as good
    as looking at all, and does not send everyone to the same endpoint."""
    active_request_bias: float = 1.0
    """Endpoints of different weights: how much being busy counts. 0 is plain weighted round robin."""

    def __post_init__(self) -> None:
        if self.choice_count < 2:
            raise ValueError("choice_count: at least 2 endpoints have to be compared")
        if self.active_request_bias < 0:
            raise ValueError("active_request_bias: must be 0 or more")


class LeastRequest(LoadBalancer[LeastRequestConfig]):
    """The less busy of a few endpoints: fewer connections are open to it.

    With equal weights the least busy of a few random endpoints (power of two choices); with different weights a
    weighted round robin whose weights are ``weight / (active + 1) ** active_request_bias`` at the time of an endpoint's
    last turn.

    Both are Envoy's rules (load balancing policy ``least_request``).
    """

    name = "least_request"

    def __init__(self, config: LeastRequestConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config, endpoints)
        order = random.sample(self.endpoints, len(self.endpoints))
        self._equal = len({endpoint.weight for endpoint in order}) == 1
        self._turns = [(self._period(endpoint), rank, endpoint) for rank, endpoint in enumerate(order)]
        heapify(self._turns)

    def choose(self, hash_key: int | None) -> Endpoint | None:
        if self._equal:
            return self._least_busy()
        if not self._turns:
            return None
        now, rank, endpoint = self._turns[0]
        heapreplace(self._turns, (now + self._period(endpoint), rank, endpoint))
        return endpoint

    def _least_busy(self) -> Endpoint:
        endpoints = self.endpoints
        count = len(endpoints)
        draw = random.random
        first = int(draw() * count)
        best = endpoints[first]
        for _ in range(self.config.choice_count - 1):
            other = endpoints[(first + 1 + int(draw() * (count - 1))) % count]  # never the first one again
            if other.active < best.active:
                best = other
        return best

    def _period(self, endpoint: Endpoint) -> float:
        """Virtual time until an endpoint's next turn, if it is chosen now."""
        busy: float = (endpoint.active + 1) ** self.config.active_request_bias
        return busy / endpoint.weight


@hookimpl
def register_load_balancers(register: Register[type[LeastRequest]]) -> None:
    register(LeastRequest)
