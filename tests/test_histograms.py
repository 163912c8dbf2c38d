from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.histograms import BYTES, SECONDS, Histogram, quantile


def test_a_value_on_a_bound_is_counted_below_it() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (0, 1, 1.5, 2, 4, 4.01, 100):
        histogram.record(value)
    assert histogram.counts == [2, 2, 1, 2]
    assert histogram.count == 7
    assert histogram.sum == pytest.approx(112.51)


def test_one_is_added_to_another_and_begins_anew() -> None:
    one, other = Histogram((1, 2)), Histogram((1, 2))
    one.record(0.5)
    for value in (0.5, 3):
        other.record(value)
    one.add(other)
    other.clear()
    assert (one.counts, one.sum) == ([2, 0, 1], 4)
    assert (other.counts, other.sum) == ([0, 0, 0], 0)


def test_the_ready_made_buckets_ascend() -> None:
    for bounds in (SECONDS, BYTES):
        assert list(bounds) == sorted(set(bounds))
    assert (BYTES[0], BYTES[-1]) == (64, 1 << 30)
    assert (SECONDS[0], SECONDS[-1]) == (0.0001, 3600)


def test_quantiles_are_interpolated_within_a_bucket() -> None:
    assert quantile((10, 20), [0, 10, 0], 0.5) == 15
    assert quantile((10, 20), [10, 10, 0], 0.5) == 10
    assert quantile((10, 20), [0, 0, 3], 0.5) == 20
    assert quantile((10, 20), [0, 0, 0], 0.5) is None


def test_the_sum_tells_more_of_few_values() -> None:
    histogram = Histogram(SECONDS)
    assert histogram.quantile(0.5) is None
    histogram.record(0.121)
    assert histogram.quantile(0.01) == histogram.quantile(0.99) == 0.121
    histogram.record(0.11)
    histogram.record(0.0002)
    assert 0.1 < (histogram.quantile(0.5) or 0) < (histogram.quantile(0.99) or 0) <= 0.131
    histogram.record(5000)
    assert histogram.quantile(1) == 3600


@given(st.lists(st.floats(0, 4000), min_size=1), st.floats(0, 1))
def test_the_sum_takes_nothing_away(values: list[float], fraction: float) -> None:
    """No estimate is in another bucket, nor above that without it."""
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.record(value)
    less, more = histogram.quantile(fraction), quantile(SECONDS, histogram.counts, fraction)
    assert less is not None
    assert more is not None
    if len(values) > 1:
        assert less <= more
    largest = histogram.quantile(1)
    assert largest is not None
    assert largest >= min(max(values), SECONDS[-1]) - 1e-6


@given(st.lists(st.floats(0, 4000), min_size=1), st.floats(0, 1))
def test_a_quantile_lies_within_the_bucket_of_the_value(values: list[float], fraction: float) -> None:
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.record(value)
    estimate = quantile(SECONDS, histogram.counts, fraction)
    assert estimate is not None
    assert 0 <= estimate <= SECONDS[-1]
    smaller = sum(value <= estimate for value in values)
    in_the_same_bucket = max(histogram.counts)
    assert smaller + in_the_same_bucket >= fraction * len(values) - 1e-6
