"""Two scripted clusters that clients see as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from clusters import run
from kafka_broker import Asked, Broker, Client, Cluster, cluster
from l4proxy.plugins.kafka_proxy.router import marked
from proxying import HOST, Proxy, proxy
from services.process import neighbouring_ports

PORTS = 10
ROUTES = [{"cluster": "logs", "topics": ["log-*"], "groups": ["log-*"], "transactional_ids": ["log-*"]}]
MAIN, LOGS = 0, 1
FORBIDDEN = 29


class Pair:
    """The first cluster has brokers 1 and 2, that of logs 1 and 3: for clients 2 and 4, and 3 and 7."""

    def __init__(self, front: Proxy, main: Cluster, logs: Cluster) -> None:
        self.front = front
        self.main = main
        self.logs = logs
        for name, those in (("main", main), ("logs", logs)):
            those.answers["Metadata"] = partial(_metadata, name=name)

    def port(self, number: int) -> int:
        return self.front.port + 1 + number

    async def client(self, number: int = -1) -> Client:
        return await Client.connect(self.port(number))


def _metadata(broker: Broker, asked: Asked, name: str) -> bytes:
    listed = broker.owner.listing()
    topics = asked.values["topics"]
    if topics is None:
        topics = [{"name": "orders"}, {"name": "log-a"}]
    node, *others = broker.owner.listed
    partition = {"leader_id": node, "replica_nodes": [node, *others], "isr_nodes": [node]}
    told = [{"name": one["name"], "partitions": [partition]} for one in topics]
    values = {"brokers": listed, "controller_id": node, "topics": told}
    if asked.version >= 2:
        values["cluster_id"] = name
    return asked.answer(**values)


@contextlib.asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[Pair]:
    async with cluster(1, 2) as main, cluster(1, 3) as logs:
        first = neighbouring_ports(PORTS)
        listener = {"address": f"{HOST}:{first}-{first + PORTS - 1}"}
        use = {"use": "kafka_proxy", "cluster": "up", "routes": ROUTES, **options}
        others = [{"name": "logs", "endpoints": [f"{HOST}:{port}" for port in logs.bootstrap]}]
        async with proxy(use, upstreams=main.bootstrap, listener=listener, clusters=others) as front:
            yield Pair(front, main, logs)


def story(**options: Any) -> Callable[[Callable[[Pair], Coroutine[Any, Any, None]]], None]:
    """Run a test: ``@story()`` above a coroutine function called ``_`` within it."""

    def decorate(told: Callable[[Pair], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with pair(**options) as it:
                await asyncio.wait_for(told(it), 30)

        run(main)

    return decorate


def topics_of(metadata: dict[str, Any]) -> dict[str, list[tuple[int, list[int]]]]:
    return {
        topic["name"]: [(part["leader_id"], part["replica_nodes"]) for part in topic["partitions"]]
        for topic in metadata["topics"]
    }


@pytest.mark.parametrize("version", [1, 4, 8, 9, 12])
def test_metadata_of_all_topics_is_that_of_both(version: int) -> None:
    @story()
    async def _(it: Pair) -> None:
        client = await it.client()
        metadata = await client.ask("Metadata", version, topics=None)
        assert {one["node_id"]: one["port"] for one in metadata["brokers"]} == {
            number: it.port(number) for number in (2, 4, 3, 7)
        }
        assert topics_of(metadata) == {"orders": [(2, [2, 4])], "log-a": [(3, [3, 7])]}
        assert metadata["controller_id"] == 2
        assert metadata.get("cluster_id") == ("main" if version > 1 else None)
        await client.close()


def test_a_topic_is_asked_for_where_it_is() -> None:
    @story()
    async def _(it: Pair) -> None:
        client = await it.client(4)
        names = ["log-b", "orders", "log-a"]
        metadata = await client.ask("Metadata", 9, topics=[{"name": name} for name in names])
        assert topics_of(metadata) == {"orders": [(2, [2, 4])], "log-b": [(3, [3, 7])], "log-a": [(3, [3, 7])]}
        asked = [asked.values["topics"] for asked in it.main.brokers[2].asked if asked.api.name == "Metadata"]
        assert asked[-1] == [{"name": "orders"}]
        await client.close()


def test_a_topic_is_found_by_its_id() -> None:
    def by_id(broker: Broker, asked: Asked) -> bytes:
        mine = bytes([broker.owner.listed[-1]] * 16)
        told = [
            {"name": "orders" if one["topic_id"] == mine else None, "topic_id": one["topic_id"]}
            for one in asked.values["topics"]
        ]
        return asked.answer(brokers=broker.owner.listing(), topics=told)

    @story()
    async def _(it: Pair) -> None:
        it.main.answers["Metadata"] = it.logs.answers["Metadata"] = by_id
        client = await it.client()
        wanted = [{"name": None, "topic_id": bytes([last] * 16)} for last in (2, 9)]
        told = await client.ask("Metadata", 12, topics=wanted)
        assert [(one["name"], one["topic_id"][0]) for one in told["topics"]] == [("orders", 2), (None, 9)]
        await client.close()


def test_what_is_about_partitions_goes_straight_to_the_broker_that_has_them() -> None:
    @story()
    async def _(it: Pair) -> None:
        for number, broker in ((2, it.main.brokers[1]), (4, it.main.brokers[2]), (7, it.logs.brokers[3])):
            client = await it.client(number)
            await client.ask("Fetch", 10)
            await client.ask("ListOffsets", 5)
            assert broker.names[-2:] == ["Fetch", "ListOffsets"]
            await client.close()


def test_leaders_that_a_producer_is_told_are_renumbered() -> None:
    @story()
    async def _(it: Pair) -> None:
        broker = it.logs.brokers[3]
        moved = {"index": 0, "error_code": 6, "current_leader": {"leader_id": 1, "leader_epoch": 5}}
        endpoints = [{"node_id": 1, "host": HOST, "port": it.logs.brokers[1].port}]
        values = {"responses": [{"name": "log-a", "partition_responses": [moved]}], "node_endpoints": endpoints}
        it.logs.answers["Produce"] = lambda _, asked: asked.answer(**values)
        client = await it.client(7)
        told = await client.ask("Produce", 12, acks=1)
        assert broker.names[-1] == "Produce"
        assert told["responses"][0]["partition_responses"][0]["current_leader"] == {"leader_id": 3, "leader_epoch": 5}
        assert [(one["node_id"], one["port"]) for one in told["node_endpoints"]] == [(3, it.port(3))]
        await client.close()


@pytest.mark.parametrize("version", [1, 3, 4])
def test_groups_and_transactions_are_found_where_they_are(version: int) -> None:
    def found(broker: Broker, asked: Asked) -> bytes:
        place = {"node_id": broker.node, "host": HOST, "port": broker.port}
        if version < 4:
            return asked.answer(**place)
        return asked.answer(coordinators=[{"key": key, **place} for key in asked.values["coordinator_keys"]])

    @story()
    async def _(it: Pair) -> None:
        for those in (it.main, it.logs):
            those.answers["FindCoordinator"] = found
        client = await it.client(2)
        for key_type in (0, 1):
            wanted = {"orders-x": {2, 4}, "log-x": {3, 7}}
            if version < 4:
                told = {key: await client.ask("FindCoordinator", version, key=key, key_type=key_type) for key in wanted}
            else:
                both = await client.ask("FindCoordinator", version, key_type=key_type, coordinator_keys=list(wanted))
                told = {one["key"]: one for one in both["coordinators"]}
            for key, one in told.items():
                assert one["node_id"] in wanted[key]
                assert one["port"] == it.port(one["node_id"])
        await client.close()


def test_topics_are_made_where_they_belong() -> None:
    @story()
    async def _(it: Pair) -> None:
        for those in (it.main, it.logs):
            those.answers["CreateTopics"] = lambda _, asked: asked.answer(
                topics=[{"name": one["name"]} for one in asked.values["topics"]]
            )
        client = await it.client(7)
        wanted = [
            {"name": "orders", "num_partitions": 1},
            {"name": "log-a", "assignments": [{"partition_index": 0, "broker_ids": [7, 3]}]},
        ]
        made = await client.ask("CreateTopics", 5, topics=wanted, timeout_ms=1000)
        assert {one["name"] for one in made["topics"]} == {"orders", "log-a"}
        (asked,) = [asked for asked in it.logs.brokers[3].asked if asked.api.name == "CreateTopics"]
        assert [one["name"] for one in asked.values["topics"]] == ["log-a"]
        assert asked.values["topics"][0]["assignments"] == [{"partition_index": 0, "broker_ids": [3, 1]}]
        elsewhere = {"name": "log-b", "assignments": [{"partition_index": 0, "broker_ids": [2]}]}
        refused = await client.ask("CreateTopics", 5, topics=[elsewhere], timeout_ms=1000)
        assert [one["error_code"] for one in refused["topics"]] == [39]
        await client.close()


def test_configurations_of_brokers_are_asked_by_their_own_numbers() -> None:
    @story()
    async def _(it: Pair) -> None:
        for those in (it.main, it.logs):
            those.answers["DescribeConfigs"] = lambda _, asked: asked.answer(
                results=[
                    {"resource_type": one["resource_type"], "resource_name": one["resource_name"], "configs": []}
                    for one in asked.values["resources"]
                ]
            )
        client = await it.client(7)
        wanted = [
            {"resource_type": 4, "resource_name": "7"},
            {"resource_type": 2, "resource_name": "orders"},
            {"resource_type": 2, "resource_name": "log-a"},
        ]
        told = await client.ask("DescribeConfigs", 1, resources=wanted)
        assert {(one["resource_type"], one["resource_name"]) for one in told["results"]} == {
            (4, "7"), (2, "orders"), (2, "log-a"),
        }  # fmt: skip
        (asked,) = [asked for asked in it.logs.brokers[3].asked if asked.api.name == "DescribeConfigs"]
        assert {one["resource_name"] for one in asked.values["resources"]} == {"3", "log-a"}
        await client.close()


def test_the_cluster_that_is_described_has_all_brokers() -> None:
    @story()
    async def _(it: Pair) -> None:
        for those in (it.main, it.logs):
            those.answers["DescribeCluster"] = lambda broker, asked: asked.answer(
                cluster_id=str(broker.owner.listed), controller_id=1,
                brokers=[{"broker_id": one.pop("node_id"), **one} for one in broker.owner.listing()],
            )  # fmt: skip
        client = await it.client(3)
        told = await client.ask("DescribeCluster", 0)
        assert {one["broker_id"]: one["port"] for one in told["brokers"]} == {n: it.port(n) for n in (2, 4, 3, 7)}
        assert told["cluster_id"] == "[1, 2]"
        assert told["controller_id"] == 2
        await client.close()


def test_what_cannot_be_parted_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    @story()
    async def _(it: Pair) -> None:
        it.main.answers["OffsetCommit"] = lambda _, asked: asked.answer(
            topics=[
                {"name": one["name"], "partitions": [{"partition_index": 0, "error_code": 0}]}
                for one in asked.values["topics"]
            ]
        )
        client = await it.client(2)
        offsets = [{"name": name, "partitions": [{"partition_index": 0}]} for name in ("orders", "log-a")]
        told = await client.ask("OffsetCommit", 8, group_id="g", topics=offsets)
        assert {one["name"]: one["partitions"][0]["error_code"] for one in told["topics"]} == {
            "orders": 0, "log-a": 29,
        }  # fmt: skip
        told = await client.ask("JoinGroup", 7, group_id="log-g")
        assert told["error_code"] == 16
        told = await client.ask("AddOffsetsToTxn", 3, transactional_id="t", group_id="log-g")
        assert told["error_code"] == 30
        partitions = [{"name": "log-a", "partitions": [0]}]
        told = await client.ask(
            "AddPartitionsToTxn", 3, v3_and_below_transactional_id="t", v3_and_below_topics=partitions
        )
        (topic,) = told["results_by_topic_v3_and_below"]
        assert topic["results_by_partition"][0]["partition_error_code"] == 29
        assert "AddPartitionsToTxn" not in it.main.brokers[1].names
        await client.close()

    assert "OffsetCommit at cluster up is refused: topic 'log-a' is at cluster logs" in caplog.text


def test_a_cluster_that_is_down_leaves_the_other_alone() -> None:
    @story()
    async def _(it: Pair) -> None:
        for broker in it.logs.brokers.values():
            await broker.stop()
        client = await it.client()
        for _ in range(2):
            metadata = await client.ask("Metadata", 9, topics=[{"name": "orders"}, {"name": "log-a"}])
            assert {topic["name"]: topic["error_code"] for topic in metadata["topics"]} == {"orders": 0, "log-a": 5}
            assert {one["node_id"] for one in metadata["brokers"]} == {2, 4}
        metadata = await client.ask("Metadata", 9, topics=None)
        assert set(topics_of(metadata)) == {"orders"}
        assert it.front.value("l4proxy_kafka_proxy_unanswered_parts_total", cluster="up", routed_to="logs") == 3
        await client.close()


def test_ids_of_idempotent_producers_are_nobody_elses() -> None:
    @story()
    async def _(it: Pair) -> None:
        for those in (it.main, it.logs):
            those.answers["InitProducerId"] = lambda _, asked: asked.answer(producer_id=5, producer_epoch=0)
        ids = []
        for number in (2, 3):
            client = await it.client(number)
            ids.append((await client.ask("InitProducerId", 4, transactional_id=None))["producer_id"])
            assert (await client.ask("InitProducerId", 4, transactional_id="orders"))["producer_id"] == 5
            await client.close()
        assert ids == [marked(5, b"main"), marked(5, b"logs")]
        assert len({*ids, 5}) == 3
        assert all(0 < one < 1 << 63 for one in ids)


def test_versions_that_number_topics_or_name_other_brokers_are_not_offered() -> None:
    @story()
    async def _(it: Pair) -> None:
        client = await it.client()
        told = await client.ask("ApiVersions", 3)
        offered = {one["api_key"]: (one["min_version"], one["max_version"]) for one in told["api_keys"]}
        assert offered[0][1] == 12
        assert offered[1][1] == 10
        assert offered[3] == (1, 12)
        assert 75 not in offered
        assert 78 not in offered
        await client.close()


def test_answers_keep_the_order_of_requests() -> None:
    """A request whose parts take their time does not let a later one's answer go first."""

    @story()
    async def _(it: Pair) -> None:
        client = await it.client(2)
        client.send("Metadata", 9, topics=None)
        client.send("Heartbeat", 4)
        client.send("Metadata", 9, topics=[{"name": "log-a"}])
        client.send("Heartbeat", 4)
        got = [int.from_bytes((await client.frame())[4:8], "big") for _ in range(4)]
        assert got == [1, 2, 3, 4]
        await client.close()


def test_with_a_login_of_its_own_the_proxy_asks_for_nobody_who_has_none() -> None:
    """And it changes nothing in its own name."""

    @story(logins={"logs": {"username": "l4proxy", "password": "secret", "mechanism": "PLAIN"}})
    async def _(it: Pair) -> None:
        client = await it.client()
        both = [{"name": "orders"}, {"name": "log-a"}]
        told = await client.ask("Metadata", 9, topics=both)
        assert {one["name"]: one["error_code"] for one in told["topics"]} == {"orders": 0, "log-a": FORBIDDEN}
        assert it.logs.brokers[1].names + it.logs.brokers[3].names == []
        await client.ask("SaslHandshake", 1, mechanism="PLAIN")
        await client.ask("SaslAuthenticate", 0, auth_bytes=b"\0alice\0hers")
        told = await client.ask("Metadata", 9, topics=both)
        assert {one["name"]: one["error_code"] for one in told["topics"]} == {"orders": 0, "log-a": 0}
        (asked,) = [broker for broker in it.logs.brokers.values() if broker.asked]
        assert asked.names == ["SaslHandshake", "SaslAuthenticate", "Metadata"]
        assert asked.asked[1].values["auth_bytes"] == b"\0l4proxy\0secret"
        changed = await client.ask("CreateTopics", 5, topics=[{"name": "log-b", "assignments": [], "configs": []}])
        assert [one["error_code"] for one in changed["topics"]] == [FORBIDDEN]
        assert "in the name of the proxy" in changed["topics"][0]["error_message"]
        assert asked.names[-1] == "Metadata"
        await client.close()
