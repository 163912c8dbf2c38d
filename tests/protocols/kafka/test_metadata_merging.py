"""Metadata of several clusters as one message, held against plain data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_messages import message
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.metadata_merging import FIRST, LAST, MetadataMerger
from l4proxy.protocols.kafka.wire import UNREADABLE

VERSIONS = st.integers(FIRST, LAST)


def number(node: int) -> int:
    return node ^ 1


def belongs(name: bytes) -> bool:
    return not name.startswith(b"x")


def merged(version: int, *bodies: bytes) -> bytes:
    merger = MetadataMerger(version)
    for at, body in enumerate(bodies):
        for _ in merger.add(body, number, belongs, is_first=not at):
            pass
    return merger.body()


def expected(messages: list[dict[str, Any]]) -> dict[str, Any]:
    messages = copy.deepcopy(messages)
    whole = messages[0]
    if whole["controller_id"] >= 0:
        whole["controller_id"] = number(whole["controller_id"])
    whole["brokers"] = [broker for one in messages for broker in one["brokers"]]
    whole["topics"] = [topic for one in messages for topic in one["topics"] if belongs(topic["name"].encode())]
    for topic in whole["topics"]:
        for partition in topic["partitions"]:
            if partition["leader_id"] >= 0:
                partition["leader_id"] = number(partition["leader_id"])
            for field in ("replica_nodes", "isr_nodes", "offline_replicas"):
                if field in partition:
                    partition[field] = [number(node) for node in partition[field]]
    return whole


@given(st.data(), VERSIONS, st.integers(1, 3))
def test_brokers_and_topics_of_all_are_there(data: st.DataObject, version: int, count: int) -> None:
    messages = []
    for _ in range(count):
        values = data.draw(message(METADATA, version, "response"))
        for topic in values["topics"]:
            topic["name"] = topic["name"] or "xylo"
        messages.append(plain.decode(METADATA.response, version, plain.encode(METADATA.response, version, values)))
    bodies = [plain.encode(METADATA.response, version, values) for values in messages]
    assert plain.decode(METADATA.response, version, merged(version, *bodies)) == expected(messages)


@given(st.data(), VERSIONS, st.binary(max_size=60))
def test_what_is_no_metadata_is_told(data: st.DataObject, version: int, body: bytes) -> None:
    values = data.draw(message(METADATA, version, "response"))
    cut = plain.encode(METADATA.response, version, {**values, "topics": [{"name": "a"}]})
    for bad in (body, cut[: len(cut) // 2]):
        try:
            merged(version, bad)
        except UNREADABLE:
            continue


@pytest.mark.parametrize("version", [FIRST - 1, LAST + 1])
def test_versions(version: int) -> None:
    with pytest.raises(ValueError, match="none of 1 to 12"):
        MetadataMerger(version)


def test_the_cluster_id_is_that_of_the_first() -> None:
    bodies = [plain.encode(METADATA.response, 9, {"cluster_id": name}) for name in ("one", "two")]
    merger = MetadataMerger(9)
    for at, body in enumerate(bodies):
        list(merger.add(body, number, belongs, is_first=not at))
    assert merger.cluster_id == b"one"
