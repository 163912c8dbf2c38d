"""Message filters in kafka_proxy: who sees what, in which order, and what becomes of it."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

import pytest

from kafka_broker import Asked, Broker, Client
from kafka_front import Filtered, with_filters
from kafka_messages import batch, request
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.protocols.kafka.splice import encode_string


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


class Recorder(KafkaFilter[Nothing]):
    """Notes what it sees."""

    name = "recorder"
    seen: list[str]

    @classmethod
    def provision(cls, config: Nothing, server: Any) -> list[str]:
        return []

    def on_request(self, request: KafkaRequest) -> KafkaRequest:
        SEEN.append(f"> {request.kind}")
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        SEEN.append(f"< {response.request.kind}")
        return response


SEEN: list[str] = []


class Holder(KafkaFilter[Nothing]):
    """Holds responses to Heartbeat until there is one to LeaveGroup, to which it replies itself."""

    name = "holder"
    wants = frozenset({"Heartbeat", "LeaveGroup"})

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        if request.kind == "Heartbeat":
            return request
        self.reply(request, KafkaResponse({"error_code": 25}))
        return None

    def on_response(self, response: KafkaResponse) -> KafkaResponse | None:
        self.conn.call_later(0.2, lambda: self.release(response))
        return None


class Changer(KafkaFilter[Nothing]):
    name = "changer"
    wants = frozenset({"Heartbeat", "JoinGroup", "ListGroups"})

    def on_request(self, request: KafkaRequest) -> KafkaRequest:
        if request.kind == "Heartbeat":
            request.values = {**request.values, "group_id": "other"}
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        if response.request.kind == "ListGroups":
            return KafkaResponse({"groups": [{"group_id": "mine", "protocol_type": "consumer"}]})
        response.values = {**response.values, "throttle_time_ms": 7}
        assert response.values["throttle_time_ms"] == 7
        return response


class Glance(KafkaFilter[Nothing]):
    """Sees requests, and needs no responses."""

    name = "glance"
    wants = frozenset({"Fetch"})

    def on_request(self, request: KafkaRequest) -> KafkaRequest:
        self.ignore_response(request)
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        raise AssertionError(response)


class Reader(KafkaFilter[Nothing]):
    name = "reader"
    wants = frozenset({"Produce", "Heartbeat"})

    def on_request(self, request: KafkaRequest) -> KafkaRequest:
        assert request.values
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        assert response.values
        return response


class Hider(KafkaFilter[Nothing]):
    name = "hider"
    wants = frozenset()
    hides = frozenset({"ListGroups"})


class Plugin:
    @staticmethod
    @hookimpl
    def register_message_filters(register: Register[Any]) -> None:
        for cls in (Recorder, Holder, Changer, Glance, Reader, Hider):
            register(cls)


OURS: dict[str, Any] = {"plugins": [Plugin]}


def number(frame: bytes) -> int:
    return int.from_bytes(frame[4:8], "big")


def test_filters_see_all_but_what_is_said_of_the_connection_itself() -> None:
    SEEN.clear()

    @with_filters({"use": "recorder"}, **OURS)
    async def story(it: Filtered) -> None:
        await it.client.ask("ApiVersions", 3)
        await it.client.ask("SaslHandshake", 1, mechanism="PLAIN")
        await it.client.ask("SaslAuthenticate", 2, auth_bytes=b"\0alice\0secret")
        metadata = await it.client.ask("Metadata", 9, topics=[])
        assert metadata["brokers"][0]["port"] == it.front.port
        it.brokers.answers["Produce"] = lambda broker, asked: b""
        it.client.send("Produce", 9, acks=0, topic_data=[])
        await it.client.ask("Heartbeat", 4)

    assert SEEN == ["> Metadata", "< Metadata", "> Produce", "> Heartbeat", "< Heartbeat"]


def test_responses_keep_their_order_whoever_holds_or_gives_them() -> None:
    """That to the Heartbeat is held; behind it are a reply of the filter's, and one that no filter sees."""

    @with_filters({"use": "holder"}, **OURS)
    async def story(it: Filtered) -> None:
        for name in ("Heartbeat", "LeaveGroup", "Metadata", "Heartbeat", "Metadata"):
            it.client.send(name, 1, **({"topics": []} if name == "Metadata" else {}))
        assert [number(await it.client.frame()) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert it.broker.names == ["Heartbeat", "Metadata", "Heartbeat", "Metadata"]

    @with_filters({"use": "holder"}, **OURS)
    async def in_one_piece(it: Filtered) -> None:
        """The broker's answers come at once, while the first is held."""
        waiting: list[bytes] = []

        def late(broker: Broker, asked: Asked) -> bytes:
            waiting.append(asked.answer())
            if len(waiting) < 3:
                return b""
            return b"".join(waiting)

        it.brokers.answers["Heartbeat"] = it.brokers.answers["ListGroups"] = late
        for name in ("Heartbeat", "ListGroups", "Heartbeat"):
            it.client.send(name, 1)
        assert [number(await it.client.frame()) for _ in range(3)] == [1, 2, 3]
        assert (await it.client.ask("LeaveGroup", 1))["error_code"] == 25


def test_messages_are_changed_and_replaced() -> None:
    @with_filters({"use": "changer"}, **OURS)
    async def story(it: Filtered) -> None:
        assert await it.client.ask("Heartbeat", 4, group_id="g", _tags={}) == {"throttle_time_ms": 7, "error_code": 0}
        assert it.asked("Heartbeat")[0]["group_id"] == "other"
        assert [one["group_id"] for one in (await it.client.ask("ListGroups", 4))["groups"]] == ["mine"]


def test_a_message_is_changed_where_it_lies() -> None:
    frame = request("Heartbeat", 3, 5, group_id="g")
    one = KafkaRequest(heartbeat := _api("Heartbeat"), 3, 5, b"test", frame, 18)
    assert one.values["group_id"] == "g"
    one.splice([(18, 21, encode_string(b"group", flexible=False))])
    assert one.frame == request("Heartbeat", 3, 5, group_id="group")
    assert one.values["group_id"] == "group"
    error = KafkaResponse.error(one, 30)
    error.request = one
    assert error.values == {"throttle_time_ms": 0, "error_code": 30}
    assert heartbeat is one.api


def _api(name: str) -> Any:
    from l4proxy.protocols.kafka.apis import BY_NAME

    return BY_NAME[name]


def test_a_response_that_nobody_needs_passes_as_it_comes() -> None:
    """It is larger than what may be collected."""
    records = batch(value=bytes(20_000))

    @with_filters({"use": "glance"}, filter={"max_message": 2000}, **OURS)
    async def story(it: Filtered) -> None:
        partition = {"partition_index": 0, "records": records}
        it.answer("Fetch", responses=[{"topic": "a", "partitions": [partition]}])
        fetched = await it.client.ask("Fetch", 11, topics=[{"topic": "a", "partitions": []}])
        assert fetched["responses"][0]["partitions"][0]["records"] == records
        assert (await it.client.ask("Heartbeat", 4))["error_code"] == 0


def test_what_cannot_be_read_is_its_senders_fault(caplog: pytest.LogCaptureFixture) -> None:
    @with_filters({"use": "reader"}, **OURS)
    async def client(it: Filtered) -> None:
        short = request("Heartbeat", 4, 1, group_id="group")[4:-3]
        it.client.writer.write(struct.pack(">i", len(short)) + short)
        assert await it.client.ended() == b""
        errors = it.front.value("l4proxy_kafka_proxy_protocol_errors_total", cluster="up", reason="undecodable")
        assert errors == 1
        assert it.broker.asked == []

    @with_filters({"use": "reader"}, **OURS)
    async def broker(it: Filtered) -> None:
        it.brokers.answers["Heartbeat"] = lambda broker, asked: struct.pack(">ii", 6, asked.correlation_id) + b"\0\0"
        it.client.send("Heartbeat", 3)
        assert await it.client.ended() == b""
        closed = it.front.value("l4proxy_listener_closed_total", listener="test", reason="undecodable")
        assert closed == 1

    assert not [record for record in caplog.records if record.exc_info]


def test_apis_are_hidden_where_a_filter_says_so() -> None:
    @with_filters({"use": "hider"}, **OURS)
    async def story(it: Filtered) -> None:
        offered = {one["api_key"] for one in (await it.client.ask("ApiVersions", 3))["api_keys"]}
        assert 16 not in offered
        assert 12 in offered
        assert (await it.client.ask("ListGroups", 4))["error_code"] == 31


def test_a_client_that_is_asked_in_meets_the_filters_once() -> None:
    """Its broker is not known, and brokers tell nobody of the others before they know who asks."""
    SEEN.clear()

    def strict(broker: Broker, asked: Asked) -> bytes | None:
        return asked.answer(brokers=broker.owner.listing()) if asked.number else None

    from services.process import neighbouring_ports

    first = neighbouring_ports(3)
    listener = {"address": f"127.0.0.1:{first}-{first + 2}"}

    @with_filters({"use": "recorder"}, listener=listener, **OURS)
    async def story(it: Filtered) -> None:
        it.brokers.answers["Metadata"] = strict
        client = await Client.connect(first + 2)
        await client.ask("ApiVersions", 3)
        for _ in range(2):
            client.send("Heartbeat", 4)
        assert [number(await client.frame()) for _ in range(2)] == [2, 3]
        await client.close()

    assert SEEN == ["> Heartbeat", "< Heartbeat"] * 2 or SEEN == ["> Heartbeat", "> Heartbeat"] + ["< Heartbeat"] * 2


def test_many_requests_through_filters() -> None:
    """More than may be unanswered at a time."""
    SEEN.clear()

    @with_filters({"use": "recorder"}, **OURS)
    async def story(it: Filtered) -> None:
        async def send() -> None:
            for number in range(3000):
                it.client.writer.write(request("Heartbeat", 4, number))
                if not number % 100:
                    await it.client.writer.drain()

        sending = asyncio.create_task(send())
        for expected in range(3000):
            assert number(await it.client.frame()) == expected
        await sending

    assert len(SEEN) == 6000
