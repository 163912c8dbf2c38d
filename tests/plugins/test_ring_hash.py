from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4proxy.address import Address
from l4proxy.balancer import stable_hash
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.plugins.ring_hash import RingHash, RingHashConfig

KEYS = [stable_hash(b"client %d" % number) for number in range(2000)]
Weights = dict[int, int]


def ring(weights: Weights, **options: int) -> RingHash:
    """A ring of endpoints by port and weight."""
    specs = [EndpointSpec.of_address(Address("10.0.0.1", port), weight=w) for port, w in weights.items()]
    return RingHash(RingHashConfig(**options), [Endpoint(spec) for spec in specs])


def owners(balancer: RingHash) -> list[str]:
    return [endpoint.name for key in KEYS if (endpoint := balancer.choose(key))]


def test_nobody_to_choose() -> None:
    assert ring({}).choose(1) is None
    assert ring({}).choose(None) is None


def test_a_key_stays_with_its_endpoint_whatever_the_order_of_endpoints() -> None:
    assert owners(ring({1: 1, 2: 2, 3: 3})) == owners(ring({3: 3, 1: 1, 2: 2}))


def test_without_a_key_the_choice_is_random() -> None:
    balancer = ring({1: 1, 2: 1})
    assert len({endpoint.name for _ in range(100) if (endpoint := balancer.choose(None))}) == 2


@pytest.mark.parametrize("key", [0, 2**64 - 1])
def test_the_ring_is_closed(key: int) -> None:
    assert ring({1: 1}).choose(key) is not None


def test_shares_follow_the_weights() -> None:
    counts = Counter(owners(ring({1: 1, 2: 2, 3: 5})))
    assert [counts[f"10.0.0.1:{port}"] for port in (1, 2, 3)] == pytest.approx([250, 500, 1250], rel=0.2)


@pytest.mark.parametrize(
    ("weights", "options", "size"),
    [
        ({1: 1}, {}, 1024),
        ({1: 1, 2: 1, 3: 1}, {}, 1536),
        ({1: 100, 2: 100, 3: 100}, {}, 1200),
        ({1: 4000, 2: 1}, {"maximum_ring_size": 1024}, 1001),
        ({1: 1, 2: 1, 3: 1}, {"minimum_ring_size": 1, "maximum_ring_size": 1}, 3),
    ],
)
def test_the_ring_keeps_to_its_sizes(weights: Weights, options: dict[str, int], size: int) -> None:
    assert len(ring(weights, **options)._points) == size


def _same_scale(before: Weights, after: Weights) -> bool:
    """Whether no power of two lies between the sums of weights: then each weight has as many points as before."""
    return sum(before.values()).bit_length() == sum(after.values()).bit_length()


@settings(max_examples=50)
@given(st.dictionaries(st.integers(1, 65535), st.integers(1, 5), min_size=2, max_size=8), st.data())
def test_removing_an_endpoint_moves_only_its_own_keys(weights: Weights, data: st.DataObject) -> None:
    removed = data.draw(st.sampled_from(sorted(weights)))
    rest = {port: weight for port, weight in weights.items() if port != removed}
    before, after = owners(ring(weights)), owners(ring(rest))
    if _same_scale(weights, rest):
        assert all(old == new for old, new in zip(before, after, strict=True) if old != f"10.0.0.1:{removed}")
    else:
        kept = sum(old == new for old, new in zip(before, after, strict=True))
        assert kept >= sum(old != f"10.0.0.1:{removed}" for old in before) * 0.4


def test_another_process_finds_the_same_owners() -> None:
    code = f"""
from l4proxy.address import Address
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.plugins.ring_hash import RingHash, RingHashConfig
endpoints = [Endpoint(EndpointSpec.of_address(Address("10.0.0.1", port))) for port in range(5)]
balancer = RingHash(RingHashConfig(), endpoints)
print(*[balancer.choose(key).name for key in {KEYS[:50]}])
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == owners(ring(dict.fromkeys(range(5), 1)))[:50]


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="minimum_ring_size: must be 1 or more"):
        RingHashConfig(minimum_ring_size=0)
    with pytest.raises(ValueError, match="maximum_ring_size: must be from minimum_ring_size"):
        RingHashConfig(minimum_ring_size=100, maximum_ring_size=99)
