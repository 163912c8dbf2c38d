from __future__ import annotations

import gzip
import itertools
from typing import Any

import pytest

from kafka_front import Filtered, with_filters
from kafka_messages import batch, varint
from l4proxy import ConfigError
from l4proxy.plugins.kafka_produce_rules import KafkaProduceRules
from l4proxy.testing import use

TOO_LARGE, POLICY_VIOLATION, INVALID_RECORD = 10, 44, 87
GZIP, SNAPPY, UNKNOWN = 1, 2, 5


def packed(*records: tuple[bytes | None, bytes, tuple[str, ...]], codec: int = 0) -> bytes:
    """A batch of these records: key, value, and names of headers."""
    content = b""
    for offset, (key, value, headers) in enumerate(records):
        parts = [b"\0", varint(0), varint(offset)]
        for field in (key, value):
            parts += [varint(-1)] if field is None else [varint(len(field)), field]
        parts.append(varint(len(headers)))
        for name in headers:
            parts += [varint(len(name)), name.encode(), varint(1), b"x"]
        body = b"".join(parts)
        content += varint(len(body)) + body
    return batch(len(records), attributes=codec, packed=gzip.compress(content, mtime=0) if codec == GZIP else content)


def produced(*topics: tuple[str, *tuple[bytes, ...]], acks: int = 1) -> dict[str, Any]:
    """A Produce request: each topic with the records of its partitions."""
    topic_data = [
        {"name": name, "partition_data": [{"index": at, "records": data} for at, data in enumerate(partitions)]}
        for name, *partitions in topics
    ]
    return {"acks": acks, "topic_data": topic_data}


def outcome(response: dict[str, Any]) -> dict[tuple[str, int], int]:
    return {
        (topic["name"], partition["index"]): partition["error_code"]
        for topic in response["responses"]
        for partition in topic["partition_responses"]
    }


@pytest.mark.parametrize(
    ("options", "good", "bad", "code"),
    [
        ({"max_record_size": 10}, packed((b"key", b"value", ())), packed((b"key", b"valuevalue", ())), TOO_LARGE),
        ({"max_batch_size": 100}, batch(), batch(50), TOO_LARGE),
        ({"compression": ["gzip"]}, packed((b"", b"", ()), codec=GZIP), batch(), POLICY_VIOLATION),
        ({"compression": ["none", "gzip"]}, batch(), batch(attributes=SNAPPY), POLICY_VIOLATION),
        (
            {"required_headers": ["id"]}, packed((None, b"", ("a", "id")), (b"", b"", ("id",)), codec=GZIP),
            packed((None, b"", ("id",)), (None, b"", ("a",)), codec=GZIP), INVALID_RECORD,
        ),
        ({"key_required": True}, batch(), packed((None, b"", ())), INVALID_RECORD),
        ({"key_pattern": "[a-z]+"}, batch(), packed((b"key1", b"", ())), INVALID_RECORD),
        ({"key_required": True}, batch(), batch(attributes=UNKNOWN), POLICY_VIOLATION),
        ({"key_required": True}, batch(), batch(attributes=SNAPPY), INVALID_RECORD),
        ({"key_required": True}, batch(), batch(attributes=GZIP, packed=b"no gzip"), INVALID_RECORD),
        ({"key_required": True}, batch(), batch(packed=b"\x7f"), INVALID_RECORD),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_rules(options: dict[str, Any], good: bytes, bad: bytes, code: int) -> None:
    """Three partitions, of which one does not obey: the others go to the broker."""

    @with_filters({"use": "produce_rules", **options})
    async def story(it: Filtered) -> None:
        it.brokers.answers["Produce"] = lambda broker, asked: asked.answer(
            responses=[
                {
                    "name": one["name"],
                    "partition_responses": [{"index": part["index"]} for part in one["partition_data"]],
                }
                for one in asked.values["topic_data"]
            ]
        )
        for version in (3, 9):
            response = await it.client.ask("Produce", version, **produced(("a", good, bad, good), ("b", good)))
            assert outcome(response) == {("a", 0): 0, ("a", 1): code, ("a", 2): 0, ("b", 0): 0}
            first = it.asked("Produce")[-1]["topic_data"][0]
            assert [(part["index"], part["records"]) for part in first["partition_data"]] == [(0, good), (2, good)]
            response = await it.client.ask("Produce", version, **produced(("a", bad), ("b", good)))
            assert outcome(response) == {("a", 0): code, ("b", 0): 0}
            assert [topic["name"] for topic in it.asked("Produce")[-1]["topic_data"]] == ["b"]
        count = len(it.asked("Produce"))
        assert outcome(await it.client.ask("Produce", 9, **produced(("a", bad)))) == {("a", 0): code}
        assert outcome(await it.client.ask("Produce", 9, **produced(("a", good)))) == {("a", 0): 0}
        assert len(it.asked("Produce")) == count + 1


def test_producers_are_told_which_records_are_wrong() -> None:
    @with_filters({"use": "produce_rules", "required_headers": ["trace-id"]})
    async def story(it: Filtered) -> None:
        bad = packed((b"", b"", ("trace-id",)), (b"", b"", ()), (b"", b"", ("x",)))
        response = await it.client.ask("Produce", 9, **produced(("a", bad)))
        (partition,) = response["responses"][0]["partition_responses"]
        assert partition["error_message"] == "a record without the header trace-id"
        assert [one["batch_index"] for one in partition["record_errors"]] == [1, 2]
        value = it.front.value("l4proxy_kafka_produce_rules_refused_batches_total", name="", rule="required_headers")
        assert value == 1


def test_only_some_topics_and_shadow() -> None:
    @with_filters(
        {"use": "produce_rules", "topics": ["a*"], "key_required": True},
        {"use": "produce_rules", "max_batch_size": 10, "shadow": True, "name": "shadow"},
    )
    async def story(it: Filtered) -> None:
        bad = packed((None, b"", ()))
        it.answer("Produce", responses=[{"name": "b", "partition_responses": [{"index": 0}]}])
        assert outcome(await it.client.ask("Produce", 9, **produced(("ab", bad), ("b", bad)))) == {
            ("ab", 0): INVALID_RECORD, ("b", 0): 0,
        }  # fmt: skip
        name = "l4proxy_kafka_produce_rules_shadow_refused_batches_total"
        assert it.front.value(name, name="shadow", rule="max_batch_size") == 1


def test_batches_that_cannot_be_opened_may_pass() -> None:
    @with_filters({"use": "produce_rules", "key_required": True, "unreadable": "allow"})
    async def story(it: Filtered) -> None:
        it.answer("Produce", responses=[])
        await it.client.ask("Produce", 9, **produced(("a", batch(attributes=UNKNOWN))))
        assert len(it.asked("Produce")) == 1


def test_who_wants_no_answer() -> None:
    @with_filters({"use": "produce_rules", "key_required": True})
    async def story(it: Filtered) -> None:
        it.brokers.answers["Produce"] = lambda broker, asked: b""
        it.client.send("Produce", 9, **produced(("a", packed((None, b"", ())), batch()), acks=0))
        assert await it.client.ended() == b""
        assert [one["index"] for one in it.asked("Produce")[0]["topic_data"][0]["partition_data"]] == [1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [({}, "there is no rule"), ({"key_pattern": "("}, "key_pattern: "), ({"compression": ["zip"]}, "compression")],
)
def test_what_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(KafkaProduceRules, **options)
