"""Hot and big keys are found in any number of keys, in bounded memory."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from l4proxy.plugins.redis_watch.sketch import BigKey, BigKeys, HotKeys


def count(hot: HotKeys, key: bytes) -> None:
    tally = hot.tallies.get(key)
    if tally is not None:
        tally.count += 1
    else:
        hot.add(key)


def test_with_room_for_all_it_is_exact() -> None:
    hot = HotKeys(10)
    for key in b"abacabad":
        count(hot, bytes([key]))
    assert {key: one.count for key, one in hot.tallies.items()} == {b"a": 4, b"b": 2, b"c": 1, b"d": 1}
    assert not any(one.unsure for one in hot.tallies.values())


@pytest.mark.parametrize("seed", range(5))
def test_the_hottest_are_found_among_very_many(seed: int) -> None:
    """A hundred keys have a third of the uses, and a hundred thousand the rest."""
    chance = random.Random(seed)
    hot, exact = HotKeys(500, seed), Counter[bytes]()
    for _ in range(100_000):
        number = chance.randrange(100) if chance.random() < 1 / 3 else chance.randrange(100, 100_000)
        key = b"%d" % number
        exact[key] += 1
        count(hot, key)
    assert len(hot.tallies) == 500
    found = sorted(hot.tallies, key=lambda key: -hot.tallies[key].count)[:100]
    assert len(set(found) & {b"%d" % number for number in range(100)}) >= 98
    for key in found[:50]:
        assert abs(hot.tallies[key].count - exact[key]) <= hot.tallies[key].unsure + 20


def test_a_key_that_comes_late_is_found() -> None:
    hot = HotKeys(100, seed=1)
    for number in range(20_000):
        count(hot, b"%d" % number)
    for _ in range(5000):
        count(hot, b"late")
    assert max(hot.tallies, key=lambda key: hot.tallies[key].count) == b"late"


def test_no_room_at_all() -> None:
    hot = HotKeys(0)
    count(hot, b"a")
    assert not hot.tallies


def test_the_biggest_stay() -> None:
    big = BigKeys(3, floor=10)
    sizes = {b"a": 50, b"b": 20, b"c": 30, b"d": 15, b"e": 40, b"f": 60}
    for key, size in sizes.items():
        if size > big.floor:
            big.offer(key, BigKey(size, "GET", 0.0))
    assert {key: one.size for key, one in big} == {b"a": 50, b"e": 40, b"f": 60}
    assert big.floor == 40
    big.offer(b"e", BigKey(70, "SET", 1.0))
    big.offer(b"e", BigKey(45, "GET", 2.0))
    assert big.keys[b"e"] == BigKey(70, "SET", 1.0)


def test_big_keys_can_be_left_out() -> None:
    assert BigKeys(0, floor=10).floor == float("inf")
