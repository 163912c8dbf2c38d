"""Which keys are used most, and which are the largest, in little memory however many keys there are."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappush, heapreplace
from random import Random
from typing import NamedTuple

__all__ = ["BigKey", "BigKeys", "HotKeys", "Tally"]


class Tally:
    """How often a key was used. Of these, ``unsure`` may have been uses of other keys."""

    __slots__ = ("count", "unsure")

    def __init__(self, count: int, unsure: int) -> None:
        self.count = count
        self.unsure = unsure


class HotKeys:
    """The most frequent of any number of keys: *space-saving* (Metwally and others, 2005), with a coin.

    There is room for ``capacity`` keys. When it is used up, a key that is not among them takes the place of the one
    with the smallest count, and goes on from that. So what is used more often than once in ``capacity`` is among them,
    and a count is too large by ``unsure`` at most. Left at that, keys that are used once would chase each other in and
    out. So a key gets in only by a chance of one to the count that it would inherit (*randomized admission*, Ben Basat
    and others, 2017): on average it has been used as often by then, and the chase costs a number by chance.

    ``tallies`` is for the hot path: what is in it is counted there, and only what is not is given to ``add``.
    """

    __slots__ = ("_capacity", "_chance", "_smallest", "tallies", "uses")

    def __init__(self, capacity: int, seed: int | None = None) -> None:
        self._capacity = capacity
        self._chance = Random(seed).random
        self._smallest: list[tuple[int, bytes]] = []
        """A heap of all keys by their counts as they were when these were looked at last: they can have grown since."""
        self.tallies: dict[bytes, Tally] = {}
        self.uses = 0
        """Of all keys, for whoever counts them."""

    def add(self, key: bytes, times: int = 1) -> None:
        """Uses of a key that is not in ``tallies``."""
        if len(self.tallies) < self._capacity:
            self.tallies[key] = Tally(times, 0)
            heappush(self._smallest, (times, key))
            return
        smallest = self._smallest
        if not smallest or self._chance() * (smallest[0][0] + times) > times:
            return
        count, other = smallest[0]
        while count != self.tallies[other].count:
            heapreplace(smallest, (self.tallies[other].count, other))
            count, other = smallest[0]
        del self.tallies[other]
        self.tallies[key] = Tally(count + times, count)
        heapreplace(smallest, (count + times, key))


class BigKey(NamedTuple):
    size: int
    """Bytes of the longest command, or reply, about this key alone."""
    command: str
    at: float


class BigKeys:
    """The ``capacity`` keys of the largest commands and replies. What is not larger than ``floor`` need not be
    offered."""

    __slots__ = ("_capacity", "floor", "keys")

    def __init__(self, capacity: int, floor: int) -> None:
        self._capacity = capacity
        self.floor: float = floor if capacity else float("inf")
        self.keys: dict[bytes, BigKey] = {}

    def offer(self, key: bytes, found: BigKey) -> None:
        """The key was used in a command, or a reply, of this size."""
        known = self.keys.get(key)
        if known is not None:
            if found.size > known.size:
                self.keys[key] = found
            return
        if len(self.keys) >= self._capacity:
            del self.keys[min(self.keys, key=lambda one: self.keys[one].size)]
        self.keys[key] = found
        if len(self.keys) == self._capacity:
            self.floor = max(self.floor, min(one.size for one in self.keys.values()))

    def __iter__(self) -> Iterator[tuple[bytes, BigKey]]:
        return iter(self.keys.items())
