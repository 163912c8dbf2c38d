"""Whatever is asked for, the refusal can be read, and has the error where clients look for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import DECLARED, message
from l4proxy.protocols.kafka import messages, plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.refusal import encode_error
from l4proxy.protocols.kafka.schema import Field

CODE = 29


def errors(values: Any, name: str = "") -> Iterator[int]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from errors(value, key)
    elif isinstance(values, list):
        for value in values:
            yield from errors(value, name)
    elif name in ("error_code", "partition_error_code"):
        yield values


def refusal(api: Api, version: int, values: dict[str, Any]) -> dict[str, Any]:
    body = plain.encode(api.request, version, values)
    frame = encode_error(api, version, 7, body, CODE, "no")
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:8] == b"\0\0\0\7"
    return messages.decode_response(api, version, frame[8 + api.response_header(version) :])


EVERYTHING = [(api, version) for api in DECLARED if api.response.whole for version in range(api.first, api.last + 1)]


@given(st.data(), st.sampled_from(EVERYTHING))
@settings(max_examples=200)
def test_every_request_can_be_refused(data: st.DataObject, which: tuple[Api, int]) -> None:
    api, version = which
    codes = list(errors(refusal(api, version, data.draw(message(api, version, "request")))))
    assert set(codes) <= {CODE, 0}


def one_of_each(fields: Sequence[Field], version: int) -> dict[str, Any]:
    """A request whose lists all have one element."""
    values: dict[str, Any] = {}
    for field in fields:
        if field.exists(version) and field.tag is None and field.array:
            simple: Any = "x" if field.type == "string" else 1
            values[field.name] = [one_of_each(field.fields, version) if field.fields else simple]
    return values


@pytest.mark.parametrize("which", EVERYTHING, ids=lambda which: f"{which[0].name}-{which[1]}")
def test_every_refusal_has_an_error(which: tuple[Api, int]) -> None:
    api, version = which
    codes = list(errors(refusal(api, version, one_of_each(api.request.fields, version))))
    assert codes


TOPIC = {"name": "t", "partitions": [{"partition_index": 3}]}
NAMED = {"name": "t", "partitions": [{"partition_index": 3, "error_code": CODE}]}


@pytest.mark.parametrize(
    ("name", "version", "request_values", "expected"),
    [
        (
            "Produce", 9, {"topic_data": [{"name": "t", "partition_data": [{"index": 3}, {"index": 4}]}]},
            {"responses": [{"name": "t", "partition_responses": [{"index": 3, "error_code": CODE, "base_offset": -1},
                                                                 {"index": 4, "error_code": CODE}]}]},
        ),
        (
            "Fetch", 12, {"session_id": 9, "topics": [{"topic": "t", "partitions": [{"partition": 3}]}]},
            {"error_code": 0, "session_id": 0, "responses": [
                {"topic": "t", "partitions": [{"partition_index": 3, "error_code": CODE, "high_watermark": -1}]}]},
        ),
        ("Fetch", 12, {"session_id": 9}, {"error_code": CODE, "responses": []}),
        ("ListOffsets", 7, {"topics": [TOPIC]}, {"topics": [NAMED]}),
        ("OffsetCommit", 8, {"group_id": "g", "topics": [TOPIC]}, {"topics": [NAMED]}),
        ("OffsetFetch", 8, {"groups": [{"group_id": "g", "topics": None}]}, {"groups": [
            {"group_id": "g", "error_code": CODE}]}),
        ("OffsetFetch", 7, {"group_id": "g", "topics": [{"name": "t", "partition_indexes": [3]}]},
         {"error_code": CODE, "topics": [NAMED]}),
        ("FindCoordinator", 3, {"key": "g"}, {"error_code": CODE, "node_id": -1, "host": "", "port": -1}),
        ("FindCoordinator", 4, {"coordinator_keys": ["g"]}, {"coordinators": [
            {"key": "g", "error_code": CODE, "node_id": -1, "error_message": "no"}]}),
        ("JoinGroup", 9, {"group_id": "g", "member_id": "m"}, {"error_code": CODE, "member_id": "m", "members": []}),
        ("DescribeGroups", 6, {"groups": ["g"]}, {"groups": [{"group_id": "g", "error_code": CODE}]}),
        ("DeleteTopics", 5, {"topic_names": ["t"]}, {"responses": [{"name": "t", "error_code": CODE}]}),
        ("CreateTopics", 7, {"topics": [{"name": "t"}]}, {"topics": [
            {"name": "t", "error_code": CODE, "error_message": "no"}]}),
        ("AddPartitionsToTxn", 3, {"v3_and_below_topics": [{"name": "t", "partitions": [3]}]},
         {"results_by_topic_v3_and_below": [
             {"name": "t", "results_by_partition": [{"partition_index": 3, "partition_error_code": CODE}]}]}),
        ("OffsetForLeaderEpoch", 4, {"topics": [{"topic": "t", "partitions": [{"partition": 3}]}]},
         {"topics": [{"topic": "t", "partitions": [{"partition": 3, "error_code": CODE}]}]}),
        ("ConsumerGroupHeartbeat", 1, {"group_id": "g"}, {"error_code": CODE, "error_message": "no"}),
    ],
)  # fmt: skip
def test_the_error_is_where_clients_look(
    name: str, version: int, request_values: dict[str, Any], expected: dict[str, Any]
) -> None:
    def contains(there: Any, wanted: Any) -> bool:
        if isinstance(wanted, dict):
            return all(contains(there[key], value) for key, value in wanted.items())
        if isinstance(wanted, list):
            return len(there) == len(wanted) and all(map(contains, there, wanted))
        return bool(there == wanted)

    made = refusal(BY_NAME[name], version, request_values)
    assert contains(made, expected), made
