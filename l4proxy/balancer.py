"""The contract of load balancing policies: which endpoint does a new connection (or request) go to?

A balancer is a small object over a fixed list of endpoints. When an endpoint comes or goes or changes its weight, the
cluster makes a new one, so a policy never has to look for changes: it may sort, hash and tabulate in its constructor
and answer from that. It is used from one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from heapq import heapify, heapreplace
from itertools import cycle
from typing import ClassVar, Generic, TypeVar

from l4proxy.endpoint import Endpoint

__all__ = ["LoadBalancer", "stable_hash", "weighted_turns"]

C = TypeVar("C")


def stable_hash(data: bytes) -> int:
    """64 well mixed bits, the same in every process and after every restart (Python's own ``hash`` is neither)."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def weighted_turns(weights: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, for ever, as positions in ``weights``: earliest deadline first.

    The n-th turn of weight w is due at (n - 1/2) / w. Turns are spread evenly (weights 2 and 1 give A B A, not A A B),
    and as many turns in a row as the sum of weights hold exactly each one's weight of turns. Deadlines are divided out,
    not added up, so they do not drift. Equal weights are a plain cycle.
    """
    return cycle(range(len(weights))) if len(set(weights)) <= 1 else _by_deadline(weights)


def _by_deadline(weights: Sequence[int]) -> Iterator[int]:
    deadlines = [(0.5 / weight, position, 1) for position, weight in enumerate(weights)]
    heapify(deadlines)
    while True:
        _, position, turn = deadlines[0]
        yield position
        heapreplace(deadlines, ((turn + 0.5) / weights[position], position, turn + 1))


class LoadBalancer(ABC, Generic[C]):
    """One policy, registered by ``register_load_balancers``; ``C`` is a frozen dataclass, its options.

    ``load_balancer = "NAME"`` in a cluster, or ``load_balancer = { use = "NAME", ... }``.
    """

    name: ClassVar[str]

    def __init__(self, config: C, endpoints: Sequence[Endpoint]) -> None:
        """``endpoints`` are those that may be chosen, each with a ``weight`` of 1 or more, in a steady order.

        Called for each change of membership, in the loop's thread: milliseconds are seen by every connection.
        """
        self.config = config
        self.endpoints = tuple(endpoints)

    @abstractmethod
    def choose(self, hash_key: int | None) -> Endpoint | None:
        """Return an endpoint, or None when there is none. Called for each connection and each further attempt.

        ``hash_key`` is 64 bits made by ``stable_hash`` from what the terminal filter's hash policy names, or None when
        it has no policy or the connection lacks that property; a policy that hashes then chooses at random.
        """

    def choose_all(self, hash_keys: Sequence[int]) -> list[Endpoint | None]:
        """What ``choose`` returns for each of several keys. Called for each pipeline of a client whose protocol says
        where each message goes; a policy that hashes may do it faster."""
        return list(map(self.choose, hash_keys))
