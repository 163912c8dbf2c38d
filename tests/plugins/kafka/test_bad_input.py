"""What is not as it should be, with the observer in a chain: bytes pass, a counter says what they were, and the
connection goes on. One test for each line of what can go wrong."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from kafka_messages import batch, request, response
from l4proxy.plugins.kafka.filter import Kafka
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import harness
from l4proxy.testing.harness import Harness

MAX_FRAME = 100 * 1024 * 1024
GOOD = request("Heartbeat", 4, 99, group_id="g", member_id="m")
GOOD_ANSWER = response("Heartbeat", 4, 99)


def counted(h: Harness, name: str) -> dict[tuple[str, ...], Any]:
    stats: StatsRegistry = h.stats
    family = stats.snapshot().get(f"l4proxy_{name}")
    return {tuple(one["labels"]): one["value"] for one in family["samples"] if one["value"]} if family else {}


def passed(h: Harness, client: list[bytes], upstream: list[bytes] = []) -> None:  # noqa: B006
    """Both sides get every byte, and nobody is disconnected."""
    for data in client:
        h.client.send(data)
    for data in upstream:
        h.upstream.send(data)
    assert h.upstream.received == b"".join(client)
    assert h.client.received == b"".join(upstream)
    assert h.closed is None


def frame(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def header(key: int, version: int, correlation_id: int = 1) -> bytes:
    return struct.pack(">hhih", key, version, correlation_id, -1)


UNREADABLE = [
    ("truncated", frame(header(12, 0) + b"\0\x05gr")),
    ("truncated", frame(header(2, 1) + bytes(4) + b"\0\0\0\x07\0\x01a\0\0\0\0")),  # seven topics, and one is there
    ("trailing_bytes", frame(GOOD[4:] + b"\0")),
    ("truncated", frame(header(12, 0) + b"\x7f\xff" + b"x" * 10)),  # a name of 32767 bytes
    ("negative_length", frame(header(12, 0) + b"\xff\xf0" + b"x" * 10)),
    ("truncated", frame(header(0, 3) + b"\xff\xff\0\x01\0\0\0\x01\x7f\xff\xff\xff")),  # two billion topics
    ("bad_varint", frame(header(12, 4) + b"\0" + b"\xff" * 11)),
    ("bad_batch", frame(header(0, 3) + b"\xff\xff\0\x01\0\0\0\x01" + b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0"
                        + struct.pack(">i", 70) + struct.pack(">qiibI", 0, -5, 0, 2, 0) + bytes(49))),
]  # fmt: skip


@pytest.mark.parametrize(("code", "bad"), UNREADABLE)
def test_truncated_and_lying_ones_are_counted_and_the_next_is_read(code: str, bad: bytes) -> None:
    h = harness(Kafka)
    passed(h, [GOOD, bad, GOOD], [GOOD_ANSWER])
    assert counted(h, "kafka_undecodable_frames_total") == {(code,): 1}
    assert counted(h, "kafka_requests_total")["Heartbeat", "4"] >= 2
    assert not counted(h, "inspection_stopped_total")


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("oversized_frame", struct.pack(">i", MAX_FRAME + 1) + header(0, 9)),
        ("oversized_frame", b"\x7f\xff\xff\xff" + bytes(100)),
        ("negative_length", b"\xff\xff\xff\xff" + bytes(100)),
        ("negative_length", b"\x80\0\0\0" + bytes(100)),
        ("short_frame", frame(b"\0\x03\0")),
        ("short_frame", frame(b"")),
        ("tls", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200)),
        ("tls", b"\x15\x03\x03\0\x02\x02\x46"),
        ("http", b"GET /metrics HTTP/1.1\r\nHost: broker:9092\r\n\r\n"),
        ("http", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("not_kafka", frame(b"\x7f\x01\0\0\0\0\0\x01\xff\xff")),
    ],
)
def test_what_has_no_frames_is_named_and_left_alone(reason: str, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    h = harness(Kafka)
    passed(h, [bad, b"and more", GOOD], [b"whatever is answered"])
    stopped = counted(h, "inspection_stopped_total")
    assert [(labels[-1], value) for labels, value in stopped.items()] == [(reason, 1)]
    assert not [record for record in caplog.records if record.exc_info]


def test_the_limit_of_frames_is_an_option_with_a_name() -> None:
    h = harness(Kafka, max_frame="1KiB")
    passed(h, [frame(header(3, 0) + bytes(2000))])
    assert [labels[-1] for labels in counted(h, "inspection_stopped_total")] == ["oversized_frame"]


@pytest.mark.parametrize(("key", "version"), [(3, 99), (9999, 0), (10_001, 3), (-5, 0)])
def test_unknown_keys_and_versions_pass_and_are_paired(key: int, version: int) -> None:
    h = harness(Kafka)
    unknown = frame(header(key, version, 7) + b"what nobody knows")
    passed(h, [GOOD, unknown], [GOOD_ANSWER, frame(struct.pack(">i", 7) + b"\0the answer")])
    assert counted(h, "kafka_opaque_requests_total") == {(): 1}
    assert not counted(h, "kafka_unknown_responses_total")
    assert not counted(h, "kafka_undecodable_frames_total")


def test_wrong_correlation_ids() -> None:
    h = harness(Kafka)
    passed(h, [GOOD], [frame(struct.pack(">i", 12345) + b"\0\0\0\0\0\0\0"), GOOD_ANSWER])
    assert counted(h, "kafka_unknown_responses_total") == {(): 1}
    assert counted(h, "kafka_requests_in_flight") == {}


def test_a_compressed_bomb_is_not_opened() -> None:
    """Its header says how many records it has; nothing is unpacked."""
    bomb = batch(1000, attributes=1, packed=gzip.compress(bytes(50_000_000)))
    topics = [{"name": "t", "partition_data": [{"index": 0, "records": bomb}]}]
    answer = response("Produce", 9, 5, responses=[{"name": "t", "partition_responses": [{"base_offset": 0}]}])
    h = harness(Kafka)
    tracemalloc.start()
    passed(h, [request("Produce", 9, 5, acks=1, topic_data=topics)], [answer])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert counted(h, "kafka_produced_records_total") == {("t", "0"): 1000}


def _claims_a_large_frame() -> bytes:
    return struct.pack(">i", MAX_FRAME) + header(0, 9) + b"\0"


def _claims_many_topics() -> bytes:
    return frame(header(3, 9) + b"\0" + b"\xff\xff\xff\xff\x07" + bytes(64))


@pytest.mark.parametrize("make", [_claims_a_large_frame, _claims_many_topics])
def test_claims_take_no_memory(make: Callable[[], bytes]) -> None:
    h = harness(Kafka)
    h.client.send(GOOD)
    data = make()
    tracemalloc.start()
    for _ in range(50):
        h.client.send(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert h.closed is None


def test_requests_that_nobody_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l4proxy.protocols.kafka.session.MAX_IN_FLIGHT", 50)
    h = harness(Kafka)
    passed(h, [GOOD] * 60)
    assert [labels[-1] for labels in counted(h, "inspection_stopped_total")] == ["too_many_in_flight"]
