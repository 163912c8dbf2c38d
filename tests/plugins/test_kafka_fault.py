from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from kafka_front import Filtered, with_filters
from kafka_messages import batch
from l4proxy import ConfigError
from l4proxy.plugins.kafka_fault import KafkaFault
from l4proxy.testing import use

NOT_LEADER = 6


def produced(*topics: str, acks: int = 1) -> dict[str, Any]:
    """The values of a Produce request."""
    partition = {"index": 0, "records": batch()}
    return {"acks": acks, "topic_data": [{"name": name, "partition_data": [partition]} for name in topics]}


def accepted(*topics: str) -> dict[str, Any]:
    partition = {"index": 0, "base_offset": 7}
    return {"responses": [{"name": name, "partition_responses": [partition]} for name in topics]}


def outcome(response: dict[str, Any]) -> dict[str, int]:
    return {topic["name"]: topic["partition_responses"][0]["error_code"] for topic in response["responses"]}


def test_errors_stand_in_their_places_and_nobody_is_asked() -> None:
    @with_filters({"use": "fault", "error": "NOT_LEADER_OR_FOLLOWER", "apis": ["Produce"]})
    async def story(it: Filtered) -> None:
        assert outcome(await it.client.ask("Produce", 9, **produced("a", "b"))) == {"a": NOT_LEADER, "b": NOT_LEADER}
        assert (await it.client.ask("Heartbeat", 4))["error_code"] == 0
        assert it.broker.names == ["Heartbeat"]
        assert it.front.value("l4proxy_kafka_fault_errors_total") == 1


def test_only_some_topics() -> None:
    @with_filters({"use": "fault", "error": "NOT_LEADER_OR_FOLLOWER", "topics": ["test-*"]})
    async def story(it: Filtered) -> None:
        it.answer("Produce", **accepted("a"))
        response = await it.client.ask("Produce", 9, **produced("a", "test-1", "test-2"))
        assert outcome(response) == {"a": 0, "test-1": NOT_LEADER, "test-2": NOT_LEADER}
        assert [topic["name"] for topic in it.asked("Produce")[0]["topic_data"]] == ["a"]
        assert outcome(await it.client.ask("Produce", 9, **produced("test-1"))) == {"test-1": NOT_LEADER}
        assert outcome(await it.client.ask("Produce", 9, **produced("a"))) == {"a": 0}
        assert it.front.value("l4proxy_kafka_fault_errors_total") == 2
        offered = {one["api_key"]: one for one in (await it.client.ask("ApiVersions", 3))["api_keys"]}
        assert offered[0]["max_version"] == 12


def test_delays_hold_what_comes_behind_and_nothing_else() -> None:
    @with_filters({"use": "fault", "delay": "100ms", "apis": ["Heartbeat"]})
    async def story(it: Filtered) -> None:
        it.client.send("Metadata", 1, topics=[])
        it.client.send("Heartbeat", 4)
        it.client.send("Metadata", 1, topics=[])
        assert [int.from_bytes((await it.client.frame())[4:8], "big") for _ in range(3)] == [1, 2, 3]
        assert it.front.value("l4proxy_kafka_fault_delays_total") == 1
        assert it.front.value("l4proxy_kafka_fault_active") == 0
        assert it.broker.names == ["Metadata", "Heartbeat", "Metadata"]


def test_a_client_that_leaves_is_not_held() -> None:
    @with_filters({"use": "fault", "delay": "1h"})
    async def story(it: Filtered) -> None:
        it.client.send("Heartbeat", 4)
        other = await it.another()
        await other.ask("ApiVersions", 3)
        while not it.front.value("l4proxy_kafka_fault_active"):
            await other.ask("ApiVersions", 3)
        sock = it.client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await it.client.close()
        while it.front.value("l4proxy_kafka_fault_active"):
            await other.ask("ApiVersions", 3)
        await other.close()


def test_producers_that_want_no_answer_get_none() -> None:
    @with_filters({"use": "fault", "error": "NOT_LEADER_OR_FOLLOWER", "apis": ["Produce"]})
    async def story(it: Filtered) -> None:
        it.client.send("Produce", 9, **produced("a", acks=0))
        assert (await it.client.ask("Heartbeat", 4))["error_code"] == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "delay: write delay"),
        ({"error": "NOT_LEADER"}, "error: there is no error 'NOT_LEADER' .did you mean 'NOT_LEADER_OR_FOLLOWER"),
        ({"delay": "1s", "apis": ["produce"]}, "apis: there is no API 'produce' .did you mean 'Produce'"),
        ({"delay": "1s", "apis": ["SaslHandshake"]}, "apis: message filters do not see SaslHandshake"),
    ],
)
def test_what_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(KafkaFault, **options)
