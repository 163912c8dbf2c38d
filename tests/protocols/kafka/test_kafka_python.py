"""Our declarations against kafka-python: every message and version that both have, encoded and decoded by both."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import VERSIONS, message
from l4proxy.protocols.kafka import kafka_python, plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.schema import Schema, walk

BOTH = [which for which in VERSIONS if which[1] <= kafka_python.newest(which[0].key)]


def test_both_have_most_messages() -> None:
    assert len(BOTH) > 350
    assert kafka_python.newest(BY_NAME["ConsumerGroupHeartbeat"].key) == -1


@given(st.data(), st.sampled_from(BOTH))
@settings(max_examples=400)
def test_kafka_python_reads_what_we_write(data: st.DataObject, which: tuple[Api, int, str]) -> None:
    api, version, kind = which
    schema: Schema = getattr(api, kind)
    values = data.draw(message(api, version, kind))
    if api.name == "ApiVersions" and kind == "response":
        values["error_code"] = 0  # with any other it decodes version 0
    if (api.name, version, kind) == ("Metadata", 0, "request"):
        values["topics"] = values["topics"] or []  # null came with version 1, and kafka-python knows
    encoded = plain.encode(schema, version, values)
    assert kafka_python.decode(api.key, kind, schema, version, encoded) == (values, len(encoded))
    if not any(field.tag is not None for _, field in walk(schema.fields)):  # it leaves out tags that are empty
        assert kafka_python.encode(api.key, kind, schema, version, values) == encoded


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
