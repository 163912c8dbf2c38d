"""Real requests with their responses (``corpus.jsonl``): of librdkafka, kafka-python, kafkajs, Kafka's own clients and
tools, with Apache Kafka 3.9.1 and 4.1.1. One pair for each API and version that they chose.

Read by walkers, by our own decoder and by kafka-python, they say the same; and damaged ones end in an error."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from kafka_messages import everything, walked
from kafka_speech import Speech
from l4proxy.codec import RemoteProtocolError
from l4proxy.inspector import StopWatching
from l4proxy.protocols.kafka import kafka_python, plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.schema import Schema
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import UNREADABLE

REQUEST_HEADER, RESPONSE_HEADER = 4 + 10, 4 + 4


class Pair(NamedTuple):
    api: Api
    version: int
    request: bytes
    response: bytes

    def body(self, kind: str) -> bytes:
        """Behind the header, which has no tags in it."""
        if kind == "response":
            return self.response[RESPONSE_HEADER + self.api.response_header(self.version) :]
        client_id = max(int.from_bytes(self.request[12:14], "big", signed=True), 0)
        return self.request[REQUEST_HEADER + client_id + (self.api.request_header(self.version) == 2) :]


@cache
def corpus() -> list[Pair]:
    lines = Path(__file__).with_name("corpus.jsonl").read_text().splitlines()
    return [
        Pair(BY_NAME[one["api"]], one["version"], *(base64.b64decode(one[kind]) for kind in ("request", "response")))
        for one in map(json.loads, lines)
    ]


MESSAGES = [
    pytest.param(pair, kind, id=f"{pair.api.name}-{pair.version}-{kind}")
    for pair in corpus()
    for kind in ("request", "response")
]


@pytest.mark.parametrize(("pair", "kind"), MESSAGES)
def test_all_who_read_it_read_the_same(pair: Pair, kind: str) -> None:
    schema: Schema = getattr(pair.api, kind)
    body = pair.body(kind)
    values = plain.decode(schema, pair.version, body)
    assert plain.encode(schema, pair.version, values) == body
    assert Walker(schema, everything(schema.fields)).whole(pair.version)(body, 0, len(body)) == walked(
        schema.fields, values
    )
    if pair.version <= kafka_python.newest(pair.api.key):
        assert kafka_python.decode(pair.api.key, kind, schema, pair.version, body) == (values, len(body))


def test_there_are_many() -> None:
    assert len(corpus()) > 60
    assert len({pair.api.key for pair in corpus()}) > 25


def test_the_observer_reads_all_of_it() -> None:
    speech = Speech()
    heard = speech.client().conversation
    for pair in corpus():
        heard.client_data(pair.request, speech.now)
        heard.server_data(pair.response, speech.now)
    assert heard.in_flight == 0
    assert not speech.values("undecodable_frames_total")
    assert speech.value("unknown_responses_total") == speech.value("opaque_requests_total") == 0
    assert heard.requests == len(corpus())


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Some bytes behind the size are others, are missing, or come twice; the size fits again."""
    body = bytearray(data[4:])
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body))
        match chance.randrange(4):
            case 0:
                body[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            case 1:
                del body[at : at + chance.choice([1, 2, 4, 100])]
            case 2:
                body[at:at] = body[at : at + chance.choice([1, 4, 50])]
            case _:
                body[at : at + 4] = chance.choice(
                    [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x0f"]
                )
        if not body:
            return data
    return len(body).to_bytes(4, "big") + bytes(body)


@pytest.mark.parametrize(("pair", "kind"), MESSAGES)
def test_a_damaged_one_ends_in_an_error_or_in_a_message(pair: Pair, kind: str) -> None:
    schema: Schema = getattr(pair.api, kind)
    walker = Walker(schema, everything(schema.fields)).whole(pair.version)
    chance = random.Random(f"{pair.api.name} {pair.version} {kind}")
    body = pair.body(kind)
    for _ in range(60):
        broken = damaged(b"\0\0\0\0" + body, chance)[4:] if body else b""
        with contextlib.suppress(*UNREADABLE):
            walker(broken, 0, len(broken))


def test_the_observer_survives_all_of_them_and_reads_on() -> None:
    """As long as sizes are right, the next request is read again."""
    chance = random.Random(1)
    good = next(pair for pair in corpus() if pair.api.name == "Metadata")
    for pair in corpus() * 4:
        speech = Speech()
        heard = speech.client().conversation
        heard.client_data(good.request, speech.now)
        heard.server_data(good.response, speech.now)
        try:
            heard.client_data(damaged(pair.request, chance), speech.now)
            heard.server_data(damaged(pair.response, chance), speech.now)
        except (RemoteProtocolError, StopWatching):
            continue
        before = heard.requests
        heard.client_data(good.request, speech.now)
        assert heard.requests == before + 1
        speech.registry.snapshot()
        heard.close(speech.now)
