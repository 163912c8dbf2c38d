from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy import ConfigError, PeekInfo
from l4proxy.config.types import Duration
from l4proxy.plugins.local_ratelimit import LocalRatelimit, LocalRatelimitConfig, LocalRatelimitStats, TokenBuckets
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import Harness, check_filter, harness


def client(host: str) -> PeekInfo:
    return PeekInfo((host, 40000), ("192.0.2.1", 80))


def comes(h: Harness, host: str = "192.0.2.1") -> bool:
    """Whether one more connection is let through."""
    return h.another(info=client(host)).closed is None


def test_a_bucket_is_full_at_first_and_fills_evenly() -> None:
    h = harness(LocalRatelimit, max_tokens=3, tokens_per_fill=2, fill_interval="1s")
    assert [comes(h) for _ in range(4)] == [True, True, False, False]
    h.advance(0.4)
    assert not comes(h)
    h.advance(0.1)
    assert comes(h)
    assert not comes(h)
    h.advance(60)
    assert [comes(h) for _ in range(4)] == [True, True, True, False]


def test_a_refused_connection_is_told_why_and_counted() -> None:
    h = harness(LocalRatelimit, max_tokens=1, name="edge")
    late = h.another()
    assert late.finished
    assert str(late.closed) == "filter:rate_limited:local_ratelimit phase=on_connect"
    assert late.closed is not None
    assert late.closed.flags == ("RL",)
    stats = h.stats.group(LocalRatelimitStats, name="edge")
    assert (stats.ok_total, stats.rate_limited_total) == (1, 1)


def test_a_bucket_for_each_source() -> None:
    h = harness(LocalRatelimit, max_tokens=1, per="source", ipv4_prefix=24, info=client("198.51.100.1"))
    assert comes(h, "192.0.2.1")
    assert not comes(h, "192.0.2.2")
    assert comes(h, "192.0.3.1")
    assert comes(h, "")
    assert not comes(h, "")
    h.advance(1)
    assert comes(h, "192.0.2.2")


class Buckets(TokenBuckets):
    """With a clock that the test sets."""

    def __init__(self, **options: Any) -> None:
        self.now = 1e6
        config = LocalRatelimitConfig(**options)
        super().__init__(config, StatsRegistry().group(LocalRatelimitStats, name=""), lambda: self.now)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0.05, 0.1, 0.3, 1.0, 7.0]),
    st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.1, 0.25, 3.0]), st.integers(1, 30)), max_size=20),
)
def test_never_more_than_the_bucket_and_what_was_added(
    max_tokens: int, tokens_per_fill: int, interval: float, visits: list[tuple[float, int]]
) -> None:
    """Held against a bucket that counts tokens."""
    buckets = Buckets(max_tokens=max_tokens, tokens_per_fill=tokens_per_fill, fill_interval=Duration(interval))
    tokens = float(max_tokens)
    for pause, wanted in visits:
        buckets.now += pause
        tokens = min(max_tokens, tokens + pause * tokens_per_fill / interval)
        taken = sum(buckets.take(b"") for _ in range(wanted))
        assert min(wanted, tokens) - 1.001 < taken < min(wanted, tokens) + 0.001
        tokens -= taken


def test_the_table_of_sources_is_bounded() -> None:
    buckets = Buckets(max_tokens=1, fill_interval=Duration(3600.0), per="source", max_sources=100)
    for number in range(1000):
        assert buckets.take(number.to_bytes(4, "big"))
    assert buckets.stats.sources == 100
    assert buckets.stats.sources_forgotten_total == 900
    assert not buckets.take((999).to_bytes(4, "big")), "those seen last are remembered"
    assert buckets.take((0).to_bytes(4, "big"))


def test_full_buckets_are_forgotten_as_others_come() -> None:
    buckets = Buckets(max_tokens=5, per="source")
    for number in range(1000):
        buckets.take(number.to_bytes(4, "big"))
    assert buckets.stats.sources == 1000
    buckets.now += 10
    for _ in range(1000):
        buckets.now += 1
        buckets.take(b"same")
    assert buckets.stats.sources == 1
    assert buckets.stats.sources_forgotten_total == 0


def test_keeps_the_contract() -> None:
    check_filter(LocalRatelimit, client=[b"question", b"!"], upstream=[b"answer"], max_tokens=1)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "max_tokens: is missing"),
        ({"max_tokens": 0}, "max_tokens: 0 is out of range"),
        ({"max_tokens": 1, "fill_interval": 0}, "fill_interval: 0s is out of range"),
        ({"max_tokens": 1, "per": "host"}, "per: unknown value 'host'"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(LocalRatelimit, **options)
