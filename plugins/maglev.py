"""Maglev: connections of one hash key go to one endpoint, by a table that is quick to ask and very even."""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from l4proxy.balancer import LoadBalancer, weighted_turns
from l4proxy.endpoint import Endpoint
from l4proxy.hookspecs import Register, hookimpl

__all__ = ["Maglev", "MaglevConfig"]

_SEED = struct.Struct(">2Q")
_TABLE_SIZE_MAX = 5_000_011


@dataclass(frozen=True, slots=True)
class MaglevConfig:
    table_size: int = 16381
    """Entries of the table: a prime, at least a hundred times the number of endpoints. Building it takes about a
    microsecond an entry, in which nothing else runs, at each change of membership; hence fewer than Envoy's 65537."""

    def __post_init__(self) -> None:
        if not 2 <= self.table_size <= _TABLE_SIZE_MAX or not _is_prime(self.table_size):
            raise ValueError(f"table_size: must be a prime number from 2 to {_TABLE_SIZE_MAX}, such as 65537 or 16381")


class Maglev(LoadBalancer[MaglevConfig]):
    """A key belongs to the endpoint that has its entry of a large table, in which each endpoint has its share.

    Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4: every
    endpoint has its own order of preference over the table's entries, made from its name. They take turns, as often as
    their weights say, in taking the first entry on their list that is free. Shares are exact to an entry; compared with
    ``ring_hash`` a choice is quicker and more even, but a change of membership also moves some keys of other endpoints.
    """

    name = "maglev"

    def __init__(self, config: MaglevConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config, sorted(endpoints, key=lambda endpoint: endpoint.name))
        self._table = _fill(self.endpoints, config.table_size)

    def choose(self, hash_key: int | None) -> Endpoint | None:
        if not self.endpoints:
            return None
        key = random.getrandbits(64) if hash_key is None else hash_key
        return self.endpoints[self._table[key % len(self._table)]]

    def choose_all(self, hash_keys: Sequence[int]) -> list[Endpoint | None]:
        if not self.endpoints:
            return [None] * len(hash_keys)
        endpoints, table, size = self.endpoints, self._table, len(self._table)
        return [endpoints[table[key % size]] for key in hash_keys]


def _fill(endpoints: Sequence[Endpoint], size: int) -> array[int]:
    table = array("l", [-1]) * size
    entry = []
    skip = []
    for endpoint in endpoints:
        first, step = _SEED.unpack(blake2b(endpoint.name.encode(), digest_size=16).digest())
        entry.append(first % size)
        skip.append(step % (size - 1) + 1)
    turns = weighted_turns([endpoint.weight for endpoint in endpoints])
    for _, index in zip(range(size), turns, strict=False):
        candidate = entry[index]
        step = skip[index]
        while table[candidate] >= 0:
            candidate += step
            if candidate >= size:
                candidate -= size
        table[candidate] = index
        entry[index] = candidate
    return table


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


@hookimpl
def register_load_balancers(register: Register[type[Maglev]]) -> None:
    register(Maglev)
