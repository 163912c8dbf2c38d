"""How full produced batches are, counted by powers of two: an index and an addition for each, where a histogram has to
search. Its buckets are powers of two, too, so nothing is lost when they are filled in the end."""

from __future__ import annotations

from l4proxy.histograms import Histogram
from l4proxy.plugins.kafka.stats import TopicStats
from l4proxy.protocols.kafka.batches import CODEC_MASK, codec

__all__ = ["BatchTally"]

SIZES = 33
"""Powers of two up to which there are sizes, and numbers of records."""


class BatchTally:
    """The batches of one topic since the last ``fold``."""

    __slots__ = ("_codecs", "_fills", "_records", "_size", "_sizes")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._codecs = [0] * (CODEC_MASK + 1)
        self._sizes = [0] * SIZES
        self._fills = [0] * SIZES
        self._size = 0
        self._records = 0

    def count(self, batches: int, records: int, size: int, attributes: int) -> None:
        """Some batches: most often one. Where it is more (formats 0 and 1), they are taken as equally large."""
        self._codecs[attributes & CODEC_MASK] += batches
        self._size += size
        self._records += records
        if batches > 1:
            size //= batches
            records //= batches
        self._sizes[(size - 1).bit_length()] += batches
        self._fills[(records - 1).bit_length() if records else 0] += batches

    def fold(self, stats: TopicStats) -> None:
        """Count in ``stats`` what was counted here, and begin anew."""
        for number, count in enumerate(self._codecs):
            if count:
                stats.codec_batches_total.add(codec(number), count)
        _fill(stats.produced_batch_bytes, self._sizes, self._size)
        _fill(stats.produced_batch_records, self._fills, self._records)
        self._clear()


def _fill(histogram: Histogram, counts: list[int], total: int) -> None:
    histogram.sum += total
    for power, count in enumerate(counts):
        if count:
            at = next((at for at, bound in enumerate(histogram.bounds) if 1 << power <= bound), len(histogram.bounds))
            histogram.counts[at] += count
