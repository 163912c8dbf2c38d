"""Messages as plain data and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import VERSIONS, message
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.declarations.cluster import API_VERSIONS
from l4proxy.protocols.kafka.declarations.groups import CONSUMER_GROUP_HEARTBEAT, HEARTBEAT
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.plain import UNKNOWN_TAGS, decode, encode
from l4proxy.protocols.kafka.wire import UNREADABLE


@given(st.data(), st.sampled_from(VERSIONS))
@settings(max_examples=200)
def test_there_and_back(data: st.DataObject, which: tuple[Api, int, str]) -> None:
    api, version, kind = which
    values = data.draw(message(api, version, kind))
    assert decode(getattr(api, kind), version, encode(getattr(api, kind), version, values)) == values


def test_what_is_not_given_is_nothing() -> None:
    assert encode(HEARTBEAT.request, 0, {}) == bytes(8)
    assert encode(HEARTBEAT.request, 4, {}) == b"\x01" + bytes(4) + b"\x01\x00\x00"
    values = decode(CONSUMER_GROUP_HEARTBEAT.response, 0, encode(CONSUMER_GROUP_HEARTBEAT.response, 0, {}))
    assert values["assignment"] is None


def test_unknown_tags_are_kept() -> None:
    values = {
        "group_id": "g",
        "generation_id": 1,
        "member_id": "m",
        "group_instance_id": None,
        UNKNOWN_TAGS: {9: b"new"},
    }
    assert decode(HEARTBEAT.request, 4, encode(HEARTBEAT.request, 4, values)) == values


def test_text_that_is_not_utf_8_is_kept() -> None:
    data = b"\0\1\xff" + bytes(4) + b"\0\0"
    values = decode(HEARTBEAT.request, 0, data)
    assert values["group_id"] == "\udcff"
    assert encode(HEARTBEAT.request, 0, values) == data


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(9), b"\xff\xfe" + bytes(6)])
def test_broken_bytes(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode(HEARTBEAT.request, 0, data)


def test_a_tag_of_the_wrong_size() -> None:
    data = encode(API_VERSIONS.response, 3, {"zk_migration_ready": True})
    with pytest.raises(UNREADABLE, match="tag 3 ends at"):
        decode(API_VERSIONS.response, 3, data[:-2] + b"\x02\x01\x00")


def test_a_field_of_another_version_is_refused() -> None:
    with pytest.raises(LookupError, match="version 2 has no field transactional_id"):
        encode(PRODUCE.request, 2, {"transactional_id": "t"})
