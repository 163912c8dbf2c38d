"""A Kafka cluster to show: three real brokers where Java and Maven are, else those that librdkafka pretends to be."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from services.kafka import NEWEST, start_kafka

__all__ = ["BROKERS", "Cluster", "running_cluster"]

BROKERS = 3
METADATA = 3
TOPICS = {"orders": 3, "clicks": 6}
"""With their partitions."""


class Cluster(NamedTuple):
    what: str
    bootstrap: str


@contextlib.contextmanager
def running_cluster(directory: Path, *, mock: bool = False) -> Iterator[Cluster]:
    """Start one, and stop it at the end. Jars that Maven has fetched once are kept for the next time."""
    with contextlib.ExitStack() as started:
        if not mock and shutil.which("java") and shutil.which("mvn"):
            with contextlib.suppress(pytest.skip.Exception):  # Maven Central is out of reach
                brokers = started.enter_context(start_kafka(NEWEST, directory, BROKERS))
                cluster = Cluster(f"Apache Kafka {NEWEST}, {BROKERS} brokers", brokers.bootstrap)
                _make_topics(cluster)
                yield cluster
                return
        yield Cluster(f"librdkafka's mock of {BROKERS} brokers (for real ones: install Java and Maven)", _pretended())


def _pretended() -> str:
    """Start the mock cluster that is in confluent-kafka's copy of librdkafka, and return its addresses. It lives as
    long as this process. It ends Metadata of flexible versions with a byte too much, so these are not offered."""
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    for function in (library.rd_kafka_conf_new, library.rd_kafka_new, library.rd_kafka_mock_cluster_new):
        function.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"log_level", b"0", None, 0)
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, None, 0))
    mock = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, BROKERS))
    library.rd_kafka_mock_set_apiversion(mock, METADATA, 0, 8)
    for name, partitions in TOPICS.items():
        library.rd_kafka_mock_topic_create(mock, name.encode(), partitions, BROKERS)
    addresses: bytes = library.rd_kafka_mock_cluster_bootstraps(mock)
    return addresses.decode()


def _make_topics(cluster: Cluster) -> None:
    topics = [NewTopic(name, count, BROKERS) for name, count in TOPICS.items()]
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    while len(admin.list_topics(timeout=30).brokers) < BROKERS:
        time.sleep(0.2)
    for made in admin.create_topics(topics).values():
        made.result(60)
