from __future__ import annotations

from typing import Any

import pytest

from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.merging import merge


def merged(name: str, version: int, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    api = BY_NAME[name]
    bodies = [plain.encode(api.response, version, values) for values in (one, other)]
    return plain.decode(api.response, version, merge(api, version, *bodies))


def test_elements_come_behind_those_of_the_broker() -> None:
    one = {"throttle_time_ms": 5, "responses": [{"name": "a"}], "_tags": {9: b"new"}}
    both = merged("Produce", 9, one, {"throttle_time_ms": 0, "responses": [{"name": "b"}]})
    assert [topic["name"] for topic in both["responses"]] == ["a", "b"]
    assert both["throttle_time_ms"] == 5
    assert both["_tags"] == {9: b"new"}


def test_what_belongs_to_one_group_stays_together() -> None:
    def offsets(group: str, *topics: str) -> dict[str, Any]:
        return {"group_id": group, "topics": [{"name": name} for name in topics]}

    both = merged("OffsetFetch", 8, {"groups": [offsets("g", "a")]}, {"groups": [offsets("g", "b"), offsets("h", "c")]})
    assert [(one["group_id"], [topic["name"] for topic in one["topics"]]) for one in both["groups"]] == [
        ("g", ["a", "b"]),
        ("h", ["c"]),
    ]


@pytest.mark.parametrize("name", ["a", "é"])
def test_lists_that_were_null(name: str) -> None:
    both = merged("CreateTopics", 5, {"topics": []}, {"topics": [{"name": name, "configs": None}]})
    assert both["topics"][0]["name"] == name
