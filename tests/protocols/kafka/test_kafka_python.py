"""Our declarations against kafka-python: every message and version that both have, encoded and decoded by both."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import VERSIONS, made
from l4proxy.protocols.kafka import kafka_python, plain
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.schema import Schema, walk

BOTH = [which for which in VERSIONS if which[1] <= kafka_python.newest(which[0].key)]


def test_both_have_most_messages() -> None:
    assert len(BOTH) > 350
    assert kafka_python.newest(BY_NAME["ConsumerGroupHeartbeat"].key) == -1


@given(st.integers(0, 1 << 32))
@settings(max_examples=3, deadline=None)
def test_kafka_python_reads_what_we_write(seed: int) -> None:
    chance = random.Random(seed)
    for api, version, kind in BOTH:
        schema: Schema = getattr(api, kind)
        values = made(api, version, kind, chance)
        encoded = plain.encode(schema, version, values)
        theirs = kafka_python.decode(api.key, kind, schema, version, encoded)
        assert theirs == (values, len(encoded)), (api.name, version, kind)
        if not any(field.tag is not None for _, field in walk(schema.fields)):  # it leaves out tags that are empty
            assert kafka_python.encode(api.key, kind, schema, version, values) == encoded, (api.name, version, kind)


def test_unknown_tags_come_along() -> None:
    api = BY_NAME["Heartbeat"]
    encoded = plain.encode(api.request, 4, {plain.UNKNOWN_TAGS: {7: b"x"}})
    values, _ = kafka_python.decode(api.key, "request", api.request, 4, encoded)
    assert values[plain.UNKNOWN_TAGS] == {7: b"x"}
    with pytest.raises(LookupError, match="tags"):
        kafka_python.encode(api.key, "request", api.request, 4, values)


def test_a_field_of_another_version_is_refused() -> None:
    api = BY_NAME["Heartbeat"]
    with pytest.raises(LookupError, match="version 0 has no field group_instance_id"):
        kafka_python.encode(api.key, "request", api.request, 0, {"group_instance_id": "x"})
