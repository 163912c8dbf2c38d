"""Consumer groups: why they rebalance, who is in them, what they have committed, how far they lag."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_speech import Client, Speech
from l4proxy.plugins.kafka import groups
from l4proxy.snapshot import merge

GROUP = "billing"


def join(client: Client, member: str, generation: int, *, known: bool = False, members: tuple[str, ...] = ()) -> None:
    """A member joins, and is the leader where it is told of ``members``."""
    asked = {"group_id": GROUP, "session_timeout_ms": 10_000, "rebalance_timeout_ms": 20_000}
    answered: dict[str, Any] = {
        "generation_id": generation,
        "member_id": member,
        "leader": member if members else "somebody",
        "members": [{"member_id": name} for name in members],
    }
    client.ask("JoinGroup", 5, {**asked, "member_id": member if known else ""}, answered)


def sync(client: Client, member: str, generation: int) -> None:
    client.ask("SyncGroup", 3, {"group_id": GROUP, "generation_id": generation, "member_id": member}, {})


def leave(client: Client, member: str) -> None:
    members = [{"member_id": member}]
    client.ask("LeaveGroup", 3, {"group_id": GROUP, "members": members}, {"members": members})


def settle(client: Client, member: str, generation: int, **options: Any) -> None:
    join(client, member, generation, **options)
    sync(client, member, generation)


def rebalances(speech: Speech) -> dict[str, int]:
    return {reason: count for (_, reason), count in speech.values("rebalances_total").items()}


def members(speech: Speech) -> int:
    value: int = speech.value("consumer_group_members", GROUP)
    return value


# The classic protocol


def test_the_first_member(speech: Speech) -> None:
    client = speech.client()
    client.ask("JoinGroup", 5, {"group_id": GROUP}, {"error_code": 79, "member_id": "a"})
    settle(client, "a", 1, members=("a",))
    assert rebalances(speech) == {"member_joined": 1}
    assert members(speech) == 1
    assert speech.value("consumer_group_generation", GROUP) == 1
    seconds = speech.value("rebalance_seconds", GROUP)
    assert (sum(seconds["counts"]), seconds["sum"]) == (1, 0.75)
    assert speech.notices() == ["billing: generation 1, 1 members (member_joined)"]
    assert client.link.state["kafka:group"] == GROUP


def test_a_second_one_and_its_goodbye(speech: Speech) -> None:
    one, two = speech.client(), speech.client()
    settle(one, "a", 1, members=("a",))
    two.send("JoinGroup", 5, group_id=GROUP)
    one.heartbeat(GROUP, "a", error=27)
    join(one, "a", 2, known=True, members=("a", "b"))
    two.receive("JoinGroup", 5, generation_id=2, member_id="b", leader="a")
    sync(one, "a", 2)
    sync(two, "b", 2)
    assert rebalances(speech) == {"member_joined": 2}
    assert members(speech) == 2
    leave(two, "b")
    one.heartbeat(GROUP, "a", error=27)
    settle(one, "a", 3, known=True, members=("a",))
    assert rebalances(speech) == {"member_joined": 2, "member_left": 1}
    assert members(speech) == 1
    assert sum(speech.value("rebalance_seconds", GROUP)["counts"]) == 3


def test_an_old_goodbye(speech: Speech) -> None:
    client = speech.client()
    settle(client, "a", 1, members=("a",))
    client.ask("LeaveGroup", 1, {"group_id": GROUP, "member_id": "a"}, {})
    assert members(speech) == 0
    assert rebalances(speech) == {"member_joined": 1}


def test_a_member_that_died(speech: Speech) -> None:
    one, two = speech.client(), speech.client()
    settle(one, "a", 1, members=("a", "b"))
    sync(two, "b", 1)
    speech.now += 15
    one.heartbeat(GROUP, "a", error=27)
    settle(one, "a", 2, known=True, members=("a",))
    assert rebalances(speech) == {"member_joined": 1, "member_expired": 1}
    assert members(speech) == 1


def test_a_member_whose_subscription_has_changed(speech: Speech) -> None:
    client = speech.client()
    settle(client, "a", 1, members=("a",))
    settle(client, "a", 2, known=True, members=("a",))
    assert rebalances(speech) == {"member_joined": 1, "member_rejoined": 1}


def test_a_sign_that_leads_to_nothing(speech: Speech) -> None:
    client = speech.client()
    settle(client, "a", 1, members=("a",))
    speech.client().ask("JoinGroup", 5, {"group_id": GROUP}, {"error_code": 30})
    for _ in range(8):
        client.heartbeat(GROUP, "a")
    settle(client, "a", 2, known=True, members=("a",))
    assert rebalances(speech) == {"member_joined": 1, "member_rejoined": 1}


def test_members_that_are_not_heard_of_any_more(speech: Speech) -> None:
    client = speech.client()
    settle(client, "a", 1, members=("a",))
    speech.now += 24
    speech.client().heartbeat("other", "x")
    assert members(speech) == 1
    speech.now += 10
    speech.client().heartbeat("other", "x")
    assert members(speech) == 0


def test_a_heartbeat_shows_a_member_that_was_there_before(speech: Speech) -> None:
    client = speech.client(midway=True)
    client.heartbeat(GROUP, "a")
    assert members(speech) == 1
    assert rebalances(speech) == {}


# The new protocol


def beat(
    client: Client, member: str, asked: int, told: int, error: int = 0, api: str = "ConsumerGroupHeartbeat"
) -> None:
    request = {"group_id": GROUP, "member_id": member, "member_epoch": asked}
    version = 1 if api == "ShareGroupHeartbeat" else 0
    answer = {"member_id": member, "member_epoch": told, "heartbeat_interval_ms": 5000, "error_code": error}
    client.ask(api, version, request, answer)


@pytest.mark.parametrize("api", ["ConsumerGroupHeartbeat", "ShareGroupHeartbeat"])
def test_epochs(speech: Speech, api: str) -> None:
    one, two = speech.client(), speech.client()
    beat(one, "a", 0, 1, api=api)
    beat(two, "b", 0, 2, api=api)
    assert rebalances(speech) == {"member_joined": 2}
    assert sum(speech.value("rebalance_seconds", GROUP)["counts"]) == 1  # a has not come along yet
    beat(one, "a", 1, 2, api=api)
    assert sum(speech.value("rebalance_seconds", GROUP)["counts"]) == 2
    assert members(speech) == 2
    beat(two, "b", -1, -1, api=api)
    beat(one, "a", 2, 3, api=api)
    assert rebalances(speech) == {"member_joined": 2, "member_left": 1}
    beat(one, "a", 3, 4, api=api)
    assert rebalances(speech) == {"member_joined": 2, "member_left": 1, "assignment": 1}
    assert members(speech) == 1


def test_a_member_that_is_fenced_is_none(speech: Speech) -> None:
    beat(speech.client(), "a", 5, 0, error=110)
    assert speech.values("consumer_group_members") == {}
    assert speech.value("errors_total", "ConsumerGroupHeartbeat", "FENCED_MEMBER_EPOCH") == 1


# Offsets


def test_lag(speech: Speech) -> None:
    client = speech.client()
    client.commit(GROUP, "orders", 7)
    assert speech.values("consumer_group_committed_offset") == {(GROUP, "orders", "0"): 7}
    assert speech.values("consumer_group_lag") == {}  # the end is not known
    client.produce("orders", 3, 17)
    assert speech.values("consumer_group_lag") == {(GROUP, "orders", "0"): 13}
    client.commit(GROUP, "orders", 20)
    assert speech.values("consumer_group_lag") == {(GROUP, "orders", "0"): 0}
    assert speech.value("committed_offsets_total", GROUP) == 2


def test_lag_of_which_several_workers_know_a_part() -> None:
    """The producer, an earlier consumer and the one of now are at three workers."""
    producing, earlier, now = Speech(), Speech(), Speech()
    producing.client().produce("orders", 3, 17)
    earlier.client().commit(GROUP, "orders", 19)
    now.now = earlier.now + 60
    now.client().commit(GROUP, "orders", 7)
    workers = [speech.registry.snapshot() for speech in (producing, now, earlier)]
    (lag,) = merge(workers)["l4proxy_kafka_consumer_group_lag"]["samples"]
    assert lag == {"labels": [GROUP, "orders", "0"], "value": 13}


def test_members_are_counted_by_who_hears_of_them() -> None:
    one, other = Speech(), Speech()
    settle(one.client(), "a", 1, members=("a", "b"))
    settle(other.client(), "b", 1)
    assert len(next(iter(one.view.groups)).members) == 2
    merged = merge([one.registry.snapshot(), other.registry.snapshot()])
    assert [sample["value"] for sample in merged["l4proxy_kafka_consumer_group_members"]["samples"]] == [2]


def test_a_commit_that_fails_is_none(speech: Speech) -> None:
    speech.client().commit(GROUP, "orders", 7, error=22)
    assert speech.values("consumer_group_committed_offset") == {}
    assert speech.value("errors_total", "OffsetCommit", "ILLEGAL_GENERATION") == 1


@pytest.mark.parametrize("version", [5, 8, 10])
def test_offsets_that_are_fetched(speech: Speech, version: int) -> None:
    client = speech.client()
    partitions = [{"partition_index": 0, "committed_offset": 4}, {"partition_index": 1, "committed_offset": -1}]
    asked: dict[str, Any]
    if version == 5:
        asked, answered = {"group_id": GROUP}, {"topics": [{"name": "orders", "partitions": partitions}]}
    else:
        name = {"topic_id": b"i" * 16} if version == 10 else {"name": "orders"}
        asked = {"groups": [{"group_id": GROUP}]}
        answered = {"groups": [{"group_id": GROUP, "topics": [{**name, "partitions": partitions}]}]}
        client.ask("Metadata", 12, {}, {"topics": [{"name": "orders", "topic_id": b"i" * 16}]})
    client.ask("OffsetFetch", version, asked, answered)
    assert speech.values("consumer_group_committed_offset") == {(GROUP, "orders", "0"): 4}


def test_the_end_that_a_consumer_asks_for(speech: Speech) -> None:
    client = speech.client()
    client.commit(GROUP, "orders", 7)
    for timestamp, offset in ((-2, 99), (-1, 10)):
        asked = {"name": "orders", "partitions": [{"partition_index": 0, "timestamp": timestamp}]}
        answered = {"name": "orders", "partitions": [{"partition_index": 0, "offset": offset}]}
        client.ask("ListOffsets", 5, {"topics": [asked]}, {"topics": [answered]})
    assert speech.values("consumer_group_lag") == {(GROUP, "orders", "0"): 3}


@pytest.mark.parametrize(("committed", "offset"), [(True, 9), (False, 4)])
def test_offsets_in_transactions(speech: Speech, committed: bool, offset: int) -> None:
    client = speech.client()
    client.commit(GROUP, "orders", 4)
    topic = {"name": "orders", "partitions": [{"committed_offset": 9}]}
    asked = {"transactional_id": "t", "group_id": GROUP, "topics": [topic]}
    client.ask("TxnOffsetCommit", 3, asked, {"topics": [{"name": "orders", "partitions": [{}]}]})
    assert speech.values("consumer_group_committed_offset") == {(GROUP, "orders", "0"): 4}
    client.ask("EndTxn", 3, {"transactional_id": "t", "committed": committed}, {})
    assert speech.values("consumer_group_committed_offset") == {(GROUP, "orders", "0"): offset}


def test_offsets_that_are_deleted(speech: Speech) -> None:
    client = speech.client()
    client.commit(GROUP, "orders", 4)
    client.commit(GROUP, "orders", 4, index=1)
    speech.registry.collect()
    answer = {"topics": [{"name": "orders", "partitions": [{"partition_index": 0}]}]}
    client.ask("OffsetDelete", 0, {"group_id": GROUP}, answer)
    assert speech.values("consumer_group_committed_offset") == {(GROUP, "orders", "1"): 4}
    client.ask("DeleteGroups", 2, {}, {"results": [{"group_id": GROUP}, {"group_id": "x", "error_code": 69}]})
    assert speech.values("consumer_group_committed_offset") == {}
    assert speech.values("consumer_group_members") == {}
    assert speech.value("errors_total", "DeleteGroups", "GROUP_ID_NOT_FOUND") == 1


def test_groups_that_were_not_seen_for_long(speech: Speech) -> None:
    speech.client().commit(GROUP, "orders", 4)
    speech.now += 3601
    speech.client().commit("other", "orders", 4)
    assert set(speech.values("consumer_group_committed_offset")) == {("other", "orders", "0")}


def test_there_is_an_end_to_groups(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_GROUPS", 3)
    monkeypatch.setattr(groups, "MAX_TRANSACTIONS", 3)
    client = speech.client()
    for number in range(9):
        client.commit(f"group{number}", "orders", 4)
        partition = speech.view.topics.find(b"orders").partition(0)
        speech.view.groups.pend(b"%d" % number, b"g", partition, 1)
    assert len(list(speech.view.groups)) == 4
    assert len(speech.view.groups._pending) == 3


def test_views_of_several_clusters(speech: Speech) -> None:
    from l4proxy.plugins.kafka.config import KafkaConfig

    other = Speech(KafkaConfig(name="eu"), speech.registry)
    speech.client().commit(GROUP, "orders", 1)
    other.client().commit(GROUP, "orders", 2)
    same = Speech(KafkaConfig(name="eu"), speech.registry)
    same.client().produce("orders", 5)
    assert speech.values("consumer_group_committed_offset") == {
        (GROUP, "orders", "0"): 1,
        (f"eu/{GROUP}", "eu/orders", "0"): 2,
    }
    assert speech.values("consumer_group_lag") == {(f"eu/{GROUP}", "eu/orders", "0"): 3}
