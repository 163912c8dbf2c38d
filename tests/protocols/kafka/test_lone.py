"""Lone batches that are recognised tell the same as those that are walked; what is none is not taken for one."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_messages import batch, request, response
from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka.declarations.records import FETCH, PRODUCE
from l4proxy.protocols.kafka.declarations.security import SASL_HANDSHAKE
from l4proxy.protocols.kafka.lone import LONES, REQUEST, RESPONSE, Lone, LoneCall, LoneSession
from l4proxy.protocols.kafka.plan import Plan, Plans, Reading
from l4proxy.protocols.kafka.session import Call, Session
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import code_of

VERSIONS = range(PRODUCE.first, PRODUCE.last + 1)
READINGS: dict[int, Reading] = {
    PRODUCE.key: (Walker(PRODUCE.request, REQUEST), Walker(PRODUCE.response, RESPONSE)),
    FETCH.key: (None, Walker(FETCH.response, "responses(topic partitions(partition_index records))")),
}


class LonePlan(Plan):
    """Reads what is needed to recognise lone batches."""

    def __init__(self, key: int, version: int, reading: Reading) -> None:
        super().__init__(key, version, reading)
        self.reads_lone = key == PRODUCE.key


class Heard(Session[LonePlan]):
    """Writes down what it hears."""

    events: list[Any]

    def called(self, call: Call[LonePlan]) -> None:
        self.events.append(("called", call.correlation_id, call.request_size, call.request, self.client_id, call.at))

    def answered(self, call: Call[LonePlan]) -> None:
        self.events.append(("answered", call.correlation_id, call.response_size, call.response, call.seconds))

    def silent(self, call: Call[LonePlan]) -> None:
        self.events.append(("silent", call.correlation_id))

    def identified(self) -> None:
        self.events.append(("identified", self.client_id))

    def unreadable(self, call: Call[LonePlan] | None, is_response: bool, error: Exception) -> None:
        self.events.append(("unreadable", is_response, code_of(error)))

    def unknown_response(self, correlation_id: int, size: int) -> None:
        self.events.append(("unknown", correlation_id, size))

    def token(self, data: bytes, is_response: bool) -> None:
        self.events.append(("token", data, is_response))


class Recognising(LoneSession[LonePlan], Heard):
    """The same, by a session that recognises lone batches; ``seen`` counts those whose response was recognised, too."""

    seen = 0

    def stored(self, call: LoneCall[LonePlan], lone: Lone, base_offset: int) -> None:
        self.seen += 1
        super().stored(call, lone, base_offset)


Chunk = tuple[bool, bytes]
"""Whether a client sent it, and what."""


def hear(session: Heard, chunks: list[Chunk]) -> list[Any]:
    session.events = []
    try:
        for at, (from_client, data) in enumerate(chunks):
            if from_client:
                session.client_data(data, float(at))
            else:
                session.server_data(data, float(at))
    except RemoteProtocolError as error:
        session.events.append(("lost", error.code, str(error)))
    session.events.append([(call.correlation_id, call.request) for call in session.waiting])
    return session.events


def check(chunks: list[Chunk]) -> Recognising:
    """Both sessions hear the same. Return the one that recognises."""
    recognising = Recognising(Plans(LonePlan, READINGS))
    plain = Heard(Plans(LonePlan, READINGS))
    assert hear(recognising, chunks) == hear(plain, chunks)
    return recognising


def produce(
    version: int, correlation_id: int, records: bytes | None, topic: str = "orders", index: int = 0, **values: Any
) -> Chunk:
    client_id = values.pop("client_id", b"test")
    named = {"name": topic} if version < 13 else {"topic_id": topic.encode().ljust(16, b"\1")}
    partition = {"index": index, "records": records}
    asked = {"acks": 1, "topic_data": [{**named, "partition_data": [partition]}], **values}
    return True, request("Produce", version, correlation_id, client_id=client_id, **asked)


def acknowledge(
    version: int, correlation_id: int, base_offset: int, topic: str = "orders", index: int = 0, error: int = 0,
    throttle: int = 0,
) -> Chunk:  # fmt: skip
    named = {"name": topic} if version < 13 else {"topic_id": topic.encode().ljust(16, b"\1")}
    partition = {"index": index, "error_code": error, "base_offset": base_offset}
    if version >= 2:
        partition["log_append_time_ms"] = 1_700_000_000_000 + correlation_id
    if version >= 5:
        partition["log_start_offset"] = base_offset // 2
    answer: dict[str, Any] = {"responses": [{**named, "partition_responses": [partition]}]}
    if version >= 1:
        answer["throttle_time_ms"] = throttle
    return False, response("Produce", version, correlation_id, **answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_repeats_is_recognised_in_every_version(version: int) -> None:
    chunks = []
    for number, size in enumerate((0, 0, 40, 100, 0, 20_000, 3_000_000, 60, 0)):
        records = batch(3, producer=(number % 2 - 1, 1, number)) + bytes(size)
        records = records[:8] + struct.pack(">i", len(records) - 12) + records[12:]
        chunks.append(produce(version, number, records))
        chunks.append(acknowledge(version, number, number * 1000))
    assert check(chunks).seen == 8


@pytest.mark.parametrize("version", [7, 9, 13])
def test_a_producer_of_many_partitions_is_recognised(version: int) -> None:
    chunks = []
    where = [(topic, index) for topic in ("a", "orders", "x" * 100) for index in range(3)]
    for number, (topic, index) in enumerate(where * 4):
        chunks.append(produce(version, number, batch(), topic, index))
        chunks.append(acknowledge(version, number, number, topic, index))
    assert check(chunks).seen == 3 * len(where)


@pytest.mark.parametrize("version", [7, 9, 13])
def test_requests_under_way_are_each_answered(version: int) -> None:
    chunks = []
    for turn in range(4):
        chunks += [produce(version, turn * 8 + at, batch(at + 1), index=at % 2) for at in range(8)]
        chunks += [acknowledge(version, turn * 8 + at, turn, index=at % 2) for at in range(8)]
    assert check(chunks).seen == 30


def test_heads_are_kept_up_to_a_limit() -> None:
    chunks = [produce(9, number, batch(), index=number) for number in range(LONES + 10)]
    session = check(chunks + chunks)
    assert len(session._lones) == LONES


@pytest.mark.parametrize(
    "records",
    [
        None,
        b"",
        batch()[:-1],
        batch() + batch(),
        batch(attributes=0x20),
        batch()[:16] + b"\1" + batch()[17:],
        batch()[:16] + b"\3" + batch()[17:],
        batch()[:57] + b"\xff" + batch()[58:],
        struct.pack(">qi", 0, 30) + batch()[12:],
    ],
    ids=["null", "empty", "cut", "two", "control", "magic 1", "magic 3", "negative count", "lying length"],
)
@pytest.mark.parametrize("version", [7, 9])
def test_other_records_are_walked(version: int, records: bytes | None) -> None:
    usual = [produce(version, 1, batch()), acknowledge(version, 1, 5)]
    check([*usual, *usual, produce(version, 1, records), acknowledge(version, 1, 6), *usual])


@pytest.mark.parametrize("version", [7, 9])
def test_whatever_else_differs_is_walked(version: int) -> None:
    usual = [produce(version, 1, batch()), acknowledge(version, 1, 5)]
    for other in (
        [produce(version, 1, batch(), acks=0)],
        [produce(version, 1, batch(), acks=-1), acknowledge(version, 1, 9)],
        [produce(version, 1, batch(), client_id=b"somebody"), acknowledge(version, 1, 9), *usual],
        [produce(version, 1, batch()), acknowledge(version, 1, -1, error=6)],
        [produce(version, 1, batch()), acknowledge(version, 1, 9, throttle=100)],
        [produce(version, 1, batch()), acknowledge(version, 2, 9)],
        [produce(version, 1, batch()), acknowledge(version, 1, 9, "other")],
        [produce(version - 1, 1, batch()), acknowledge(version - 1, 1, 9)],
        [produce(version, 1, batch()), (False, usual[1][1] + usual[1][1])],
        [(True, usual[0][1] * 3), usual[1], usual[1], usual[1]],
        [(True, usual[0][1][:30]), (True, usual[0][1][30:]), usual[1]],
        [(True, request("Fetch", 12, 1)), (False, response("Fetch", 12, 1))],
    ):
        check([*usual, *usual, *other, *usual, *usual])


def test_frames_that_stand_within_others_are_not_taken_for_requests() -> None:
    frame = produce(9, 1, batch())
    around = produce(9, 2, frame[1])[1]
    at = around.index(frame[1])
    check([frame, acknowledge(9, 1, 5), frame, (True, around[:at]), frame, (True, around[at + len(frame[1]) :])])


def test_bare_tokens_are_none() -> None:
    assert SASL_HANDSHAKE.key == 17
    frame, answer = produce(9, 1, batch()), acknowledge(9, 1, 5)
    handshake = (True, request("SaslHandshake", 0, 2, mechanism="PLAIN"))
    check([frame, answer, handshake, (False, response("SaslHandshake", 0, 2)), frame, answer, frame, answer])


def test_where_bytes_are_missing_requests_are_looked_for() -> None:
    frame, answer = produce(9, 1, batch()), acknowledge(9, 1, 5)
    for lose in ("seek_requests", "seek_responses"):
        sessions = Recognising(Plans(LonePlan, READINGS)), Heard(Plans(LonePlan, READINGS))
        for session in sessions:
            hear(session, [frame, answer, frame, answer])
            getattr(session, lose)()
        told = [hear(session, [(True, b"\0\0" + frame[1]), frame, answer, frame, answer]) for session in sessions]
        assert told[0] == told[1]


@given(st.randoms(use_true_random=False), st.sampled_from(VERSIONS))
def test_any_damage_tells_the_same(random: random.Random, version: int) -> None:
    chunks = [produce(version, 1, batch()), acknowledge(version, 1, 5)] * 2
    for _ in range(4):
        frames = [produce(version, 1, batch(2)), acknowledge(version, 1, 5)]
        if random.random() < 0.7:
            which = random.randrange(2)
            from_client, data = frames[which]
            at = random.randrange(4 if from_client else 8, len(data))
            frames[which] = from_client, data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        chunks += frames
    check(chunks)
