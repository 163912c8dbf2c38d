"""Random: an endpoint drawn by lot."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

from l4proxy.balancer import LoadBalancer
from l4proxy.endpoint import Endpoint
from l4proxy.filter import NoConfig
from l4proxy.hookspecs import Register, hookimpl

__all__ = ["RandomChoice"]


class RandomChoice(LoadBalancer[NoConfig]):
    """Each choice is independent of all others, with a probability proportional to the endpoint's weight.

    Unlike round robin it needs no state, so that many proxies in front of the same endpoints cannot fall into step.
    """

    name = "random"

    def __init__(self, config: NoConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config, endpoints)
        self._bounds = list(accumulate(endpoint.weight for endpoint in self.endpoints))

    def choose(self, hash_key: int | None) -> Endpoint | None:
        if not self._bounds:
            return None
        return self.endpoints[bisect(self._bounds, random.random() * self._bounds[-1])]


@hookimpl
def register_load_balancers(register: Register[type[RandomChoice]]) -> None:
    register(RandomChoice)
