from __future__ import annotations

from typing import Any

import pytest

from kafka_front import Filtered, with_filters
from kafka_messages import DECLARED, batch, request
from l4proxy import ConfigError
from l4proxy.plugins.kafka_topic_rules import OPERATIONS, KafkaTopicRules, wanted_apis
from l4proxy.testing import use

TOPIC_DENIED, GROUP_DENIED, TRANSACTION_DENIED = 29, 30, 53


def rules(action: str = "deny", /, **policy: Any) -> dict[str, Any]:
    return {"use": "topic_rules", "action": action, "policies": {"one": policy}}


SECRETS = rules(topics=["secret*"])


def produced(*topics: str, **values: Any) -> dict[str, Any]:
    partition = {"index": 0, "records": batch()}
    return {"acks": 1, "topic_data": [{"name": name, "partition_data": [partition]} for name in topics], **values}


def accepted(*topics: str) -> dict[str, Any]:
    return {"responses": [{"name": name, "partition_responses": [{"index": 0}]} for name in topics]}


def outcome(response: dict[str, Any]) -> dict[str, int]:
    """The first error code of each topic."""
    found = {}
    for topic in response.get("responses") or response.get("topics") or ():
        partitions = topic.get("partition_responses") or topic.get("partitions") or [topic]
        found[topic.get("name") or topic.get("topic")] = partitions[0]["error_code"]
    return found


def fetched(*topics: str, session: tuple[int, int] = (0, -1)) -> dict[str, Any]:
    partitions = [{"partition": 0, "partition_max_bytes": 1000}]
    named = [{"topic": name, "partitions": partitions} for name in topics]
    return {"max_wait_ms": 500, "session_id": session[0], "session_epoch": session[1], "topics": named}


def test_allowed_partitions_pass_and_denied_ones_get_their_error() -> None:
    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        it.answer("Produce", **accepted("a"))
        assert outcome(await it.client.ask("Produce", 12, **produced("secret1", "a", "secret2"))) == {
            "a": 0, "secret1": TOPIC_DENIED, "secret2": TOPIC_DENIED,
        }  # fmt: skip
        (asked,) = it.asked("Produce")
        assert [topic["name"] for topic in asked["topic_data"]] == ["a"]
        assert asked["topic_data"][0]["partition_data"][0]["records"] == batch()
        assert outcome(await it.client.ask("Produce", 12, **produced("secret1"))) == {"secret1": TOPIC_DENIED}
        assert len(it.asked("Produce")) == 1
        refused = it.front.value("l4proxy_kafka_topic_rules_refused_requests_total", name="", api="Produce")
        assert refused == 2
        assert it.front.value("l4proxy_kafka_topic_rules_denied_total", name="", policy="one") == 2


def test_a_fetch_that_is_refused_in_part_is_one_without_a_session() -> None:
    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        it.answer("Fetch", responses=[{"topic": "a", "partitions": [{"partition_index": 0, "records": batch()}]}])
        assert outcome(await it.client.ask("Fetch", 12, **fetched("a", "secret", session=(0, 0)))) == {
            "a": 0, "secret": TOPIC_DENIED,
        }  # fmt: skip
        assert it.asked("Fetch")[0]["session_epoch"] == -1
        answer = await it.client.ask("Fetch", 12, **fetched("secret", session=(77, 3)))
        assert outcome(answer) == {"secret": TOPIC_DENIED}
        answer = await it.client.ask("Fetch", 12, **fetched("a", "secret", session=(77, 3)))
        assert answer["error_code"] == 70
        await it.client.ask("Fetch", 12, **fetched("a", session=(0, 0)))
        assert it.asked("Fetch")[-1]["session_epoch"] == 0


def test_lists_are_without_what_is_denied() -> None:
    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        topics: list[dict[str, Any]] = [{"name": name, "partitions": []} for name in ("a", "secret", "b")]
        it.answer("Metadata", brokers=it.brokers.listing(), topics=topics)
        assert list(outcome(await it.client.ask("Metadata", 9, topics=None))) == ["a", "b"]
        it.answer("Metadata", brokers=it.brokers.listing(), topics=[])
        metadata = await it.client.ask("Metadata", 9, topics=[{"name": "secret"}])
        assert outcome(metadata) == {"secret": TOPIC_DENIED}
        assert metadata["brokers"][0]["port"] == it.front.port
        assert it.asked("Metadata")[-1]["topics"] == []


def test_bytes_behind_the_end_of_a_request() -> None:
    """librdkafka 2.16 asks for all topics with three bytes too many, and brokers do not mind."""

    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        it.brokers.answers["Metadata"] = lambda broker, asked: asked.answer(topics=[{"name": "secret"}, {"name": "a"}])
        whole = request("Metadata", 13, 1, topics=None)[4:] + b"\1\0\0"
        it.client.number = 1
        it.client.writer.write(len(whole).to_bytes(4, "big") + whole)
        assert list(outcome(it.client.read("Metadata", 13, await it.client.frame()))) == ["a"]


def test_groups_and_transactional_ids() -> None:
    @with_filters(rules(groups=["g*"], transactional_ids=["t*"]))
    async def story(it: Filtered) -> None:
        ask = it.client.ask
        assert (await ask("JoinGroup", 7, group_id="g"))["error_code"] == GROUP_DENIED
        assert (await ask("Heartbeat", 4, group_id="other"))["error_code"] == 0
        topics = [{"name": "a", "partitions": [{"partition_index": 2}]}]
        assert outcome(await ask("OffsetCommit", 8, group_id="g", topics=topics)) == {"a": GROUP_DENIED}
        it.answer("ListGroups", groups=[{"group_id": "g"}, {"group_id": "h"}])
        assert [one["group_id"] for one in (await ask("ListGroups", 4))["groups"]] == ["h"]
        it.answer("FindCoordinator", coordinators=[{"key": "h", "node_id": 1}])
        found = (await ask("FindCoordinator", 4, coordinator_keys=["g", "h"]))["coordinators"]
        assert {one["key"]: one["error_code"] for one in found} == {"g": GROUP_DENIED, "h": 0}
        assert (await ask("InitProducerId", 4, transactional_id="t"))["error_code"] == TRANSACTION_DENIED
        assert (await ask("InitProducerId", 4, transactional_id=None))["error_code"] == 0
        refused = await ask("Produce", 9, **produced("a", transactional_id="t"))
        assert outcome(refused) == {"a": TRANSACTION_DENIED}
        it.answer("OffsetFetch", groups=[{"group_id": "h"}])
        groups = [{"group_id": name, "topics": [{"name": "a", "partition_indexes": [0]}]} for name in ("g", "h")]
        offsets = (await ask("OffsetFetch", 8, groups=groups))["groups"]
        assert {one["group_id"]: one["error_code"] for one in offsets} == {"g": GROUP_DENIED, "h": 0}


def test_topics_of_one_group_stay_with_it() -> None:
    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        partition = {"partition_index": 0, "committed_offset": 5}
        it.answer("OffsetFetch", groups=[{"group_id": "g", "topics": [{"name": "a", "partitions": [partition]}]}])
        asked = [{"name": name, "partition_indexes": [0]} for name in ("a", "secret")]
        (group,) = (await it.client.ask("OffsetFetch", 8, groups=[{"group_id": "g", "topics": asked}]))["groups"]
        assert outcome(group) == {"a": 0, "secret": TOPIC_DENIED}
        heartbeat = {"group_id": "g", "subscribed_topic_names": ["a", "secret"]}
        assert (await it.client.ask("ConsumerGroupHeartbeat", 1, **heartbeat))["error_code"] == TOPIC_DENIED


def test_who_and_what_for() -> None:
    policies = {
        "alice": {"topics": ["orders"], "principals": ["alice"], "operations": ["write"]},
        "audit": {"topics": ["orders"], "client_ids": ["audit-*"], "operations": ["read"]},
        "local": {"topics": ["local"], "source": ["127.0.0.0/8"]},
        "far": {"topics": ["far"], "source": ["10.0.0.0/8"]},
    }

    @with_filters({"use": "topic_rules", "action": "allow", "policies": policies})
    async def story(it: Filtered) -> None:
        async def produce(topic: str) -> int:
            it.answer("Produce", **accepted(topic))
            return outcome(await it.client.ask("Produce", 9, **produced(topic)))[topic]

        assert await produce("orders") == TOPIC_DENIED
        assert await produce("local") == 0
        assert await produce("far") == TOPIC_DENIED
        await it.client.ask("SaslHandshake", 1, mechanism="PLAIN")
        await it.client.ask("SaslAuthenticate", 2, auth_bytes=b"\0alice\0secret")
        assert await produce("orders") == 0
        it.answer("Fetch", responses=[])
        assert outcome(await it.client.ask("Fetch", 12, **fetched("orders"))) == {"orders": TOPIC_DENIED}
        it.client.writer.write(request("Fetch", 12, it.client.number + 1, b"audit-1", **fetched("orders")))
        it.client.number += 1
        assert it.client.read("Fetch", 12, await it.client.frame())["responses"] == []
        it.answer("Metadata", topics=[{"name": "orders"}, {"name": "other"}])
        assert list(outcome(await it.client.ask("Metadata", 9, topics=None))) == ["orders"]
        assert (await it.client.ask("Heartbeat", 4, group_id="any"))["error_code"] == 0


def test_shadow_rules_only_count() -> None:
    @with_filters({**SECRETS, "shadow": True})
    async def story(it: Filtered) -> None:
        it.answer("Produce", **accepted("secret"))
        assert outcome(await it.client.ask("Produce", 9, **produced("secret"))) == {"secret": 0}
        it.answer("Metadata", topics=[{"name": "secret"}])
        assert list(outcome(await it.client.ask("Metadata", 9, topics=None))) == ["secret"]
        value = it.front.value("l4proxy_kafka_topic_rules_shadow_denied_total", name="", policy="one")
        assert value == 1


def test_who_wants_no_answer_learns_of_it_by_the_end_of_the_connection() -> None:
    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        it.brokers.answers["Produce"] = lambda broker, asked: b""
        it.client.send("Produce", 9, **produced("a", "secret", acks=0))
        assert await it.client.ended() == b""
        assert [topic["name"] for topic in it.asked("Produce")[0]["topic_data"]] == ["a"]
        closed = it.front.value("l4proxy_listener_closed_total", listener="test", reason="refused_without_response")
        assert closed == 1


def test_leaders_of_all_topics() -> None:
    @with_filters(SECRETS)
    async def story(it: Filtered) -> None:
        assert (await it.client.ask("ElectLeaders", 2, topic_partitions=None))["error_code"] == 31


def test_every_operation_is_of_an_api() -> None:
    assert set(OPERATIONS) <= wanted_apis() <= {api.name for api in DECLARED}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"action": "deny", "policies": {}}, "policies: write at least one"),
        ({"action": "deny", "policies": {"a": {"operations": ["consume"]}}}, "operations"),
    ],
)
def test_what_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(KafkaTopicRules, **options)
