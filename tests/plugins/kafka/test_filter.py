"""The filter in a chain: bytes pass whatever they are, and requests have lines in the access log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kafka_messages import batch, request, response
from l4proxy import ConfigError
from l4proxy.access_log.format import compile_line
from l4proxy.plugins.kafka.filter import Kafka
from l4proxy.plugins.kafka.request_log import KafkaRecord
from l4proxy.testing import SocketEnd, check_filter, harness
from l4proxy.testing.proxy import Proxy, StartProxy

TOPIC = {"name": "orders", "partition_data": [{"index": 0, "records": batch(5)}]}
PRODUCE = request("Produce", 9, 7, b"me", acks=1, topic_data=[TOPIC])
PRODUCED = response("Produce", 9, 7, responses=[{"name": "orders", "partition_responses": [{"base_offset": 3}]}])
REFUSED = response("Produce", 9, 7, responses=[{"name": "orders", "partition_responses": [{"error_code": 6}]}])


def test_it_keeps_the_contract_and_every_byte() -> None:
    check_filter(
        Kafka,
        client=[PRODUCE, PRODUCE],
        upstream=[PRODUCED, REFUSED],
        expect_upstream=PRODUCE + PRODUCE,
        expect_client=PRODUCED + REFUSED,
    )


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01", b"\xff" * 100, b"\0\0\0\x03abc"]
)
def test_what_is_not_kafka_passes_too(garbage: bytes) -> None:
    h = harness(Kafka)
    h.client.send(garbage)
    h.upstream.send(garbage)
    h.client.send(garbage)
    assert h.upstream.received == garbage * 2
    assert h.client.received == garbage
    assert h.closed is None


def broker(connection: SocketEnd) -> None:
    """Answers the first request well, and refuses every other one."""
    answer = PRODUCED
    while connection.receive(len(PRODUCE)):
        connection.send(answer)
        answer = REFUSED


def records_of(proxy: Proxy, requests: int, logged: int) -> list[Any]:
    with proxy.connect() as client:
        for number in range(requests):
            client.send(PRODUCE)
            client.receive(len(REFUSED if number else PRODUCED))
    proxy.wait_closed(logged + 1)
    return proxy.records


def test_requests_are_logged_beside_their_connection(proxy: StartProxy) -> None:
    first, second, connection = records_of(proxy(Kafka, upstream=broker, log_requests=True), 2, 2)
    assert isinstance(first, KafkaRecord)
    assert (first.failed, second.failed) == (False, True)
    line = json.loads(compile_line("json")(second))
    assert line.pop("duration") >= 0
    assert {key: line[key] for key in ("api", "api_version", "client_id", "topics", "records", "error")} == {
        "api": "Produce", "api_version": 9, "client_id": "me", "topics": "orders", "records": 5,
        "error": "NOT_LEADER_OR_FOLLOWER",
    }  # fmt: skip
    assert (line["bytes_received"], line["bytes_sent"]) == (len(PRODUCE), len(REFUSED))
    text = compile_line("text")(first)
    assert " Produce v9 client=me > 127.0.0.1:" in text
    assert " topics=orders records=5 group=- " in text
    printed = compile_line("%KAFKA_API% %KAFKA_ERROR% %FILTER_STATE(kafka:client_id)% %FILTER_STATE(kafka:requests)%")
    assert printed(connection).strip() == "- - me 2"


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (False, 0),
        ({}, 3),
        ({"apis": ["Fetch"]}, 0),
        ({"apis": ["Produce", "Fetch"]}, 3),
        ({"topics": ["ord*"]}, 3),
        ({"topics": ["other"]}, 0),
        ({"groups": ["*"]}, 0),
        ({"clients": ["m?"]}, 3),
        ({"clients": ["127.0.0.1"]}, 3),
        ({"errors_only": True}, 2),
        ({"min_duration": "1h"}, 0),
        ({"sample": "0%"}, 0),
    ],
)
def test_requests_are_chosen(proxy: StartProxy, chosen: Any, count: int) -> None:
    records = records_of(proxy(Kafka, upstream=broker, log_requests=chosen), 3, count)
    assert len(records) == count + 1


def test_a_wrong_api_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'Produce'"):
        harness(Kafka, log_requests={"apis": ["produce"]})
