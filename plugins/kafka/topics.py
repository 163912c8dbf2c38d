"""Topics and partitions as the traffic shows them.

Only what a broker confirms is remembered, so that clients cannot make up topics. Newer versions name topics by an id
alone (KIP-516); which name it has is learnt from Metadata and its kin. What is counted before that is counted under the
id, and moves to the name when that is known.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from l4proxy.plugins.kafka.batch_tally import BatchTally
from l4proxy.plugins.kafka.stats import KafkaStats, PartitionEndStats, PartitionStats, TopicStats
from l4proxy.protocols.kafka.batches import Summary
from l4proxy.stats import OTHER, Stats
from l4proxy.stats_registry import StatsRegistry

__all__ = ["NO_ID", "Partition", "Topic", "Topics", "topic_text"]

NO_ID = bytes(16)
MAX_TOPICS = 100_000
"""Topics that are told apart; what comes later counts as ``other``."""
PRODUCERS = 1000
"""Idempotent producers of a partition whose last batch is remembered; the oldest are forgotten."""
SETTLED = 10_000
"""The end of a partition behind which the acknowledgement of a batch at 0 is not late, but of another first batch: it
was deleted and made again, and nobody has said so."""

Layout = list[tuple[int, int, int, int | None]]
"""Of each partition: error code, index, leader, leader epoch."""


class Partition:
    """One partition. ``end`` is the offset behind its last record as far as it was seen, -1 before."""

    __slots__ = ("_producers", "end", "end_stats", "index", "stats", "topic")

    def __init__(self, topic: Topic, index: int, stats: PartitionStats) -> None:
        self.topic = topic
        self.index = index
        self.stats = stats
        self.end = -1
        self.end_stats: PartitionEndStats | None = None
        self._producers: dict[int, tuple[int, int]] = {}
        """Of idempotent producers, by id: the epoch, and the sequence number of the last batch acknowledged."""

    def produced(self, summary: Summary, base_offset: int) -> int:
        """A broker has acknowledged these batches; -1: it was asked not to. Return how many records that are."""
        records, batches, _, attributes, next_offset, size, producer = summary
        if producer is not None and self._is_repeated(*producer):
            self.stats.duplicate_records_total += records
            return 0
        if base_offset >= 0:
            end = base_offset + next_offset
            if end > self.end:
                self.end = end
            elif base_offset == 0 and self.end > SETTLED:
                self.rewind()
                self.end = end
        stats = self.stats
        stats.produced_records_total += records
        stats.produced_batches_total += batches
        stats.produced_bytes_total += size
        if batches:
            tally = self.topic.tally
            if tally is None:
                tally = self.topic.tally = BatchTally()
            tally.count(batches, records, size, attributes)
        return records

    def _is_repeated(self, producer: int, epoch: int, sequence: int) -> bool:
        """Whether an idempotent producer has sent a batch that was acknowledged before (KIP-98). Sequence numbers go on
        from 0 behind 2^31 - 1."""
        known = self._producers.get(producer)
        if known is not None and known[0] == epoch and 0 <= known[1] - sequence < 1 << 30:
            return True
        if known is None and len(self._producers) >= PRODUCERS:
            del self._producers[next(iter(self._producers))]
        self._producers[producer] = (epoch, sequence)
        return False

    def rewind(self) -> None:
        """It was deleted and made again."""
        self.end = -1
        self._producers.clear()
        self.topic.owner.stats.rewound_partitions_total += 1

    def fetched(self, summary: Summary) -> int:
        """A consumer was sent these batches. Return how many records that are."""
        records, batches, control_batches, _, _, size, _ = summary
        stats = self.stats
        stats.fetched_records_total += records
        stats.fetched_batches_total += batches
        stats.fetched_control_batches_total += control_batches
        stats.fetched_bytes_total += size
        return records


class Topic:
    """One topic. ``topic_id`` is `NO_ID` while it is not known, ``key`` (its name on the wire) None while that is not,
    and ``name`` the id's text then."""

    __slots__ = (
        "forgotten",
        "has_errors",
        "key",
        "layout",
        "leaders",
        "name",
        "owner",
        "partitions",
        "stats",
        "tally",
        "topic_id",
    )

    def __init__(self, owner: Topics, key: bytes | None, topic_id: bytes) -> None:
        self.owner = owner
        self.key = key
        self.topic_id = topic_id
        self.name = topic_text(key, topic_id)
        self.partitions: dict[int, Partition] = {}
        self.layout: Layout = []
        """As the last Metadata response had it."""
        self.forgotten = False
        """Whether it was deleted, or what it counted is another one's now: whoever keeps it has to look it up again."""
        self.leaders: dict[int, int] = {}
        """Of each partition, the last one that it was seen to have."""
        self.has_errors = False
        """Whether that had error codes of partitions."""
        self.tally: BatchTally | None = None
        self.stats: TopicStats | None = None
        """None while there was nothing to count: a Metadata response may name thousands of topics."""

    def partition(self, index: int) -> Partition:
        partition = self.partitions.get(index)
        if partition is None:
            partition = self.partitions[index] = Partition(self, index, self._stats_of(index))
        return partition

    @property
    def label(self) -> str:
        """What it is called in metrics."""
        return self.owner.prefix + self.name

    def counted(self) -> TopicStats:
        """Its metrics."""
        if self.stats is None:
            self.stats = self.owner.registry.group(TopicStats, topic=self.label)
        return self.stats

    def _stats_of(self, index: int) -> PartitionStats:
        return self.owner.registry.group(PartitionStats, topic=self.label, partition=str(index))

    def rename(self, key: bytes) -> None:
        """Its name is known now: what was counted under the id belongs to that."""
        self.collect()
        self.key = key
        self.name = topic_text(key, self.topic_id)
        before = self.stats
        self.discard()
        self.stats = None
        if before is not None:
            _add_up(self.counted(), before)
        for partition in self.partitions.values():
            counted = partition.stats
            partition.stats = self._stats_of(partition.index)
            _add_up(partition.stats, counted)

    def discard(self) -> None:
        """Show its metrics no more."""
        if self.stats is not None:
            self.owner.registry.discard(self.stats)
        for partition in self.partitions.values():
            self.owner.registry.discard(partition.stats)
            if partition.end_stats is not None:
                self.owner.registry.discard(partition.end_stats)
                partition.end_stats = None

    def collect(self) -> None:
        """Bring the metrics up to date that are not counted as things happen."""
        registry, label = self.owner.registry, self.label
        for partition in self.partitions.values():
            if partition.end >= 0:
                if partition.end_stats is None:
                    partition.end_stats = registry.group(PartitionEndStats, topic=label, partition=str(partition.index))
                if partition.end_stats.label_values[1] != OTHER:
                    partition.end_stats.partition_end_offset = partition.end
        if self.tally is not None:
            self.tally.fold(self.counted())

    def lead(self, layout: Layout) -> list[tuple[int, int, int]]:
        """Metadata told who leads which partition. Return where that is another one than before: index, old, new."""
        self.has_errors = any(error for error, _, _, _ in layout)
        self.layout = layout
        if not self.leaders:
            self.leaders = {index: leader for _, index, leader, _ in layout if leader >= 0}
            return []
        changed = []
        for _, index, leader, _ in layout:
            if leader >= 0:  # else it has none at the moment
                before = self.leaders.get(index, leader)
                if before != leader:
                    changed.append((index, before, leader))
                self.leaders[index] = leader
        if changed:
            self.counted().leader_changes_total += len(changed)
        return changed


class Topics:
    """All topics that were seen. ``prefix`` stands in front of their names in labels."""

    def __init__(self, registry: StatsRegistry, stats: KafkaStats, prefix: str) -> None:
        self.registry = registry
        self.stats = stats
        self.prefix = prefix
        self._by_name: dict[bytes, Topic] = {}
        self._by_id: dict[bytes, Topic] = {}

    def __iter__(self) -> Iterator[Topic]:
        yield from self._by_name.values()
        yield from (topic for topic in self._by_id.values() if topic.key is None)

    def find(self, name: bytes | None, topic_id: bytes | None = None) -> Topic:
        """The topic that a broker has answered for."""
        topic = self.known(name, topic_id)
        return topic if topic is not None else self._add(name, topic_id or NO_ID)

    def known(self, name: bytes | None, topic_id: bytes | None) -> Topic | None:
        return self._by_name.get(name) if name is not None else self._by_id.get(topic_id or NO_ID)

    def learn(self, name: bytes, topic_id: bytes | None) -> Topic:
        """A broker has said that this is a topic, and which id it has."""
        topic = self._by_name.get(name)
        if not topic_id or topic_id == NO_ID:
            return topic if topic is not None else self._add(name, NO_ID)
        if topic is not None and topic.topic_id == topic_id:
            return topic
        anonymous = self._by_id.get(topic_id)
        if topic is None:
            if anonymous is None:
                return self._add(name, topic_id)
            anonymous.rename(name)
            self._by_name[name] = anonymous
            return anonymous
        if topic.topic_id != NO_ID:
            del self._by_id[topic.topic_id]
            for partition in topic.partitions.values():
                partition.rewind()
        topic.topic_id = topic_id
        self._by_id[topic_id] = topic
        if anonymous is not None:
            anonymous.rename(name)  # its groups of metrics are the topic's own now
            anonymous.forgotten = True
        return topic

    def forget(self, name: bytes | None, topic_id: bytes | None) -> Topic | None:
        """It was deleted. Return it, if it was known."""
        topic = self.known(name, topic_id)
        if topic is not None:
            if topic.key is not None:
                self._by_name.pop(topic.key, None)
            self._by_id.pop(topic.topic_id, None)
            topic.discard()
            topic.forgotten = True
        return topic

    def collect(self) -> None:
        for topic in self:
            topic.collect()

    def _add(self, name: bytes | None, topic_id: bytes) -> Topic:
        if len(self._by_name) + len(self._by_id) >= MAX_TOPICS:
            name, topic_id = OTHER.encode(), NO_ID
            if name in self._by_name:
                return self._by_name[name]
        topic = Topic(self, name, topic_id)
        if name is not None:
            self._by_name[name] = topic
        if topic_id != NO_ID:
            self._by_id[topic_id] = topic
        return topic


def topic_text(name: bytes | None, topic_id: bytes) -> str:
    """A topic's name; in want of one its id, as Kafka's tools write it."""
    if name is not None:
        return name.decode(errors="backslashreplace")
    return base64.urlsafe_b64encode(topic_id).rstrip(b"=").decode()


def _add_up(total: Stats, other: Any) -> None:
    """Add the metrics of ``other`` to those of ``total``, which is of the same class."""
    for name, metric in total.metrics.items():
        mine, theirs = getattr(total, name), getattr(other, name)
        if metric.bounds:
            mine.counts = [a + b for a, b in zip(mine.counts, theirs.counts, strict=True)]
            mine.sum += theirs.sum
        elif metric.label:
            for value, count in theirs.values.items():
                mine.add(value, count)
        else:
            setattr(total, name, mine + theirs)
