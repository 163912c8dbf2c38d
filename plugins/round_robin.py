"""Weighted round robin: each endpoint in turn, as often as its weight says."""

from __future__ import annotations

import random
from collections.abc import Sequence

from l4proxy.balancer import LoadBalancer, weighted_turns
from l4proxy.endpoint import Endpoint
from l4proxy.filter import NoConfig
from l4proxy.hookspecs import Register, hookimpl

__all__ = ["RoundRobin"]


class RoundRobin(LoadBalancer[NoConfig]):
    """Each endpoint in turn, as often as its weight says.

    Earliest deadline first (`weighted_turns`). It is preferred to the "smooth" round robin of nginx, which is as
    even but looks at every endpoint for each choice; a heap looks at log2 of them.

    The order among equals is random, so that many workers, or many rebuilds, do not all begin with the same endpoint.
    """

    name = "round_robin"

    def __init__(self, config: NoConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config, random.sample(list(endpoints), len(endpoints)))
        self._turns = weighted_turns([endpoint.weight for endpoint in self.endpoints])

    def choose(self, hash_key: int | None) -> Endpoint | None:
        return self.endpoints[next(self._turns)] if self.endpoints else None


@hookimpl
def register_load_balancers(register: Register[type[RoundRobin]]) -> None:
    register(RoundRobin)
