"""Messages on demand: by kafka-python or by our own declarations, all the same to the caller."""

from __future__ import annotations

import struct

import pytest

from kafka_messages import request, response
from l4proxy.codec import LocalProtocolError
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.messages import decode_request, decode_response, encode_request, encode_response, shown
from l4proxy.protocols.kafka.wire import Unreadable


@pytest.mark.parametrize(("name", "version"), [("Heartbeat", 0), ("Heartbeat", 4), ("ConsumerGroupHeartbeat", 1)])
def test_requests(name: str, version: int) -> None:
    frame = encode_request(BY_NAME[name], version, 7, "me", group_id="g")
    assert frame == request(name, version, 7, b"me", group_id="g")
    body = frame[4 + 8 + 2 + 2 + (BY_NAME[name].request_header(version) == 2) :]
    assert decode_request(BY_NAME[name], version, body)["group_id"] == "g"


@pytest.mark.parametrize(("name", "version"), [("Heartbeat", 4), ("ConsumerGroupHeartbeat", 1), ("ApiVersions", 3)])
def test_responses(name: str, version: int) -> None:
    frame = encode_response(BY_NAME[name], version, 7, error_code=25)
    body = frame[8 + BY_NAME[name].response_header(version) :]
    assert struct.unpack(">ii", frame[:8]) == (len(frame) - 4, 7)
    if name != "ApiVersions":
        assert decode_response(BY_NAME[name], version, body)["error_code"] == 25
        assert frame == response(name, version, 7, **decode_response(BY_NAME[name], version, body))


def test_defaults_are_those_of_the_protocol() -> None:
    """The reply of a filter that denies a topic: offsets of -1, not of 0."""
    denied = [{"name": "t", "partition_responses": [{"index": 3, "error_code": 29}]}]
    frame = encode_response(BY_NAME["Produce"], 9, 1, responses=denied)
    (topic,) = decode_response(BY_NAME["Produce"], 9, frame[9:])["responses"]
    assert topic["partition_responses"][0]["base_offset"] == 0
    assert topic["partition_responses"][0]["log_append_time_ms"] == -1


def test_without_a_client_id() -> None:
    assert encode_request(BY_NAME["Heartbeat"], 0, 7)[12:14] == b"\xff\xff"


def test_bytes_behind_the_end() -> None:
    """Of a request they are none of anybody's business; a response has none."""
    heartbeat = BY_NAME["Heartbeat"]
    assert decode_request(heartbeat, 0, bytes(9))["group_id"] == ""
    with pytest.raises(Unreadable) as caught:
        decode_response(heartbeat, 0, bytes(3))
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("name", "version", "body", "code"),
    [
        ("Heartbeat", 5, bytes(8), "unknown_version"),
        ("Heartbeat", 0, bytes(5), "undecodable"),
        ("ConsumerGroupHeartbeat", 0, bytes(5), "undecodable"),
    ],
)
def test_bad_bytes(name: str, version: int, body: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode_request(BY_NAME[name], version, body)
    assert caught.value.code == code


@pytest.mark.parametrize(("version", "fields"), [(9, {}), (0, {"nothing": 1}), (0, {"generation_id": "x"})])
def test_what_cannot_be_encoded(version: int, fields: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request(BY_NAME["Heartbeat"], version, 1, None, **fields)


def test_what_is_shown() -> None:
    values = {
        "auth_bytes": b"secret",
        "topics": [{"topic_id": bytes(16), "metadata": b"m" * 100}],
        "name": "n",
        "_tags": {1: b""},
    }
    assert shown(values) == {
        "auth_bytes": "(6 bytes, hidden)",
        "topics": [{"topic_id": "A" * 22, "metadata": "m" * 64 + "... (100 bytes)"}],
        "name": "n",
    }
