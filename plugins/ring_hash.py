"""Ring hash: connections of one hash key go to one endpoint, and few of them move when endpoints come and go."""

from __future__ import annotations

import random
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil, log2

from l4proxy.balancer import LoadBalancer
from l4proxy.endpoint import Endpoint
from l4proxy.hookspecs import Register, hookimpl

__all__ = ["RingHash", "RingHashConfig"]

_POINTS = struct.Struct(">8Q")


@dataclass(frozen=True, slots=True)
class RingHashConfig:
    minimum_ring_size: int = 1024
    """The ring has at least so many points. More make the shares more even (1024 points: within about a tenth), and the
    ring slower to build."""
    maximum_ring_size: int = 65536
    """The ring has at most so many points, or one per endpoint where there are more endpoints."""

    def __post_init__(self) -> None:
        if self.minimum_ring_size < 1:
            raise ValueError("minimum_ring_size: must be 1 or more")
        if not self.minimum_ring_size <= self.maximum_ring_size <= 8 << 20:
            raise ValueError(f"maximum_ring_size: must be from minimum_ring_size ({self.minimum_ring_size}) to 8388608")


class RingHash(LoadBalancer[RingHashConfig]):
    """Every endpoint has points on a ring, in proportion to its weight; a key belongs to the next point ("ketama").

    Where an endpoint's points lie depends on its name alone, and how many it has on its weight and a power of two that
    is large enough for ``minimum_ring_size``. So a change of membership moves only the keys of the endpoints that came
    or went; only when the sum of weights crosses a power of two do some others move as well.
    """

    name = "ring_hash"

    def __init__(self, config: RingHashConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config, endpoints)
        per_weight = _points_per_weight(config, [endpoint.weight for endpoint in self.endpoints])
        ring = sorted(
            (point, index)
            for index, endpoint in enumerate(self.endpoints)
            for point in _points(endpoint.name, ceil(endpoint.weight * per_weight))
        )
        self._points = array("Q", [point for point, _ in ring])
        self._owners = array("L", [index for _, index in ring])

    def choose(self, hash_key: int | None) -> Endpoint | None:
        if not self.endpoints:
            return None
        position = bisect_left(self._points, random.getrandbits(64) if hash_key is None else hash_key)
        return self.endpoints[self._owners[position if position < len(self._owners) else 0]]


def _points_per_weight(config: RingHashConfig, weights: Sequence[int]) -> float:
    """The power of two (also 1/2, 1/4 ...) that makes the ring as small as may be, but not too small."""
    if not weights:
        return 1.0
    per_weight: float = 2.0 ** ceil(log2(config.minimum_ring_size / sum(weights)))
    limit = max(config.maximum_ring_size, len(weights))
    while sum(ceil(weight * per_weight) for weight in weights) > limit:
        per_weight /= 2
    return per_weight


def _points(name: str, count: int) -> Iterator[int]:
    """The first ``count`` points of an endpoint: eight from each hash of its name and a running number."""
    for block in range(0, count, 8):
        points = _POINTS.unpack(blake2b(f"{name}_{block}".encode()).digest())
        yield from points if count - block >= 8 else points[: count - block]


@hookimpl
def register_load_balancers(register: Register[type[RingHash]]) -> None:
    register(RingHash)
