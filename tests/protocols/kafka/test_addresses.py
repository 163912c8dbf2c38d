"""Rewriting against plain decoding: the addresses are other ones, and nothing else is, in every version of every
response that has any; heads and tails of messages that are not kept; and no declared response with a port is
overlooked."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import DECLARED, message
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.addresses import Broker, Rewrite, rewrite_of
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.schema import Field
from l4proxy.protocols.kafka.splice import splice
from l4proxy.protocols.kafka.wire import UNREADABLE

PADDING = {126, 127}


class Places:
    """Nodes below 0 and those divisible by 3 have no place."""

    def __init__(self, host: bytes = b"proxy.example", *, renumbers: bool = False) -> None:
        self.host = host
        self.renumbers = renumbers
        self.learnt: list[Broker] = []
        self.all: list[bool] = []

    def learn(self, brokers: Sequence[Broker], *, all: bool) -> None:
        self.learnt += brokers
        self.all.append(all)

    def place(self, node: int) -> tuple[int, bytes, int] | None:
        return (self.number(node), self.host, 9000 + node % 1000) if node >= 0 and node % 3 else None

    def number(self, node: int) -> int:
        return node ^ 1 if self.renumbers else node


CASES = [
    (api, version, rewrite)
    for api in DECLARED
    for version in range(api.first, api.last + 1)
    if (rewrite := rewrite_of(api, version)) is not None
]


def relisted(elements: list[dict[str, Any]], places: Places, node: str = "node_id") -> list[dict[str, Any]]:
    kept = []
    for one in elements:
        place = places.place(one[node])
        if place is not None:
            kept.append({**one, node: place[0], "host": place[1].decode(), "port": place[2]})
    return kept


def expected(api: Api, values: dict[str, Any], places: Places) -> dict[str, Any]:
    """What the message is to say, worked out on plain data."""
    values = copy.deepcopy(values)
    match api.name:
        case "Metadata":
            values["brokers"] = relisted(values["brokers"], places)
        case "DescribeCluster":
            controllers = values.get("endpoint_type") == 2
            values["brokers"] = [] if controllers else relisted(values["brokers"], places, "broker_id")
            if values["controller_id"] >= 0 and not controllers:
                values["controller_id"] = places.number(values["controller_id"])
        case "DescribeQuorum":
            values["nodes"] = []
        case "FindCoordinator":
            for one in values.get("coordinators", [values]):
                place = places.place(one["node_id"])
                if place is not None:
                    one.update(node_id=place[0], host=place[1].decode(), port=place[2])
                elif one["node_id"] >= 0:
                    one.update(host="", port=-1, node_id=-1, error_code=15)
        case _:
            if "node_endpoints" in values:
                values["node_endpoints"] = relisted(values["node_endpoints"], places)
            if api.name == "Produce":
                _renumber_leaders(values, places)
    return values


def _renumber_leaders(values: dict[str, Any], places: Places) -> None:
    for topic in values["responses"]:
        for partition in topic["partition_responses"]:
            leader = partition.get("current_leader")
            if leader is not None and leader["leader_id"] >= 0:
                leader["leader_id"] = places.number(leader["leader_id"])


def has_port(fields: Sequence[Field], version: int) -> bool:
    there = [field for field in fields if field.exists(version)]
    return any(field.name == "port" or has_port(field.fields, version) for field in there)


def test_no_response_with_a_port_is_overlooked() -> None:
    for api in DECLARED:
        for version in range(api.first, api.last + 1):
            rewritten = rewrite_of(api, version) is not None
            assert rewritten == has_port(api.response.fields, version), (api.name, version)


@given(st.data(), st.sampled_from(CASES), st.booleans())
@settings(max_examples=300)
def test_addresses_are_others_and_nothing_else_is(
    data: st.DataObject, case: tuple[Api, int, Rewrite], renumbers: bool
) -> None:
    api, version, rewrite = case
    values = data.draw(message(api, version, "response"))
    encoded = plain.encode(api.response, version, values)
    places = Places(renumbers=renumbers)
    padded = b"\xff" * 7 + encoded + b"\xff" * 9
    stop = 7 + len(encoded)
    changes = rewrite.changes(padded, 7, stop, places)
    new = splice(padded, 7, stop, changes)
    before = plain.decode(api.response, version, encoded)
    assert plain.decode(api.response, version, new) == expected(api, before, places)


def with_endpoints(data: st.DataObject, api: Api, version: int, count: int, host: int) -> tuple[dict[str, Any], bytes]:
    values = data.draw(message(api, version, "response"))
    values["node_endpoints"] = [
        {"node_id": at + 1, "host": "b" * host, "port": 9092, "rack": None} for at in range(count)
    ]
    encoded = plain.encode(api.response, version, values)
    return plain.decode(api.response, version, encoded), encoded


def tail_of(rewrite: Rewrite, version: int, encoded: bytes, seed: int) -> tuple[int, bytes]:
    """Where the tail begins, as the walker for messages in pieces finds it, and the tail."""
    chance = random.Random(seed)
    reader = rewrite.to_tail(b"", 0, 0, lambda _: None)
    seen = 0
    try:
        next(reader)
        while seen < len(encoded):
            chunk = encoded[seen : seen + chance.choice([1, 2, 3, 10, 100])]
            seen += len(chunk)
            reader.send((chunk, 0, len(chunk)))
    except StopIteration as done:
        _, _, pos, end = done.value
        return seen - (end - pos), encoded[seen - (end - pos) :]
    raise AssertionError("there is no tail")


TAILS = [case for case in CASES if case[2].part == "tail"]


@given(st.data(), st.sampled_from(TAILS), st.integers(0, 5), st.integers(0, 40), st.integers(0, 40), st.integers(0, 99))
@settings(max_examples=200)
def test_a_tail_keeps_its_size(
    data: st.DataObject, case: tuple[Api, int, Rewrite], count: int, host: int, new_host: int, seed: int
) -> None:
    api, version, rewrite = case
    before, encoded = with_endpoints(data, api, version, count, host)
    start, tail = tail_of(rewrite, version, encoded, seed)
    places = Places(b"p" * new_host)
    new_tail = rewrite.tail(tail, places)
    assert len(new_tail) == len(tail)
    after = plain.decode(api.response, version, encoded[:start] + new_tail)
    wanted = expected(api, before, places)
    longer = len(encoded) < len(plain.encode(api.response, version, wanted))
    for values in (after, wanted):
        tags = {tag: content for tag, content in values.pop("_tags", {}).items() if tag not in PADDING}
        values["_tags"] = tags
    if longer:
        assert not after.pop("node_endpoints", [])
        wanted.pop("node_endpoints")
    elif not after.get("node_endpoints"):  # there was one byte too little to fill
        after.pop("node_endpoints", None)
        wanted.pop("node_endpoints")
    assert after == wanted


def test_tails_can_be_of_any_size() -> None:
    """Lengths of lengths jump at 128 and 16384, and one byte cannot be filled."""
    from l4proxy.protocols.kafka.addresses import _filled_up, _read_tags

    impossible = []
    for size in [*range(1, 300), *range(16_380, 16_400)]:
        filled = _filled_up(b"", {0: b"x"}, size)
        if filled is None:
            impossible.append(size)
        else:
            assert len(filled) == size
            assert _read_tags(filled, 0).pop(0) == b"x"
    assert impossible == [1, 2, 3, 5]


@given(st.data(), st.sampled_from([case for case in CASES if case[2].part == "head"]))
def test_a_head_can_be_read_before_the_rest_is_there(data: st.DataObject, case: tuple[Api, int, Rewrite]) -> None:
    api, version, rewrite = case
    encoded = plain.encode(api.response, version, data.draw(message(api, version, "response")))
    changes = rewrite.changes(encoded, 0, len(encoded), Places())
    for size in range(len(encoded)):
        try:
            assert rewrite.changes(encoded[:size], 0, size, Places()) == changes
        except UNREADABLE:
            continue


def test_lists_of_all_brokers_are_learnt_as_such() -> None:
    brokers = [{"node_id": node, "host": f"b{node}", "port": 9092, "rack": None} for node in (1, 2)]
    for version in (1, 9, 12):
        places = Places()
        encoded = plain.encode(BY_NAME["Metadata"].response, version, {"brokers": brokers})
        rewrite = rewrite_of(BY_NAME["Metadata"], version)
        assert rewrite is not None
        rewrite.changes(encoded, 0, len(encoded), places)
        assert (places.learnt, places.all) == ([(1, b"b1", 9092), (2, b"b2", 9092)], [True])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].name}-{case[1]}")
def test_broken_responses_are_told(case: tuple[Api, int, Rewrite]) -> None:
    _, _, rewrite = case
    with pytest.raises(UNREADABLE):
        rewrite.changes(b"\x7f" * 15, 0, 15, Places())
