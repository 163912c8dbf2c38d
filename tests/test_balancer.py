from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from l4proxy.balancer import stable_hash, weighted_turns


def test_stable_hash_is_the_same_in_every_process() -> None:
    assert stable_hash(b"10.0.0.1") == 0x538EF646E14D03E6
    code = "from l4proxy.balancer import stable_hash; print(stable_hash(b'10.0.0.1'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == stable_hash(b"10.0.0.1")


def test_turns_are_spread_and_not_bunched() -> None:
    assert list(islice(weighted_turns([2, 1]), 6)) == [0, 1, 0, 0, 1, 0]
    assert list(islice(weighted_turns([5, 1, 1]), 7)) == [0, 0, 0, 1, 2, 0, 0]


def test_equal_weights_are_a_cycle() -> None:
    assert list(islice(weighted_turns([7, 7, 7]), 5)) == [0, 1, 2, 0, 1]


def test_nobody_has_no_turns() -> None:
    assert list(weighted_turns([])) == []


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 500))
def test_as_many_turns_as_the_sum_of_weights_are_exactly_in_proportion(weights: list[int], skip: int) -> None:
    turns = Counter(islice(weighted_turns(weights), skip, skip + sum(weights)))
    assert [turns[position] for position in range(len(weights))] == weights
