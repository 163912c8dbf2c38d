from __future__ import annotations

from collections import Counter

import pytest

from l4proxy.address import Address
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.plugins.least_request import LeastRequest, LeastRequestConfig


def endpoints(*weights: int) -> list[Endpoint]:
    specs = [EndpointSpec.of_address(Address("10.0.0.1", port), weight=w) for port, w in enumerate(weights)]
    return [Endpoint(spec) for spec in specs]


def picks(balancer: LeastRequest, count: int) -> Counter[str]:
    return Counter(endpoint.name for _ in range(count) if (endpoint := balancer.choose(None)))


def test_nobody_to_choose() -> None:
    assert LeastRequest(LeastRequestConfig(), []).choose(None) is None


def test_a_single_endpoint_is_always_chosen() -> None:
    (only,) = endpoints(1)
    assert LeastRequest(LeastRequestConfig(), [only]).choose(None) is only


def test_of_two_the_less_busy_is_always_taken() -> None:
    idle, busy = endpoints(1, 1)
    busy.active = 1
    assert picks(LeastRequest(LeastRequestConfig(), [idle, busy]), 200) == {idle.name: 200}


def test_the_busiest_of_many_is_never_taken() -> None:
    pool = endpoints(*[1] * 10)
    pool[3].active = 5
    chosen = picks(LeastRequest(LeastRequestConfig(), pool), 2000)
    assert pool[3].name not in chosen
    assert len(chosen) == 9


def test_connections_that_stay_are_spread_evenly() -> None:
    pool = endpoints(*[1] * 10)
    balancer = LeastRequest(LeastRequestConfig(), pool)
    for _ in range(1000):
        chosen = balancer.choose(None)
        assert chosen is not None
        chosen.active += 1
    assert max(endpoint.active for endpoint in pool) - min(endpoint.active for endpoint in pool) <= 8


def test_different_weights_of_idle_endpoints_are_exact_shares() -> None:
    assert picks(LeastRequest(LeastRequestConfig(), endpoints(1, 2, 5)), 800) == {
        "10.0.0.1:0": 100,
        "10.0.0.1:1": 200,
        "10.0.0.1:2": 500,
    }


@pytest.mark.parametrize(("bias", "heavy", "light"), [(0.0, 800, 200), (1.0, 500, 500), (2.0, 200, 800)])
def test_being_busy_takes_from_the_weight(bias: float, heavy: int, light: int) -> None:
    pool = endpoints(4, 1)
    pool[0].active = 3
    chosen = picks(LeastRequest(LeastRequestConfig(active_request_bias=bias), pool), 1000)
    assert chosen[pool[0].name] == pytest.approx(heavy, abs=2)
    assert chosen[pool[1].name] == pytest.approx(light, abs=2)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="choice_count: at least 2"):
        LeastRequestConfig(choice_count=1)
    with pytest.raises(ValueError, match="active_request_bias: must be 0 or more"):
        LeastRequestConfig(active_request_bias=-1)
