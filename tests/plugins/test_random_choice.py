from __future__ import annotations

import random
from collections import Counter

import pytest

from l4proxy.address import Address
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.filter import NoConfig
from l4proxy.plugins.random_choice import RandomChoice


def balancer(*weights: int) -> RandomChoice:
    specs = [EndpointSpec.of_address(Address("10.0.0.1", port), weight=w) for port, w in enumerate(weights)]
    return RandomChoice(NoConfig(), [Endpoint(spec) for spec in specs])


def test_nobody_to_choose() -> None:
    assert balancer().choose(None) is None


def test_shares_follow_the_weights() -> None:
    random.seed(1)
    choose = balancer(1, 2, 5).choose
    counts = Counter(endpoint.name for _ in range(8000) if (endpoint := choose(None)))
    assert [counts[f"10.0.0.1:{port}"] for port in range(3)] == pytest.approx([1000, 2000, 5000], rel=0.1)


@pytest.mark.parametrize("draw", [0.0, 0.124, 0.126, 0.999999999999])
def test_every_draw_finds_an_endpoint(draw: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: draw)
    chosen = balancer(1, 7).choose(None)
    assert chosen is not None
    assert chosen.name == ("10.0.0.1:0" if draw < 0.125 else "10.0.0.1:1")
