"""Do the numbers of the kafka filter equal the brokers' own? Many clients, three brokers of each version, a table.

    cd tests && ../.venv/bin/python -m e2e.kafka_exactness            # a few minutes; needs Java, Maven, kcat, npm
    cd tests && ../.venv/bin/python -m e2e.kafka_exactness 4.1.1 kcat

For each job (`kafka_jobs`) there is a topic of three partitions with three replicas. What the filter has counted stands
beside what the brokers say when they are asked directly: the ends of partitions, the records that can be read from
them, what the group has committed. Markers of transactions take offsets and are no records. Some consumers ask for a
part of the records again: after a rebalance, and kafka-python also while it still has them. What they are sent is
counted each time, so there the count of fetched records has to be at least that of the consumed ones.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from e2e.kafka_jobs import JOBS
from e2e.kafka_watch import Watched, watch
from e2e.test_kafka import wait_for_replicas
from services.kafka import NEWEST, OLDER, KafkaCluster, start_kafka

PARTITIONS = range(3)
ASK_AGAIN = ("rebalances", "kafka-python")
"""Jobs whose consumers are sent some records more than once."""
COLUMNS = (
    "Kafka",
    "what",
    "records",
    "produced",
    "ends",
    "seen",
    "consumed",
    "fetched",
    "committed",
    "seen",
    "lag",
    "",
)


class Row(NamedTuple):
    """What the brokers say, and beside it what was seen."""

    version: str
    job: str
    records: dict[int, int]
    produced: dict[int, int]
    ends: dict[int, int]
    seen_ends: dict[int, int]
    consumed: int
    fetched: int
    committed: dict[int, int]
    seen_committed: dict[int, int]
    lag: dict[int, int]

    @property
    def is_exact(self) -> bool:
        lags = {number: self.ends[number] - offset for number, offset in self.committed.items()}
        return (
            self.records == self.produced
            and self.seen_ends == self.ends
            and self.seen_committed == self.committed
            and self.lag == lags
            and (
                self.fetched >= self._sent
                if any(name in self.job for name in ASK_AGAIN)
                else self.fetched == self._sent
            )
        )

    @property
    def _sent(self) -> int:
        """A consumer that reads everything is sent every record; those of aborted transactions, too."""
        return sum(self.records.values())

    def cells(self) -> list[str]:
        def each(values: dict[int, int]) -> str:
            return "+".join(str(values.get(number, 0)) for number in PARTITIONS) if values else "-"

        return [
            self.version, self.job, each(self.records), each(self.produced), each(self.ends), each(self.seen_ends),
            str(self.consumed), str(self.fetched), each(self.committed), each(self.seen_committed), each(self.lag),
            "exact" if self.is_exact else "WRONG",
        ]  # fmt: skip


def main() -> int:
    versions = [word for word in sys.argv[1:] if word[0].isdigit()] or [OLDER, NEWEST]
    wanted = [word for word in sys.argv[1:] if not word[0].isdigit()]
    rows: list[Row] = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for version in versions:
        with _watched(version) as (cluster, watched):
            for number, (name, job) in enumerate(JOBS.items()):
                if wanted and not any(word in name for word in wanted):
                    continue
                if "KIP-848" in name and version.startswith("3."):
                    continue
                rows.append(_measure(cluster, watched, name, f"topic-{number}", job))
                print(f"| {' | '.join(rows[-1].cells())} |", flush=True)
            metrics = watched.metrics()
            odd = [key for key in metrics if key[0] == "undecodable_frames_total"]
            odd += [(name,) for name in ("unknown_responses_total", "opaque_requests_total") if metrics[name,]]
            requests = {key[1:]: value for key, value in metrics.items() if key[0] == "requests_total"}
            print(
                f"\n{version}: {sum(requests.values()):.0f} requests of {len({api for api, _ in requests})} APIs,"
                f" not understood: {odd or 'none'}\n"
            )
    return 0 if all(row.is_exact for row in rows) else 1


@contextmanager
def _watched(version: str) -> Iterator[tuple[KafkaCluster, Watched]]:
    with tempfile.TemporaryDirectory() as directory:
        proxy = Path(directory) / "proxy"
        proxy.mkdir()
        with (
            start_kafka(version, Path(directory) / "kafka", count=3) as cluster,
            cluster.door() as doors,
            watch(proxy, doors) as watched,
        ):
            yield cluster, watched


def _measure(cluster: KafkaCluster, watched: Watched, name: str, topic: str, job: object) -> Row:
    admin = AdminClient({"bootstrap.servers": watched.bootstrap})
    admin.create_topics([NewTopic(topic, len(PARTITIONS), 3)])[topic].result(30)
    wait_for_replicas(cluster, topic)
    consumed = job(cluster, watched.bootstrap, topic)  # type: ignore[operator]
    records, ends = _read(cluster, topic)
    committed = _committed(cluster, f"group-{topic}", topic)
    return Row(
        cluster.version, name, records, _filled(watched.of_partitions("produced_records_total", topic)), ends,
        _filled(watched.of_partitions("partition_end_offset", topic)), consumed,
        sum(watched.of_partitions("fetched_records_total", topic).values()), committed,
        {int(key[3]): int(value) for key, value in watched.metrics().items()
         if key[0] == "consumer_group_committed_offset" and key[1] == f"group-{topic}"},
        watched.lag(f"group-{topic}", topic),
    )  # fmt: skip


def _filled(values: dict[int, int]) -> dict[int, int]:
    return {number: values.get(number, 0) for number in PARTITIONS}


def _read(cluster: KafkaCluster, topic: str) -> tuple[dict[int, int], dict[int, int]]:
    """How many records can be read from each partition, and where it ends: asked for with no proxy in between."""
    reader = confluent_kafka.Consumer({
        "bootstrap.servers": cluster.bootstrap, "group.id": "reader", "isolation.level": "read_uncommitted",
        "enable.partition.eof": True, "enable.auto.commit": False,
    })  # fmt: skip
    reader.assign([TopicPartition(topic, number, 0) for number in PARTITIONS])
    records = dict.fromkeys(PARTITIONS, 0)
    at_end: set[int] = set()
    while len(at_end) < len(PARTITIONS):
        message = reader.poll(30)
        assert message is not None, "nothing can be read any more"
        error, partition = message.error(), message.partition()
        assert partition is not None
        if error:
            assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
            at_end.add(partition)
        else:
            records[partition] += 1
    ends = {number: reader.get_watermark_offsets(TopicPartition(topic, number), 30)[1] for number in PARTITIONS}
    reader.close()
    return records, ends


def _committed(cluster: KafkaCluster, group: str, topic: str) -> dict[int, int]:
    asker = confluent_kafka.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group})
    found = asker.committed([TopicPartition(topic, number) for number in PARTITIONS], 30)
    asker.close()
    return {one.partition: one.offset for one in found if one.offset >= 0}


if __name__ == "__main__":
    sys.exit(main())
