"""Sessions that begin in the middle, and gaps in what was captured."""

from __future__ import annotations

import random

import pytest

from kafka_messages import batch, request, response
from kafka_speech import Speech
from l4proxy.filter import Side
from l4proxy.protocols.kafka.resync import find_request, find_response


def produce(correlation_id: int, size: int = 100) -> bytes:
    topic = {"name": "orders", "partition_data": [{"records": batch(packed=bytes(size))}]}
    return request("Produce", 9, correlation_id, acks=1, topic_data=[topic])


def produced(correlation_id: int) -> bytes:
    answer = {"base_offset": correlation_id}
    return response("Produce", 9, correlation_id, responses=[{"name": "orders", "partition_responses": [answer]}])


def readable(*_args: object) -> bool:
    return True


def test_a_request_is_found_behind_anything() -> None:
    chance = random.Random(1)
    for _ in range(50):
        noise = chance.randbytes(chance.randrange(1, 400))
        data = noise + produce(7) + produce(8)
        assert find_request(data, 1_000_000, readable) == len(noise)


@pytest.mark.parametrize("data", [b"", bytes(500), b"\xff" * 500, b"text " * 100, produce(1)[1:]])
def test_where_there_is_none(data: bytes) -> None:
    assert find_request(data, 1_000_000, readable) is None


def test_a_response_is_found_by_who_waits_for_it() -> None:
    data = b"\x09" * 33 + produced(77) + produced(78)
    assert find_response(data, 1_000_000, [76, 77, 78], readable) == 33
    assert find_response(data, 1_000_000, [5], readable) is None
    assert find_response(data, 1_000_000, [], readable) is None


@pytest.mark.parametrize("at", [1, 5, 50, 90, 130])
def test_a_conversation_from_the_middle(at: int) -> None:
    speech = Speech()
    client = speech.client(midway=True)
    first = produce(1)
    client.conversation.client_data(first[at:], 0.0)
    client.conversation.server_data(produced(1), 0.0)
    for number in range(2, 6):
        client.conversation.client_data(produce(number), 0.0)
        client.conversation.server_data(produced(number), 0.0)
    assert speech.value("produced_records_total", "orders", "0") == 4
    assert speech.values("undecodable_frames_total") == {}


@pytest.mark.parametrize("size", [1, 50, 40_000, None])
@pytest.mark.parametrize("at", [2, 20, 200])
def test_a_gap_within_a_large_request(size: int | None, at: int) -> None:
    """Where the gap ends within the frame nothing is lost but its records; else the next frame is found."""
    speech = Speech()
    client = speech.client()
    large = produce(1, 100_000)
    client.conversation.client_data(large[:at], 0.0)
    client.conversation.lost(Side.CLIENT, size, 0.0)
    client.conversation.client_data(large[at + (size or 10_000) :], 0.0)
    for number in range(2, 5):
        client.conversation.client_data(produce(number), 0.0)
    for number in range(1, 5):
        client.conversation.server_data(produced(number), 0.0)
    assert speech.value("produced_records_total", "orders", "0") == 3


def test_a_gap_within_a_large_response() -> None:
    speech = Speech()
    client = speech.client()
    client.send("Fetch", 11)
    partition = {"high_watermark": 9, "records": batch(packed=bytes(100_000))}
    large = response("Fetch", 11, 1, responses=[{"topic": "orders", "partitions": [partition]}])
    client.conversation.server_data(large[:60_000], 0.0)
    client.conversation.lost(Side.UPSTREAM, 1000, 0.0)
    client.conversation.server_data(large[61_000:], 0.0)
    client.heartbeat("g", "m")
    assert speech.values("undecodable_frames_total") == {("gap",): 1}
    assert speech.value("requests_in_flight") == 0


def test_responses_that_were_not_seen() -> None:
    speech = Speech()
    client = speech.client()
    for number in range(1, 5):
        client.conversation.client_data(produce(number), 0.0)
    client.conversation.server_data(produced(1)[:10], 0.0)
    client.conversation.lost(Side.UPSTREAM, None, 0.0)
    client.conversation.server_data(produced(2)[20:] + produced(3), 0.0)
    client.conversation.server_data(produced(4), 0.0)
    assert speech.value("produced_records_total", "orders", "0") == 2
    assert speech.value("unanswered_requests_total") == 2
    assert speech.value("requests_in_flight") == 0
