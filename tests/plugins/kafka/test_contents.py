"""What is in records, where somebody asks to see it."""

from __future__ import annotations

import gzip
import random
from typing import Any

import pytest
import zstandard

from kafka_messages import batch, record, request
from kafka_speech import Client, Speech
from l4proxy.plugins.kafka import contents
from l4proxy.plugins.kafka.config import KafkaSniffConfig

ID = b"i" * 16
FIRST = {"topic": "orders", "partition": 0, "offset": 7, "timestamp": 1_700_000_000_000}


def client(*show: Any) -> Client:
    return Speech(KafkaSniffConfig(show=show)).client()


def produce(client: Client, records: bytes, version: int = 9, base_offset: int = 7) -> None:
    topic: dict[str, Any] = {"topic_id": ID} if version > 12 else {"name": "orders"}
    client.send(
        "Produce", version, acks=1, topic_data=[{**topic, "partition_data": [{"index": 0, "records": records}]}]
    )
    client.receive("Produce", version, responses=[{**topic, "partition_responses": [{"base_offset": base_offset}]}])


def shown(client: Client) -> Any:
    return client.speech.exchanges[-1].fields()


def test_nothing_unless_asked_for() -> None:
    one = client()
    produce(one, batch(2))
    assert "contents" not in shown(one)
    assert "value" not in one.speech.exchanges[-1].line()


@pytest.mark.parametrize("version", [3, 9, 13])
def test_what_is_produced(version: int) -> None:
    one = client("keys", "values")
    one.speech.view.topics.learn(b"orders", ID)
    produce(one, batch(2), version)
    expected = [{**FIRST, "offset": offset, "key": "key", "value": "value"} for offset in (7, 8)]
    assert shown(one)["contents"] == expected
    assert one.speech.exchanges[-1].text().endswith("{orders/0@7 key=key value=value} {orders/0@8 key=key value=value}")


def test_what_is_fetched_and_markers_are_not() -> None:
    one = client("values")
    one.speech.view.topics.learn(b"orders", ID)
    records = batch(1, base_offset=20) + batch(1, base_offset=21, attributes=0x30) + batch(1, base_offset=22)
    partition = {"partition_index": 3, "high_watermark": 23, "records": records}
    one.ask("Fetch", 13, {"topics": []}, {"responses": [{"topic_id": ID, "partitions": [partition]}]})
    assert [(one["partition"], one["offset"], one["value"]) for one in shown(one)["contents"]] == [
        (3, 20, "value"),
        (3, 22, "value"),
    ]


def test_headers_and_what_is_no_text() -> None:
    one = client("headers", "keys")
    body = bytes.fromhex("000000") + b"\x02\xff" + b"\x01" + b"\x02" + b"\x02a" + b"\x02b"
    produce(one, batch(1, packed=bytes([len(body) << 1]) + body))
    assert shown(one)["contents"] == [{**FIRST, "key": "\\xff", "headers": [["a", "b"]]}]
    assert one.speech.exchanges[-1].text().endswith("{orders/0@7 key=\\xff a:b}")


def test_compressed_records_are_unpacked() -> None:
    one = client("values")
    produce(one, batch(2, attributes=1, packed=gzip.compress(record(0) + record(1))))
    assert [found["offset"] for found in shown(one)["contents"]] == [7, 8]
    produce(one, batch(2, attributes=4, packed=zstandard.compress(record(0) + record(1))))
    assert [found["offset"] for found in shown(one)["contents"]] == [7, 8]
    produce(one, batch(2, attributes=5, packed=b"..."))
    assert shown(one)["contents"] == []
    assert shown(one)["not_shown"] == ["orders/0: 2 records: the records are compressed with codec_5"]


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "COLLECT_TO_SHOW", 64)
    one = client("values")
    produce(one, batch(1, attributes=1, packed=gzip.compress(record(0, value=bytes(5000)))))
    assert "more than 1024 bytes when unpacked" in shown(one)["not_shown"][0]


def test_large_messages_are_joined_up_to_a_limit() -> None:
    for size, is_shown in ((100_000, True), (1_100_000, False)):
        one = client("values")
        data = batch(1, value=bytes(size))
        frame = request("Produce", 9, 1, topic_data=[{"name": "orders", "partition_data": [{"records": data}]}], acks=1)
        for start in range(0, len(frame), 65536):
            one.conversation.client_data(frame[start : start + 65536], one.speech.now)
        one._correlation_id = 1
        one.receive("Produce", 9, responses=[{"name": "orders", "partition_responses": [{"base_offset": 7}]}])
        assert bool(shown(one)["contents"]) is is_shown
        assert one.speech.value("produced_records_total", "orders", "0") == 1
        if not is_shown:
            assert shown(one)["not_shown"] == ["more than 1 MiB, not shown"]


def test_long_values_are_cut_in_lines_only() -> None:
    one = client("values")
    produce(one, batch(9, value=b"x" * 500))
    assert len(shown(one)["contents"][0]["value"]) == 500
    assert one.speech.exchanges[-1].text().endswith(f"value={'x' * 64}... (500 characters)}} and 4 more")


def test_garbage_is_said_not_raised() -> None:
    chance = random.Random(7)
    for _ in range(300):
        one = client("keys", "headers", "values")
        data = bytearray(batch(3))
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        produce(one, bytes(data))
        for exchange in one.speech.exchanges:
            assert isinstance(exchange.fields(), dict)
            assert isinstance(exchange.text(), str)
