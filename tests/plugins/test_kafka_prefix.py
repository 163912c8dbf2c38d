from __future__ import annotations

import struct
from typing import Any

import pytest

from kafka_front import Filtered, with_filters
from kafka_messages import batch
from l4proxy import ConfigError
from l4proxy.plugins.kafka_prefix import KafkaPrefix
from l4proxy.testing import use

TENANT = {"use": "prefix", "prefix": "t1."}


def names(elements: Any, field: str = "name") -> list[str]:
    return [element[field] for element in elements]


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def subscription(*topics: str, owned: str = "") -> bytes:
    data = struct.pack(">hi", 1, len(topics)) + b"".join(map(text, topics)) + struct.pack(">i", 4) + b"user"
    return data + struct.pack(">i", 1) + text(owned) + struct.pack(">ii", 1, 0)


def assignment(topic: str) -> bytes:
    return struct.pack(">hi", 0, 1) + text(topic) + struct.pack(">ii", 1, 2) + struct.pack(">i", -1)


def test_records_go_to_the_tenants_topic_and_come_from_it() -> None:
    @with_filters(TENANT)
    async def story(it: Filtered) -> None:
        ask = it.client.ask
        it.answer(
            "Produce", responses=[{"name": "t1.a", "partition_responses": [{"index": 0, "error_message": "t1.a is"}]}]
        )
        partition = {"index": 0, "records": batch()}
        topic_data = [{"name": "a", "partition_data": [partition]}]
        produced = await ask("Produce", 12, transactional_id="tx", acks=1, topic_data=topic_data)
        assert names(produced["responses"]) == ["a"]
        assert produced["responses"][0]["partition_responses"][0]["error_message"] == "a is"
        (asked,) = it.asked("Produce")
        assert asked["transactional_id"] == "t1.tx"
        assert names(asked["topic_data"]) == ["t1.a"]
        assert asked["topic_data"][0]["partition_data"][0]["records"] == batch()
        records = batch(3)
        it.answer("Fetch", responses=[{"topic": "t1.a", "partitions": [{"partition_index": 0, "records": records}]}])
        fetched = await ask("Fetch", 12, max_bytes=1 << 30, topics=[{"topic": "a", "partitions": []}])
        assert fetched["responses"][0]["topic"] == "a"
        assert fetched["responses"][0]["partitions"][0]["records"] == records
        assert names(it.asked("Fetch")[0]["topics"], "topic") == ["t1.a"]
        assert it.asked("Fetch")[0]["max_bytes"] < 16 << 20
        assert it.front.value("l4proxy_kafka_prefix_requests_total") == 2


def test_what_is_anothers_is_in_no_list() -> None:
    @with_filters({**TENANT, "common_topics": ["common*"]})
    async def story(it: Filtered) -> None:
        ask = it.client.ask
        topics = [{"name": name} for name in ("t1.a", "t2.b", "common", "a", "t1.c")]
        it.answer("Metadata", brokers=it.brokers.listing(), topics=topics)
        assert names((await ask("Metadata", 9, topics=None))["topics"]) == ["a", "common", "c"]
        await ask("Metadata", 9, topics=[{"name": "a"}, {"name": "common-x"}])
        assert names(it.asked("Metadata")[-1]["topics"]) == ["t1.a", "common-x"]
        it.answer("ListGroups", groups=[{"group_id": name} for name in ("t1.g", "t2.g")])
        assert names((await ask("ListGroups", 4))["groups"], "group_id") == ["g"]
        it.answer("ListTransactions", transaction_states=[{"transactional_id": f"t{one}.x"} for one in (1, 2)])
        listed = await ask("ListTransactions", 2, transactional_id_pattern="x.*")
        assert names(listed["transaction_states"], "transactional_id") == ["x"]
        assert it.asked("ListTransactions")[0]["transactional_id_pattern"] == "\\Qt1.\\E(?:x.*)"
        assert it.front.value("l4proxy_kafka_prefix_hidden_total") == 6


@pytest.mark.parametrize(("key_type", "key"), [(0, "t1.k"), (1, "t1.k")])
def test_coordinators(key_type: int, key: str) -> None:
    @with_filters(TENANT)
    async def story(it: Filtered) -> None:
        it.answer("FindCoordinator", coordinators=[{"key": key, "node_id": 1}])
        found = await it.client.ask("FindCoordinator", 4, key_type=key_type, coordinator_keys=["k"])
        assert names(found["coordinators"], "key") == ["k"]
        assert it.asked("FindCoordinator")[0]["coordinator_keys"] == [key]


def test_members_of_a_group_tell_each_other_of_their_own_topics() -> None:
    @with_filters(TENANT)
    async def story(it: Filtered) -> None:
        ask = it.client.ask
        ours, theirs = subscription("a", "b", owned="a"), subscription("t1.a", "t1.b", owned="t1.a")
        it.answer("JoinGroup", protocol_type="consumer", members=[{"metadata": theirs}])
        protocols = [{"name": "range", "metadata": ours}]
        joined = await ask("JoinGroup", 7, group_id="g", protocol_type="consumer", protocols=protocols)
        assert joined["members"][0]["metadata"] == ours
        asked = it.asked("JoinGroup")[0]
        assert (asked["group_id"], asked["protocols"][0]["metadata"]) == ("t1.g", theirs)
        it.answer("SyncGroup", protocol_type="consumer", assignment=assignment("t1.a"))
        given = [{"member_id": "m", "assignment": assignment("a")}]
        synced = await ask("SyncGroup", 5, group_id="g", protocol_type="consumer", assignments=given)
        assert synced["assignment"] == assignment("a")
        assert it.asked("SyncGroup")[0]["assignments"][0]["assignment"] == assignment("t1.a")
        member = {"member_metadata": theirs, "member_assignment": assignment("t1.a")}
        it.answer("DescribeGroups", groups=[{"group_id": "t1.g", "protocol_type": "consumer", "members": [member]}])
        (group,) = (await ask("DescribeGroups", 5, groups=["g"]))["groups"]
        assert group["group_id"] == "g"
        assert group["members"][0]["member_metadata"] == ours
        assert group["members"][0]["member_assignment"] == assignment("a")


def test_what_others_than_consumers_tell_each_other_stays_as_it_is() -> None:
    @with_filters(TENANT)
    async def story(it: Filtered) -> None:
        protocols = [{"name": "compatible", "metadata": subscription("a")}]
        await it.client.ask("JoinGroup", 7, group_id="g", protocol_type="connect", protocols=protocols)
        assert it.asked("JoinGroup")[0]["protocols"][0]["metadata"] == subscription("a")
        protocols = [{"name": "odd", "metadata": b"\0\1\xff\xff\xff\xf0"}]
        await it.client.ask("JoinGroup", 7, group_id="g", protocol_type="consumer", protocols=protocols)
        assert it.asked("JoinGroup")[1]["protocols"][0]["metadata"] == b"\0\1\xff\xff\xff\xf0"


def test_patterns_of_new_groups_match_nothing_but_the_tenants() -> None:
    @with_filters(TENANT)
    async def story(it: Filtered) -> None:
        heartbeat = {"group_id": "g", "subscribed_topic_names": ["a"], "subscribed_topic_regex": "^logs[^a].*|(^x\\^)$"}
        await it.client.ask("ConsumerGroupHeartbeat", 1, **heartbeat)
        (asked,) = it.asked("ConsumerGroupHeartbeat")
        assert asked["group_id"] == "t1.g"
        assert asked["subscribed_topic_names"] == ["t1.a"]
        assert asked["subscribed_topic_regex"] == "\\Qt1.\\E(?:logs[^a].*|(x\\^)$)"
        member = {"subscribed_topic_names": ["t1.a"], "subscribed_topic_regex": asked["subscribed_topic_regex"]}
        it.answer("ConsumerGroupDescribe", groups=[{"group_id": "t1.g", "members": [member]}])
        (group,) = (await it.client.ask("ConsumerGroupDescribe", 1, group_ids=["g"]))["groups"]
        assert group["members"][0]["subscribed_topic_regex"] == "logs[^a].*|(x\\^)$"


def test_tenants_by_principal() -> None:
    @with_filters({"use": "prefix", "prefix": "{principal}."})
    async def story(it: Filtered) -> None:
        await it.client.ask("SaslHandshake", 1, mechanism="PLAIN")
        await it.client.ask("SaslAuthenticate", 2, auth_bytes=b"\0alice\0secret")
        await it.client.ask("Heartbeat", 4, group_id="g")
        assert it.asked("Heartbeat")[0]["group_id"] == "alice.g"
        for principal in (b"", b"a.b", b"CN=x"):
            other = await it.another()
            if principal:
                await other.ask("SaslHandshake", 1, mechanism="PLAIN")
                await other.ask("SaslAuthenticate", 2, auth_bytes=b"\0" + principal + b"\0secret")
            other.send("Heartbeat", 4, group_id="g")
            assert await other.ended() == b""
        assert it.front.value("l4proxy_kafka_prefix_no_tenant_total") == 3
        assert len(it.asked("Heartbeat")) == 1


def test_only_what_is_asked_for() -> None:
    @with_filters({**TENANT, "groups": False, "transactional_ids": False})
    async def story(it: Filtered) -> None:
        it.answer("OffsetFetch", groups=[{"group_id": "g", "topics": [{"name": "t1.a"}, {"name": "other"}]}])
        asked = [{"group_id": "g", "topics": None}]
        (group,) = (await it.client.ask("OffsetFetch", 8, groups=asked))["groups"]
        assert (group["group_id"], names(group["topics"])) == ("g", ["a"])


def test_rules_behind_it_go_by_the_names_of_the_cluster() -> None:
    rules = {"use": "topic_rules", "action": "deny", "policies": {"one": {"topics": ["t1.secret"], "groups": ["t1.g"]}}}

    @with_filters(TENANT, rules)
    async def story(it: Filtered) -> None:
        it.answer("Produce", responses=[{"name": "t1.a", "partition_responses": [{"index": 0}]}])
        partitions = [{"index": 0, "records": batch()}]
        topic_data = [{"name": name, "partition_data": partitions} for name in ("secret", "a")]
        produced = await it.client.ask("Produce", 9, acks=1, topic_data=topic_data)
        codes = {one["name"]: one["partition_responses"][0]["error_code"] for one in produced["responses"]}
        assert codes == {"secret": 29, "a": 0}
        assert (await it.client.ask("Heartbeat", 4, group_id="g"))["error_code"] == 30
        topics = [{"name": name} for name in ("t1.a", "t1.secret", "t2.b")]
        it.answer("Metadata", brokers=it.brokers.listing(), topics=topics)
        assert names((await it.client.ask("Metadata", 9, topics=None))["topics"]) == ["a"]


def test_what_is_about_the_whole_cluster_is_not_offered() -> None:
    @with_filters(TENANT)
    async def story(it: Filtered) -> None:
        offered = {one["api_key"] for one in (await it.client.ask("ApiVersions", 3))["api_keys"]}
        assert offered & {29, 30, 31, 43, 55, 75, 78} == set()


@pytest.mark.parametrize(
    ("prefix", "problem"), [("", "names have letters"), ("a b", "names have letters"), ("x{principal}", "behind")]
)
def test_what_is_refused(prefix: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(KafkaPrefix, prefix=prefix)
