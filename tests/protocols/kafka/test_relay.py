"""A relay between a scripted client and a scripted broker: what passes is the very bytes however they come, addresses
are rewritten in small and large responses alike, answers keep their order, and what breaks the protocol is told."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import DECLARED, batch, message, request, response
from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from l4proxy.protocols.kafka.plan import Plans, Reading
from l4proxy.protocols.kafka.relay import Relay
from l4proxy.protocols.kafka.relay_plan import RelayedCall, RelayPlan

HEADER = {0: 4, 1: 5}


def versions(key: int) -> tuple[int, int] | None:
    api = APIS.get(key)
    return None if api is None else (api.first, api.last)


class Places:
    renumbers = False

    def __init__(self, host: bytes = b"proxy") -> None:
        self.host = host
        self.known: dict[int, tuple[bytes, int]] = {}

    def learn(self, brokers: Any, *, all: bool) -> None:
        self.known |= {node: (host, port) for node, host, port in brokers}

    def place(self, node: int) -> tuple[int, bytes, int] | None:
        return node, self.host, 9000 + node

    def number(self, node: int) -> int:
        return node


class Between(Relay):
    """Remembers everything. ``wanted`` APIs are held, or answered with ``answers``."""

    def __init__(self, *wanted: str, host: bytes = b"proxy", **limits: int) -> None:
        keys = {BY_NAME[name].key for name in wanted}

        def plan(key: int, version: int, _reading: Reading) -> RelayPlan:
            return RelayPlan(key, version, versions, wanted=key in keys)

        self.places = Places(host)
        super().__init__(Plans(plan, {}), versions, self.places, **limits)
        self.client = b""
        self.broker = b""
        self.seen: list[str] = []
        self.held: list[tuple[RelayedCall, bytes]] = []
        self.holds = False
        self.holds_responses = False
        self.responses: list[tuple[RelayedCall, bytes]] = []

    def to_client(self, data: bytes) -> None:
        self.client += data

    def to_broker(self, data: bytes) -> None:
        self.broker += data

    def from_client(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.broker += self.client_data(chunk)

    def from_broker(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.client += self.server_data(chunk)

    def asked(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        self.seen.append(f"request {call.plan.name}")
        if self.holds:
            self.held.append((call, data[start:stop]))
            self.hold()
            return b""
        return data[start:stop]

    def answered(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> None:
        self.seen.append(f"response {call.plan.name}")
        if self.holds_responses:
            self.responses.append((call, data[start:stop]))
            self.hold_responses()
            return
        self.give(call, data[start:stop])

    def introduced(self, name: bytes, version: bytes) -> None:
        self.seen.append(f"introduced {name.decode()} {version.decode()}")

    def authenticating(self, token: bytes, first: bool) -> None:
        self.seen.append(f"{self.mechanism} {len(token)} {first}")

    def authenticated(self, error: int, last: bool) -> None:
        self.seen.append(f"authenticated {error} {last}")

    def mechanism_refused(self, mechanism: str) -> None:
        self.seen.append(f"refused {mechanism}")


def split(data: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    sizes = [1, 2, 3] if seed % 3 == 0 else [10, 100, 1000] if seed % 3 == 1 else [40_000, 100_000]
    chunks = []
    while data:
        size = chance.choice(sizes)
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def decoded(api: Api, version: int, frame: bytes) -> dict[str, Any]:
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return plain.decode(api.response, version, frame, 4 + HEADER[api.response_header(version)])


PASSING = [
    (api, version)
    for api in DECLARED
    for version in range(api.first, api.last + 1)
    if RelayPlan(api.key, version, versions).response_way == 0
]


@given(st.data(), st.lists(st.sampled_from(PASSING), min_size=1, max_size=5), st.integers(0, 99), st.integers(0, 99))
@settings(max_examples=200)
def test_what_has_no_address_passes_as_it_is(
    data: st.DataObject, calls: list[tuple[Api, int]], seed: int, other: int
) -> None:
    relay = Between()
    requests = responses = b""
    for number, (api, version) in enumerate(calls):
        values = data.draw(message(api, version, "request"))
        requests += request(api.name, version, number, **values)
        if api.name != "Produce" or values.get("acks"):
            responses += response(api.name, version, number, **data.draw(message(api, version, "response")))
    relay.from_client(*split(requests, seed))
    assert relay.broker == requests
    relay.from_broker(*split(responses, other))
    assert relay.client == responses
    assert relay.between


def test_a_chunk_in_which_nothing_changes_is_not_copied() -> None:
    relay = Between()
    requests = b"".join(request("Heartbeat", 4, number) for number in range(3))
    half = request("Produce", 9, 4, acks=-1, topic_data=[{"name": "t", "partition_data": []}])[:-3]
    chunk = requests + half
    assert relay.client_data(chunk) is chunk
    responses = b"".join(response("Heartbeat", 4, number) for number in range(3))
    assert relay.server_data(responses) is responses


BROKERS: list[dict[str, Any]] = [
    {"node_id": node, "host": f"broker-{node}.internal", "port": 9092, "rack": "r"} for node in (1, 2, 3)
]
OLD_BROKERS = [{key: value for key, value in broker.items() if key != "rack"} for broker in BROKERS]
TOLD = [{**broker, "host": "proxy", "port": 9000 + broker["node_id"]} for broker in BROKERS]


def large_metadata(version: int) -> dict[str, Any]:
    replicas = {"replica_nodes": [1, 2, 3], "isr_nodes": [1, 2, 3]}
    partitions = [{"partition_index": at, "leader_id": at % 3 + 1, **replicas} for at in range(30)]
    topics = [{"name": f"topic-{at}", "partitions": partitions} for at in range(100)]
    if version:
        return {"brokers": BROKERS, "topics": topics, "controller_id": 1}
    return {"brokers": OLD_BROKERS, "topics": topics}


def large_fetch(size: int, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    records = batch(1, value=bytes(size))
    partitions = [{"partition_index": at, "records": records} for at in range(3)]
    responses = [{"topic_id": bytes(15) + b"\1", "partitions": partitions}]
    return {"session_id": 7, "responses": responses, "node_endpoints": endpoints}


@pytest.mark.parametrize("version", [0, 1, 8, 9, 13])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_large_metadata_response(version: int, seed: int) -> None:
    relay = Between()
    relay.from_client(request("Metadata", version, 5, topics=[]))
    sent = response("Metadata", version, 5, **large_metadata(version))
    assert len(sent) > 32 * 1024
    relay.from_broker(*split(sent, seed))
    told = decoded(BY_NAME["Metadata"], version, relay.client)
    before = decoded(BY_NAME["Metadata"], version, sent)
    assert [(one["host"], one["port"]) for one in told["brokers"]] == [
        ("proxy", 9001),
        ("proxy", 9002),
        ("proxy", 9003),
    ]
    assert {**told, "brokers": before["brokers"]} == before
    assert relay.places.known == {node: (f"broker-{node}.internal".encode(), 9092) for node in (1, 2, 3)}
    assert relay.between


@pytest.mark.parametrize(("size", "seed"), [(10, 0), (12_000, 0), (200_000, 1), (500_000, 2)])
@pytest.mark.parametrize("host", [b"proxy", b"proxy.of.a.long.name.example"])
def test_a_fetch_response_with_endpoints(size: int, seed: int, host: bytes) -> None:
    relay = Between(host=host)
    relay.from_client(request("Fetch", 17, 5), request("Heartbeat", 4, 6))
    sent = response("Fetch", 17, 5, **large_fetch(size, BROKERS)) + response("Heartbeat", 4, 6)
    relay.from_broker(*split(sent, seed))
    told = decoded(BY_NAME["Fetch"], 17, relay.client[: -len(response("Heartbeat", 4, 6))])
    before = decoded(BY_NAME["Fetch"], 17, sent[: -len(response("Heartbeat", 4, 6))])
    assert relay.client.endswith(response("Heartbeat", 4, 6))
    large = size > 10
    if large and len(host) > 20:
        assert "node_endpoints" not in told
        told["node_endpoints"] = []
    else:
        assert told["node_endpoints"] == [{**one, "host": host.decode()} for one in TOLD]
    told.pop("_tags", None)
    assert {**told, "node_endpoints": before["node_endpoints"]} == before
    assert relay.between


def test_a_large_fetch_without_endpoints_is_not_changed() -> None:
    relay = Between()
    values = large_fetch(500_000, [])
    del values["node_endpoints"]
    relay.from_client(request("Fetch", 17, 5))
    sent = response("Fetch", 17, 5, **values)
    relay.from_broker(*split(sent, 2))
    assert relay.client == sent


def test_records_are_not_kept() -> None:
    relay = Between()
    relay.from_client(request("Fetch", 17, 5))
    sent = response("Fetch", 17, 5, **large_fetch(500_000, BROKERS))
    relay.from_broker(sent[:100_000])
    assert relay.client == sent[:100_000]


def test_versions_are_cut_down() -> None:
    relay = Between()
    keys = [{"api_key": 1, "min_version": 4, "max_version": 99}, {"api_key": 999, "min_version": 0, "max_version": 0}]
    relay.from_client(request("ApiVersions", 3, 1, client_software_name="kcat", client_software_version="1"))
    relay.from_broker(response("ApiVersions", 3, 1, error_code=0, api_keys=keys))
    told = decoded(BY_NAME["ApiVersions"], 3, relay.client)
    assert told["api_keys"] == [{"api_key": 1, "min_version": 4, "max_version": 18}]
    assert relay.seen == ["introduced kcat 1"]


def test_too_new_an_api_versions_request_is_answered_here() -> None:
    """KIP-511; the broker might understand it, and then say what we cannot read."""
    relay = Between()
    newer = bytearray(request("ApiVersions", 4, 77))
    newer[7] = 9
    relay.from_client(request("Heartbeat", 4, 1), bytes(newer))
    assert relay.broker == request("Heartbeat", 4, 1)
    assert relay.client == b""
    relay.from_broker(response("Heartbeat", 4, 1))
    reply = relay.client[len(response("Heartbeat", 4, 1)) :]
    assert decoded(BY_NAME["ApiVersions"], 0, reply)["error_code"] == 35


def test_bare_tokens_pass() -> None:
    relay = Between()
    relay.from_client(request("SaslHandshake", 0, 1, mechanism="PLAIN"))
    relay.from_broker(response("SaslHandshake", 0, 1, error_code=0, mechanisms=["PLAIN"]))
    token = b"\0\0\0\x0d\0alice\0secret"
    relay.from_client(token[:5], token[5:] + request("Heartbeat", 4, 2))
    relay.from_broker(b"\0\0\0\0" + response("Heartbeat", 4, 2))
    assert relay.seen == ["PLAIN 13 True", "authenticated 0 True"]
    assert relay.broker == request("SaslHandshake", 0, 1, mechanism="PLAIN") + token + request("Heartbeat", 4, 2)
    assert relay.client.endswith(b"\0\0\0\0" + response("Heartbeat", 4, 2))


def test_tokens_in_requests_are_seen() -> None:
    relay = Between()
    relay.from_client(request("SaslHandshake", 1, 1, mechanism="SCRAM-SHA-256"))
    relay.from_broker(response("SaslHandshake", 1, 1, error_code=0, mechanisms=["PLAIN"]))
    for number in (2, 3):
        relay.from_client(request("SaslAuthenticate", 2, number, auth_bytes=bytes(number)))
        relay.from_broker(response("SaslAuthenticate", 2, number, error_code=0))
    relay.from_client(request("SaslHandshake", 1, 4, mechanism="GSSAPI"))
    relay.from_broker(response("SaslHandshake", 1, 4, error_code=33, mechanisms=["PLAIN"]))
    assert relay.seen == [
        "SCRAM-SHA-256 2 True", "authenticated 0 False", "SCRAM-SHA-256 3 False", "authenticated 0 True",
        "refused GSSAPI",
    ]  # fmt: skip


def test_an_answer_waits_for_its_turn() -> None:
    """And what comes behind a held request waits for it."""
    relay = Between("ListGroups")
    relay.holds = True
    first, second, third = request("Heartbeat", 4, 1), request("ListGroups", 3, 2), request("Heartbeat", 4, 3)
    relay.from_client(first + second + third[:6], third[6:])
    assert relay.broker == first
    ((call, frame),) = relay.held
    assert frame == second
    relay.give(call, b"answer")
    relay.go_on()
    assert relay.broker == first + third
    assert relay.client == b""
    relay.from_broker(response("Heartbeat", 4, 1) + response("Heartbeat", 4, 3)[:7])
    assert relay.client == response("Heartbeat", 4, 1) + b"answer"
    relay.from_broker(response("Heartbeat", 4, 3)[7:])
    assert relay.client == response("Heartbeat", 4, 1) + b"answer" + response("Heartbeat", 4, 3)
    assert relay.between


def test_an_answer_waits_for_the_rest_of_the_one_before() -> None:
    relay = Between("ListGroups")
    relay.holds = True
    relay.from_client(request("DescribeGroups", 5, 1), request("ListGroups", 3, 2))
    sent = response("DescribeGroups", 5, 1, groups=[])
    relay.from_broker(sent[:9])
    relay.give(relay.held[0][0], b"answer")
    assert relay.client == sent[:9]
    relay.from_broker(sent[9:])
    assert relay.client == sent + b"answer"


def test_a_held_response_holds_up_those_behind_it() -> None:
    relay = Between("ListGroups")
    relay.holds_responses = True
    relay.from_client(request("ListGroups", 3, 1), request("Heartbeat", 4, 2))
    one, other = response("ListGroups", 3, 1), response("Heartbeat", 4, 2)
    relay.from_broker(one + other)
    assert relay.client == b""
    ((call, frame),) = relay.responses
    assert frame == one
    relay.give(call, b"changed")
    relay.go_on_responses()
    assert relay.client == b"changed" + other


class Curious(Between):
    """Asks for Metadata before it lets a ListGroups through."""

    def asked(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> bytes:
        self.held.append((call, data[start:stop]))
        self.hold()
        self.expect(RelayedCall(self._plans[3 << 16 | 1], -9), before=call)
        return request("Metadata", 1, -9, topics=[])

    def answered(self, call: RelayedCall, data: bytes, start: int, pos: int, stop: int) -> None:
        if call.correlation_id == -9:
            self.give(call, b"")
            self.to_broker(self.held[0][1])
            self.go_on()
        else:
            self.give(call, data[start:stop])


def test_something_can_be_asked_for_ourselves() -> None:
    relay = Curious("ListGroups")
    first, wanted, last = request("Heartbeat", 4, 1), request("ListGroups", 3, 2), request("Heartbeat", 4, 3)
    relay.from_client(first + wanted + last)
    assert relay.broker == first + request("Metadata", 1, -9, topics=[])
    answers = [response("Heartbeat", 4, 1), response("ListGroups", 3, 2), response("Heartbeat", 4, 3)]
    relay.from_broker(answers[0] + response("Metadata", 1, -9, brokers=BROKERS))
    assert relay.places.known.keys() == {1, 2, 3}
    assert relay.broker.endswith(wanted + last)
    relay.from_broker(answers[1] + answers[2])
    assert relay.client == b"".join(answers)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls"),
        (b"\xff\xff\xff\xff", "negative_length"),
        (b"\x7f\xff\xff\xff", "oversized_frame"),
        (b"\0\0\0\4\0\0\0\0", "short_frame"),
        (b"\0\0\0\x0a\x12\x34\0\0\0\0\0\1\xff\xff", "unknown_api"),
        (b"\0\0\0\x0a\0\3\0\x63\0\0\0\1\xff\xff", "unsupported_version"),
        (b"\0\0\0\x0a\0\0\0\x09\0\0\0\1\xff\xff", "truncated"),
        (b"\0\0\0\x0a\0\x24\0\2\0\0\0\1\xff\xff", "truncated"),
        (b"\0\0\0\x0a\0\x12\0\x03\0\0\0\1\x7f\xff", "truncated"),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_a_client_may_not_say(sent: bytes, code: str, bytewise: bool) -> None:
    relay = Between()
    with pytest.raises(RemoteProtocolError) as caught:
        relay.from_client(*([sent[at : at + 1] for at in range(len(sent))] if bytewise else [sent]))
    assert caught.value.code == code
    assert relay.broker == b""


def test_what_a_broker_may_not_say() -> None:
    for sent, code in [
        (response("Heartbeat", 4, 2), "unexpected_response"),
        (b"\0\0\0\2\0\0", "short_frame"),
        (b"HTTP/1.1 400 Bad Request\r\n", "http"),
        (b"\x15\x03\x03\0\2\2\x0a", "tls"),
    ]:
        relay = Between()
        relay.from_client(request("Heartbeat", 4, 1))
        with pytest.raises(RemoteProtocolError) as caught:
            relay.from_broker(sent)
        assert caught.value.code == code
    relay = Between()
    with pytest.raises(RemoteProtocolError, match="to no request"):
        relay.from_broker(response("Heartbeat", 4, 2))
    relay.from_client(request("Metadata", 9, 1, topics=[]))
    with pytest.raises(RemoteProtocolError, match="Metadata version 9"):
        relay.from_broker(b"\0\0\0\x0a\0\0\0\1\0\0\0\0\0\x7f")


def test_limits_have_names() -> None:
    relay = Between("Produce", max_message=1000)
    with pytest.raises(RemoteProtocolError, match="1000 are allowed") as caught:
        relay.from_client(request("Produce", 9, 1, acks=1, transactional_id="x" * 2000))
    assert caught.value.code == "oversized_message"
    relay = Between(max_frame=1000)
    with pytest.raises(RemoteProtocolError, match="1000 are allowed") as caught:
        relay.from_client(request("Produce", 9, 1, acks=1, transactional_id="x" * 2000))
    assert caught.value.code == "oversized_frame"
    relay = Between()
    relay.from_client(request("Produce", 9, 1, acks=1, transactional_id="x" * 20_000))
    with pytest.raises(RemoteProtocolError) as caught:
        relay.from_client(request("Produce", 9, 1, acks=1, transactional_id="x" * 200_000)[:150_000], b"x")
    assert caught.value.code == "oversized_header"


def test_unanswered_produce_is_not_waited_for() -> None:
    for wanted in ((), ("Produce",)):
        relay = Between(*wanted)
        for version in range(14):
            sent = request("Produce", version, version, acks=0, topic_data=[]) + request("Produce", version, 1, acks=1)
            relay.from_client(sent)
        assert relay.in_flight == 14
