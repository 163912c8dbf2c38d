from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4proxy.address import Address
from l4proxy.balancer import stable_hash
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.plugins.maglev import Maglev, MaglevConfig

SMALL = 1009
Weights = dict[int, int]


def maglev(weights: Weights, table_size: int = SMALL) -> Maglev:
    """A table of endpoints by port and weight."""
    specs = [EndpointSpec.of_address(Address("10.0.0.1", port), weight=w) for port, w in weights.items()]
    return Maglev(MaglevConfig(table_size), [Endpoint(spec) for spec in specs])


def owners(balancer: Maglev) -> list[str]:
    """Who owns each entry of the table."""
    size = balancer.config.table_size
    return [endpoint.name for entry in range(size) if (endpoint := balancer.choose(entry))]


def test_nobody_to_choose() -> None:
    assert maglev({}).choose(1) is None
    assert maglev({}).choose(None) is None


def test_without_a_key_the_choice_is_random() -> None:
    balancer = maglev({1: 1, 2: 1})
    assert len({endpoint.name for _ in range(100) if (endpoint := balancer.choose(None))}) == 2


def test_the_default_table_is_even_to_an_entry_and_steady() -> None:
    counts = Counter(owners(maglev({1: 1, 2: 1, 3: 1}, 65537)))
    assert sorted(counts.values()) == [21845, 21846, 21846]


def test_any_64_bit_key_has_an_owner() -> None:
    balancer = maglev({1: 1, 2: 1})
    keys = [stable_hash(b"%d" % number) for number in range(100)]
    assert len({endpoint.name for key in keys if (endpoint := balancer.choose(key))}) == 2


@settings(max_examples=50)
@given(st.dictionaries(st.integers(1, 65535), st.integers(1, 9), min_size=1, max_size=8), st.randoms())
def test_shares_are_exact_and_the_order_of_endpoints_does_not_matter(weights: Weights, shuffle: Random) -> None:
    counts = Counter(owners(maglev(weights)))
    for port, weight in weights.items():
        assert counts[f"10.0.0.1:{port}"] == pytest.approx(SMALL * weight / sum(weights.values()), abs=weight + 1)
    ports = list(weights)
    shuffle.shuffle(ports)
    assert owners(maglev({port: weights[port] for port in ports})) == owners(maglev(weights))


@settings(max_examples=25)
@given(st.sets(st.integers(1, 65535), min_size=4, max_size=12), st.data())
def test_removing_an_endpoint_moves_few_keys_of_others(ports: set[int], data: st.DataObject) -> None:
    removed = data.draw(st.sampled_from(sorted(ports)))
    before = owners(maglev(dict.fromkeys(ports, 1)))
    after = owners(maglev(dict.fromkeys(ports - {removed}, 1)))
    others = [(old, new) for old, new in zip(before, after, strict=True) if old != f"10.0.0.1:{removed}"]
    assert sum(old != new for old, new in others) <= 0.25 * len(others)


def test_a_table_that_is_no_prime_is_refused() -> None:
    with pytest.raises(ValueError, match="table_size: must be a prime number"):
        MaglevConfig(65536)
    with pytest.raises(ValueError, match="table_size"):
        MaglevConfig(5_000_077)


@pytest.mark.parametrize("weights", [{}, {1: 1, 2: 3, 3: 1}])
def test_several_are_chosen_as_each_of_them_is(weights: Weights) -> None:
    balancer = maglev(weights)
    keys = [stable_hash(b"%d" % number) for number in range(100)]
    assert balancer.choose_all(keys) == [balancer.choose(key) for key in keys]
