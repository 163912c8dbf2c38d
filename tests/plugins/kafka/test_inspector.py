"""The inspector as a whole: a conversation, however it arrives, and what is told and counted of it."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_messages import batch, request, response
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Link
from l4proxy.plugins.kafka.config import KafkaConfig
from l4proxy.plugins.kafka.inspector import KafkaInspector
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import check_inspector

CLIENT, BROKER = Side.CLIENT, Side.UPSTREAM
SOFTWARE: dict[str, Any] = {"client_software_name": "test-client", "client_software_version": "1.0"}


def fields(**changed: object) -> dict[str, object]:
    return {
        "version": 0, "client_id": "test", "principal": "", "group": "", "topics": [], "partitions": 0, "records": 0,
        **changed,
    }  # fmt: skip


def produce(correlation_id: int, records: int) -> bytes:
    topic = {"name": "orders", "partition_data": [{"index": 0, "records": batch(records)}]}
    return request("Produce", 9, correlation_id, acks=-1, topic_data=[topic])


def produced(correlation_id: int, **partition: int) -> bytes:
    topic = {"name": "orders", "partition_responses": [partition]}
    return response("Produce", 9, correlation_id, responses=[topic])


ID = b"i" * 16
LED = {"name": "orders", "topic_id": ID, "partitions": [{"partition_index": 0, "leader_id": 1}]}
FETCHED = {"topic_id": ID, "partitions": [{"partition_index": 0, "high_watermark": 5, "records": batch(5)}]}
COMMITTED = {"name": "orders", "partitions": [{"partition_index": 0, "committed_offset": 3}]}
SCRIPT = [
    (CLIENT, request("ApiVersions", 3, 1, **SOFTWARE)),
    (BROKER, response("ApiVersions", 3, 1, api_keys=[{"api_key": 0, "max_version": 13}])),
    (CLIENT, request("Metadata", 12, 2, topics=[{"name": "orders"}])),
    (BROKER, response("Metadata", 12, 2, topics=[LED])),
    (CLIENT, produce(3, 5)),
    (BROKER, produced(3, index=0)),
    (CLIENT, produce(4, 9)),
    (BROKER, produced(4, index=0, error_code=6)),
    (CLIENT, request("Fetch", 13, 5, topics=[])),
    (BROKER, response("Fetch", 13, 5, responses=[FETCHED])),
    (CLIENT, request("OffsetCommit", 8, 6, group_id="billing", topics=[COMMITTED])),
    (BROKER, response("OffsetCommit", 8, 6, topics=[{"name": "orders", "partitions": [{"partition_index": 0}]}])),
]
EXPECTED = [
    ("ApiVersions", "", fields(version=3)),
    ("Metadata", "", fields(version=12, topics=["orders"], partitions=1)),
    ("Produce", "", fields(version=9, topics=["orders"], partitions=1, records=5)),
    ("Produce", "NOT_LEADER_OR_FOLLOWER", fields(version=9, topics=["orders"], partitions=1, records=9)),
    ("Fetch", "", fields(version=13, topics=["orders"], partitions=1, records=5)),
    ("OffsetCommit", "", fields(version=8, group="billing", topics=["orders"], partitions=1)),
]


def test_it_keeps_its_contract() -> None:
    check_inspector(
        KafkaInspector,
        SCRIPT,
        EXPECTED,
        bad=[b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 20, b"\0\0\0\0\0\0\0\0", b"SSH-2.0-x\r\n"],
    )


@pytest.fixture
def played() -> StatsRegistry:
    registry = StatsRegistry()
    inspector = KafkaInspector(KafkaConfig(), registry)
    link = Link(1, Peer("192.0.2.1", 40000))
    conversation = inspector.conversation(link)
    for at, (side, data) in enumerate(SCRIPT):
        (conversation.client_data if side is CLIENT else conversation.server_data)(data, 1000.0 + at)
    conversation.close(2000.0)
    return registry


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("requests_total", ["Produce", "9"], 2),
        ("errors_total", ["Produce", "NOT_LEADER_OR_FOLLOWER"], 1),
        ("produced_records_total", ["orders", "0"], 5),
        ("produced_bytes_total", ["orders", "0"], len(batch(5))),
        ("fetched_records_total", ["orders", "0"], 5),
        ("fetched_bytes_total", ["orders", "0"], len(batch(5))),
        ("partition_end_offset", ["orders", "0"], 5),
        ("consumer_group_committed_offset", ["billing", "orders", "0"], 3),
        ("consumer_group_lag", ["billing", "orders", "0"], 2),
        ("software_connections_total", ["test-client", "1.0"], 1),
        ("client_requests_total", ["test"], 6),
        ("client_produced_records_total", ["test"], 5),
    ],
)
def test_what_is_counted(played: StatsRegistry, name: str, labels: list[str], value: float) -> None:
    family = played.snapshot()[f"l4proxy_kafka_{name}"]
    assert value in [sample["value"] for sample in family["samples"] if sample["labels"] == labels]


def test_the_names_that_dashboards_rely_on() -> None:
    registry = StatsRegistry()
    KafkaInspector(KafkaConfig(), registry)
    from l4proxy.plugins.kafka import stats

    names = {
        cls.full_name(attribute): [*cls.label_names, *([metric.label] if metric.label else [])]
        for cls in map(stats.__dict__.__getitem__, stats.__all__)
        for attribute, metric in cls.metrics.items()
    }
    assert names["l4proxy_kafka_requests_total"] == ["api", "version"]
    assert names["l4proxy_kafka_errors_total"] == ["api", "error"]
    assert names["l4proxy_kafka_request_seconds"] == ["api"]
    assert names["l4proxy_kafka_consumer_group_lag"] == ["group", "topic", "partition"]
    assert names["l4proxy_kafka_consumer_group_members"] == ["group"]
    assert names["l4proxy_kafka_rebalances_total"] == ["group", "reason"]
    for name in ("produced_records", "fetched_records", "produced_bytes", "fetched_bytes"):
        assert names[f"l4proxy_kafka_{name}_total"] == ["topic", "partition"]
