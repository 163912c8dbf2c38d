from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from l4proxy.address import Address
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.filter import NoConfig
from l4proxy.plugins.round_robin import RoundRobin


def round_robin(*weights: int) -> RoundRobin:
    specs = [EndpointSpec.of_address(Address("10.0.0.1", port), weight=w) for port, w in enumerate(weights)]
    return RoundRobin(NoConfig(), [Endpoint(spec) for spec in specs])


def picks(balancer: RoundRobin, count: int) -> list[str]:
    return [endpoint.name for _ in range(count) if (endpoint := balancer.choose(None))]


def test_nobody_to_choose() -> None:
    assert round_robin().choose(None) is None


def test_equal_weights_take_turns() -> None:
    taken = picks(round_robin(3, 3), 6)
    assert taken[0] != taken[1]
    assert taken == taken[:2] * 3


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 40))
def test_every_run_of_the_sum_of_weights_is_exactly_in_proportion(weights: list[int], skip: int) -> None:
    balancer = round_robin(*weights)
    picks(balancer, skip)
    counts = Counter(picks(balancer, sum(weights)))
    assert [counts[f"10.0.0.1:{port}"] for port in range(len(weights))] == weights


def test_many_rebuilds_do_not_all_begin_with_the_same_endpoint() -> None:
    assert len({picks(round_robin(1, 1, 1), 1)[0] for _ in range(200)}) == 3


def test_the_hash_key_is_ignored() -> None:
    balancer = round_robin(1, 1)
    assert balancer.choose(7) is not balancer.choose(7)
