"""Sessions: which response belongs to which request, whatever a client and a broker do."""

from __future__ import annotations

import contextlib
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_messages import batch, request, response
from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.declarations.cluster import API_VERSIONS, METADATA
from l4proxy.protocols.kafka.declarations.records import FETCH, PRODUCE
from l4proxy.protocols.kafka.plan import Plan, Plans, Reading
from l4proxy.protocols.kafka.session import MAX_IN_FLIGHT, Call, Session
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import code_of
from l4proxy.testing.splits import splits

READINGS: dict[int, Reading] = {
    PRODUCE.key: (
        Walker(PRODUCE.request, "acks topic_data(name partition_data(index records))"),
        Walker(PRODUCE.response, "responses(name partition_responses(index error_code base_offset))"),
    ),
    FETCH.key: (None, Walker(FETCH.response, "responses(topic partitions(partition_index records))")),
    METADATA.key: (None, Walker(METADATA.response, "topics*(name)")),
    API_VERSIONS.key: (
        Walker(API_VERSIONS.request, "client_software_name"),
        Walker(API_VERSIONS.response, "error_code api_keys(api_key) throttle_time_ms"),
    ),
}


class Heard(Session[Plan]):
    """A session that writes down what it hears."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Plans(Plan, READINGS), **options)
        self.events: list[tuple[Any, ...]] = []

    def called(self, call: Call[Plan]) -> None:
        self.events.append(("called", call.plan.name, call.correlation_id, call.request))

    def answered(self, call: Call[Plan]) -> None:
        self.events.append(("answered", call.plan.name, call.correlation_id, call.response))

    def identified(self) -> None:
        self.events.append(("identified", self.client_id))

    def unreadable(self, call: Call[Plan] | None, is_response: bool, error: Exception) -> None:
        self.events.append(("unreadable", is_response, code_of(error)))

    def unknown_response(self, correlation_id: int, size: int) -> None:
        self.events.append(("unknown", correlation_id, size))

    def token(self, data: bytes, is_response: bool) -> None:
        self.events.append(("token", self.mechanism, data, is_response))

    def element(self, call: Call[Plan], element: tuple[Any, ...]) -> None:
        self.events.append(("element", call.correlation_id, element))

    def hear(self, *frames: bytes | bytearray) -> list[tuple[Any, ...]]:
        """Requests are ``bytes``, responses ``bytearray``; what was heard since the last time."""
        before = len(self.events)
        for frame in frames:
            if isinstance(frame, bytearray):
                self.server_data(bytes(frame), 2.0)
            else:
                self.client_data(frame, 1.0)
        return self.events[before:]


def answer(name: str, version: int, correlation_id: int, **values: Any) -> bytearray:
    return bytearray(response(name, version, correlation_id, **values))


def produce(version: int, correlation_id: int, acks: int = -1, records: bytes = b"") -> bytes:
    partitions = [{"index": 0, "records": records or batch()}]
    return request(
        "Produce", version, correlation_id, acks=acks, topic_data=[{"name": "t", "partition_data": partitions}]
    )


def test_requests_and_responses_are_paired() -> None:
    session = Heard()
    records = (1, 1, 0, 0, 1, len(batch()), None)
    assert session.hear(produce(9, 1)) == [
        ("identified", b"test"),
        ("called", "Produce", 1, (-1, [(b"t", [(0, records)])])),
    ]
    assert session.in_flight == 1
    answered = answer("Produce", 9, 1, responses=[{"name": "t", "partition_responses": [{"base_offset": 7}]}])
    assert session.hear(answered) == [("answered", "Produce", 1, ([(b"t", [(0, 0, 7)])],))]
    assert session.in_flight == 0


def test_sizes_and_times_are_those_of_the_wire() -> None:
    calls: list[Call[Plan]] = []

    class Timed(Heard):
        def answered(self, call: Call[Plan]) -> None:
            calls.append(call)

    session = Timed()
    asked, answered = produce(9, 1), response("Produce", 9, 1)
    session.client_data(asked[:10], 1.0)
    session.client_data(asked[10:], 1.5)
    session.server_data(answered[:-1], 3.0)
    session.server_data(answered[-1:], 4.0)
    (call,) = calls
    assert (call.at, call.request_size, call.response_size) == (1.5, len(asked), len(answered))
    assert call.seconds == 2.5  # small responses are looked at when they are there


@pytest.mark.parametrize("version", range(14))
def test_without_acks_there_is_no_response(version: int) -> None:
    session = Heard()
    topic = {"topic_id": bytes(16)} if version >= 13 else {"name": "t"}
    topics = [{**topic, "partition_data": [{"index": 0, "records": batch()}]}]
    values: dict[str, Any] = {"acks": 0, "topic_data": topics}
    session.hear(request("Produce", version, 1, **values))
    assert session.in_flight == 0
    heard = session.hear(request("Heartbeat", 0, 2, group_id="g"), answer("Heartbeat", 0, 2))
    assert [event[:3] for event in heard] == [("called", "Heartbeat", 2), ("answered", "Heartbeat", 2)]


def test_answers_may_be_out_of_order_or_to_nothing() -> None:
    session = Heard()
    session.hear(*(request("Heartbeat", 0, number, group_id="g") for number in range(4)))
    heard = session.hear(*(answer("Heartbeat", 0, number) for number in (2, 9, 0, 1, 2, 3)))
    assert [event[:3] for event in heard] == [
        ("answered", "Heartbeat", 2),
        ("unknown", 9, 10),
        ("answered", "Heartbeat", 0),
        ("answered", "Heartbeat", 1),
        ("unknown", 2, 10),
        ("answered", "Heartbeat", 3),
    ]


def test_the_client_may_change_its_name() -> None:
    session = Heard()
    heard = session.hear(*(request("Heartbeat", 4, 1, name, group_id="g") for name in (b"a", b"a", b"b", None)))
    assert [event[1] for event in heard if event[0] == "identified"] == [b"a", b"b", b""]
    assert session.requests == 4


def test_api_versions_are_answered_in_the_old_way_by_an_old_broker() -> None:
    session = Heard()
    software: dict[str, Any] = {"client_software_name": "s", "client_software_version": "1"}
    assert session.hear(request("ApiVersions", 4, 1, **software))[1][3] == (b"s",)
    refused = answer("ApiVersions", 0, 1, error_code=35, api_keys=[{"api_key": 18, "max_version": 2}])
    assert session.hear(refused) == [("answered", "ApiVersions", 1, (35, [(18,)], None))]
    session.hear(request("ApiVersions", 3, 2, **software))
    granted = answer("ApiVersions", 3, 2, api_keys=[{"api_key": 0}], throttle_time_ms=5)
    assert session.hear(granted) == [("answered", "ApiVersions", 2, (0, [(0,)], 5))]


@pytest.mark.parametrize(("key", "version"), [(10001, 3), (0, 99), (4, 2), (32767, 32767)])
def test_what_is_not_known_passes_and_is_paired(key: int, version: int) -> None:
    session = Heard()
    session.hear(request("Heartbeat", 0, 1, group_id="g"))
    frame = struct.pack(">ihhih", 20, key, version, 2, 1) + b"x" + b"\0" * 9
    heard = session.hear(frame, answer("Heartbeat", 0, 1), bytearray(struct.pack(">ii", 9, 2) + b"hello"))
    assert [event[0] for event in heard[-3:]] == ["called", "answered", "answered"]
    assert heard[-1][1:] == (heard[-3][1], 2, None)


def test_what_cannot_be_read_is_told_and_the_next_frame_is_read() -> None:
    session = Heard()
    broken = bytearray(produce(9, 1))
    broken[26] = 100  # topics
    good = produce(9, 2)
    heard = session.hear(bytes(broken), good, bytearray(struct.pack(">ii", 5, 1) + b"\x07"), answer("Produce", 9, 2))
    assert [event[0] for event in heard] == [
        "unreadable", "identified", "called", "called", "unreadable", "answered", "answered",
    ]  # fmt: skip
    assert heard[2][3] is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http"),
        (b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(32), "tls"),
        (struct.pack(">ii", 40, 196608) + b"user\0alice\0database\0orders\0" + bytes(20), "postgres"),
        (struct.pack(">ihhih", 30, 700, 7, 1, 1) + bytes(40), "not_kafka"),
        (struct.pack(">ihhih", 99_000, 700, 7, 1, 1) + bytes(40), "not_kafka"),
        (struct.pack(">i", 3) + b"abc", "short_frame"),
        (struct.pack(">i", -2), "negative_length"),
        (struct.pack(">i", 0x7FFFFFFF), "oversized_frame"),
    ],
)
def test_what_is_not_kafka_is_named(data: bytes, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Heard().client_data(data, 0.0)
    assert caught.value.code == code


def test_a_response_that_is_none_is_named() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Heard().server_data(struct.pack(">ih", 2, 0), 0.0)
    assert caught.value.code == "short_frame"


def test_large_frames_are_read_as_they_pass() -> None:
    session = Heard()
    large = batch(packed=bytes(500_000))
    summary = (1, 1, 0, 0, 1, len(large), None)
    asked = produce(9, 1, records=large)
    fetched = [{"topic": "t", "partitions": [{"partition_index": 4, "records": large * 3}]}]
    for at in range(0, len(asked), 100_000):
        session.client_data(asked[at : at + 100_000], 1.0)
    answered = response("Fetch", 11, 2, responses=fetched)
    session.client_data(request("Fetch", 11, 2), 1.0)
    for at in range(0, len(answered), 100_000):
        session.server_data(answered[at : at + 100_000], 2.0)
    assert session.events[1:] == [
        ("called", "Produce", 1, (-1, [(b"t", [(0, summary)])])),
        ("called", "Fetch", 2, None),
        ("answered", "Fetch", 2, ([(b"t", [(4, (3, 3, 0, 0, 1, 3 * len(large), None))])],)),
    ]
    assert session.in_flight == 1


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_needed_may_be_kept_from_it(seed: int) -> None:
    """All that is between the headers of large batches: whoever feeds it sees the same come out."""
    chance = random.Random(seed)
    large = [batch(packed=bytes(chance.randrange(1, 300_000)), base_offset=at) for at in range(chance.randrange(1, 6))]
    partitions = [{"partition_index": at, "records": b"".join(large)} for at in range(3)]
    data = response("Fetch", 11, 2, responses=[{"topic": "t", "partitions": partitions}])
    data += response("Heartbeat", 0, 3)
    expected, session = Heard(), Heard()
    for one in (expected, session):
        one.hear(request("Fetch", 11, 2), request("Heartbeat", 0, 3, group_id="g"))
    expected.server_data(data, 2.0)
    pos = shown = 0
    while pos < len(data):
        size = chance.choice([1, 100, 16_384, 262_144])
        spare = session.server_data(data[pos : pos + size], 2.0)
        shown += len(data[pos : pos + size])
        pos += size
        if spare and chance.random() < 0.8:
            session.skipped_response(spare)
            pos += spare
    assert session.events == expected.events
    assert pos >= len(data)


def test_most_of_a_large_frame_is_not_needed() -> None:
    session = Heard()
    asked = produce(9, 1, records=batch(packed=bytes(1_000_000)))
    spare = session.client_data(asked[:16_384], 1.0)
    assert len(asked) - 16_384 - spare < 10
    session.skipped_request(spare)
    assert session.client_data(asked[16_384 + spare :], 1.0) == 0
    assert session.events[-1][:3] == ("called", "Produce", 1)


def test_elements_of_a_large_message_are_handed_over() -> None:
    session = Heard()
    session.hear(request("Metadata", 9, 1))
    topics = [{"name": f"topic-{number:06}"} for number in range(5000)]
    answered = response("Metadata", 9, 1, topics=topics)
    for at in range(0, len(answered), 10_000):
        session.server_data(answered[at : at + 10_000], 2.0)
    elements = [event for event in session.events if event[0] == "element"]
    assert elements == [("element", 1, (f"topic-{number:06}".encode(),)) for number in range(5000)]
    assert session.events[-1] == ("answered", "Metadata", 1, (None,))


def test_a_large_frame_that_cannot_be_read_is_passed() -> None:
    session = Heard()
    asked = produce(9, 1, records=batch(packed=bytes(200_000)))
    broken = bytearray(asked)
    broken[asked.index(batch(packed=bytes(200_000))[:20]) + 16] = 9
    for at in range(0, len(broken), 50_000):
        session.client_data(bytes(broken[at : at + 50_000]), 1.0)
    assert [event[0] for event in session.hear(request("Heartbeat", 0, 2, group_id="g"))] == ["called"]
    assert ("unreadable", False, "bad_magic") in session.events
    assert session.in_flight == 2


def test_bare_sasl_tokens() -> None:
    session = Heard()
    session.hear(request("SaslHandshake", 0, 1, mechanism="SCRAM-SHA-256"), answer("SaslHandshake", 0, 1))
    tokens = [b"n,,n=bob,r=abc", b"c=biws,r=abc,p=xyz"]
    for token in tokens:
        sent = struct.pack(">i", len(token)) + token
        assert session.hear(sent) == [("token", "SCRAM-SHA-256", token, False)]
        back = bytearray(struct.pack(">i", 4) + b"v=ok")
        assert session.hear(back) == [("token", "SCRAM-SHA-256", b"v=ok", True)]
    heard = session.hear(request("Heartbeat", 0, 2, group_id="g"), answer("Heartbeat", 0, 2))
    assert [event[0] for event in heard] == ["called", "answered"]


def test_a_handshake_that_failed_has_no_tokens() -> None:
    session = Heard()
    session.hear(request("SaslHandshake", 0, 1, mechanism="PLAIN"), answer("SaslHandshake", 0, 1, error_code=33))
    assert session.mechanism == ""
    assert session.hear(request("Heartbeat", 0, 2, group_id="g"))[0][0] == "called"


def test_too_many_requests_without_a_response() -> None:
    session = Heard()
    frame = request("Heartbeat", 0, 1, group_id="g")
    session.client_data(frame * MAX_IN_FLIGHT, 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        session.client_data(frame, 0.0)
    assert caught.value.code == "too_many_in_flight"


def test_chunks_do_not_matter() -> None:
    asked = produce(9, 1) + request("Heartbeat", 4, 2, group_id="g") + produce(3, 3, acks=0) + request("Fetch", 11, 4)
    answered = response("Produce", 9, 1) + response("Heartbeat", 4, 2) + response("Fetch", 11, 4)
    expected = Heard()
    expected.client_data(asked, 0.0)
    expected.server_data(answered, 0.0)
    for _, split in splits(seed=4, rounds=10):
        session = Heard()
        for chunk in split(asked):
            session.client_data(chunk, 0.0)
        for chunk in split(answered):
            session.server_data(chunk, 0.0)
        assert session.events == expected.events


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=8), st.booleans())
def test_garbage_ends_in_a_protocol_error_or_in_silence(chunks: list[tuple[bool, bytes]], framed: bool) -> None:
    session = Heard(max_frame=1000)
    session.client_data(produce(9, 1), 0.0)
    with contextlib.suppress(RemoteProtocolError):
        for from_client, chunk in chunks:
            data = struct.pack(">i", len(chunk)) + chunk if framed else chunk
            (session.client_data if from_client else session.server_data)(data, 0.0)
    session.close()


def test_readings_have_what_a_session_needs() -> None:
    with pytest.raises(ValueError, match="begins with acks"):
        Plans(Plan, {PRODUCE.key: (Walker(PRODUCE.request, "timeout_ms"), None)})


def test_plans_are_bounded() -> None:
    plans = Plans(Plan, {})
    names = {plans[9999 << 16 | version].name for version in range(3000)}
    assert names == {"api_9999", "other"}
    assert len(plans) == 1001
    assert plans[0].name == "Produce"
    assert plans[3 << 16 | 9] is plans[3 << 16 | 9]


def test_encoding_of_this_file_is_that_of_the_declarations() -> None:
    assert plain.decode(PRODUCE.request, 9, produce(9, 1)[4 + 10 + 4 + 1 :])["acks"] == -1
