"""Distributions: how long things last, how large they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf

__all__ = ["BYTES", "SECONDS", "Histogram", "quantile"]

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600),
)
"""Upper bounds of buckets from a request in a local network (100 microseconds) to a connection kept for an hour."""

BYTES = tuple(4**power for power in range(3, 16))
"""Upper bounds of buckets from 64 bytes to 1 GiB."""


class Histogram:
    """Counts values in buckets. ``counts`` has one entry per bound (the values up to and including it, above the bound
    before) and a last one for what is larger than all bounds; ``sum`` is the sum of the values."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def record(self, value: float) -> None:
        """Count one value, in the unit that the metric's name says."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        """Count what ``other`` has counted, which has the same bounds."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def clear(self) -> None:
        self.counts = [0] * len(self.counts)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, fraction: float) -> float | None:
        return quantile(self.bounds, self.counts, fraction, self.sum)


def quantile(bounds: Sequence[float], counts: Sequence[int], fraction: float, total: float = inf) -> float | None:
    """Estimate the value that ``fraction`` (0 to 1) of the values do not exceed; None where nothing was counted.

    Values are taken as evenly spread within their bucket, as Prometheus' ``histogram_quantile`` does; what is above all
    bounds is said to be the last bound. None can be larger than ``total``, the sum of all, leaves it when the others
    are as small as their buckets allow: that tells more of few values than wide buckets do.
    """
    number = sum(counts)
    if not number:
        return None
    if number == 1 and total < inf:
        return total
    rank = fraction * number
    spare = total - sum(count * lower for lower, count in zip((0.0, *bounds), counts, strict=True))
    below = 0
    lower = 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + max(0.0, min(upper - lower, spare)) * (rank - below) / count
        below += count
        lower = upper
    return lower
