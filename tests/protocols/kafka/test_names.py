"""What is told of names is held against the declarations, field by field."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import DECLARED, VERSIONS, made, message
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.names import (
    COORDINATOR,
    GROUP,
    TOPIC,
    TRANSACTIONAL_ID,
    kind_of,
    names_of,
    newest_by_name,
)
from l4proxy.protocols.kafka.schema import Field
from l4proxy.protocols.kafka.splice import splice

NAMES_NOTHING = {
    "assignor_name", "client_host", "client_id", "client_instance_id",
    "client_software_name", "client_software_version", "cluster_id", "committed_metadata", "configuration_keys",
    "documentation", "acknowledge_error_message", "entity_name", "entity_type", "feature",
    "group_instance_id", "group_state", "group_type", "host", "host_filter", "instance_id", "key", "leader", "log_dir",
    "match", "mechanism", "mechanisms", "member_id", "metadata", "owner_principal_name", "owner_principal_type", "path",
    "principal", "principal_filter", "principal_name", "principal_type", "protocol_data", "protocol_name",
    "protocol_type", "rack", "rack_id", "reason", "replica_directory_id", "requested_metrics", "server_assignor",
    "state_filters", "states_filter", "token_id", "token_requester_principal_name", "token_requester_principal_type",
    "transaction_state", "types_filter", "unknown_state_filters", "user", "value", "voter_directory_id",
}  # fmt: skip
NAMES_OF_OTHERS = {
    "supported_features", "finalized_features", "configs", "synonyms", "protocols", "users", "deletions", "upsertions",
    "listeners",
}  # fmt: skip
"""Lists whose elements have a ``name`` that is no topic's."""


def test_no_text_is_forgotten() -> None:
    """Each names something that is known here, or is known to name nothing."""

    def look(api: Api, parent: str, fields: Sequence[Field]) -> None:
        for field in fields:
            if field.fields:
                look(api, field.name, field.fields)
            elif field.type in ("string", "uuid") and not kind_of(api, parent, field):
                if field.name == "name":
                    assert parent in NAMES_OF_OTHERS, (api.name, parent)
                else:
                    assert field.name in NAMES_NOTHING, (api.name, parent, field.name)
                assert field.tag is None or field.name in ("cluster_id", "replica_directory_id")

    for api in DECLARED:
        look(api, "", api.request.fields)
        look(api, "", api.response.fields)


Change = Callable[[str, Any], Any]
DROP = object()


def expected(api: Api, parent: str, fields: Sequence[Field], values: dict[str, Any], change: Change) -> Any:
    """The values of a message when ``change(kind, name)`` is done to every name in it that stands in a list or alone,
    and needs no other field to be understood."""
    out = dict(values)
    for field in fields:
        value = values.get(field.name)
        if value is None:
            continue
        kind = kind_of(api, parent, field) if field.tag is None else ""
        if field.fields and field.array:
            new = [expected(api, field.name, field.fields, element, change) for element in value]
            out[field.name] = [element for element in new if element is not DROP]
        elif field.fields:
            out[field.name] = expected(api, field.name, field.fields, value, change)
            if out[field.name] is DROP:
                return DROP
        elif kind in (TOPIC, GROUP, TRANSACTIONAL_ID):
            if field.array:
                out[field.name] = [new for new in (change(kind, name) for name in value) if new is not DROP]
            else:
                out[field.name] = change(kind, value)
                if out[field.name] is DROP:
                    return DROP
    return out


@given(st.integers(0, 1 << 32))
@settings(max_examples=4, deadline=None)
def test_every_name_is_changed_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    for api, version, kind in VERSIONS:
        _check_names(api, version, kind, made(api, version, kind, chance), drops=chance.random() < 0.5)


def _check_names(api: Api, version: int, kind: str, values: dict[str, Any], *, drops: bool) -> None:
    which = (api.name, version, kind)
    schema = getattr(api, kind)
    body = b"head" + plain.encode(schema, version, values)

    def change(kind: str, name: str) -> Any:
        return DROP if drops and len(name) % 2 else f"x.{name}"

    def decide(kind: str, name: bytes) -> bytes | None:
        if kind not in (TOPIC, GROUP, TRANSACTIONAL_ID):
            return name
        changed = change(kind, name.decode())
        return None if changed is DROP else changed.encode()

    def typed(fields: Sequence[Field]) -> bool:
        return any(field.name.startswith(("resource", "key_type")) or typed(field.fields) for field in fields)

    named = names_of(api, version, kind).decide(body, 4, len(body), decide)
    wanted = expected(api, "", schema.fields, values, change)
    if typed(schema.fields):
        return
    if wanted is DROP:
        assert named.refused is not None, which
        return
    assert named.refused is None, which
    changed = splice(body, 4, len(body), named.changes)
    assert changed == plain.encode(schema, version, wanted), which


@given(st.data(), st.sampled_from([one for one in VERSIONS if one[2] == "request"]))
@settings(max_examples=200)
def test_a_request_falls_into_two(data: st.DataObject, which: tuple[Api, int, str]) -> None:
    """What is dropped of one, and what ``only`` leaves, are all the names that there were in lists."""
    api, version, kind = which
    body = plain.encode(api.request, version, data.draw(message(api, version, kind)))
    names = names_of(api, version, kind)
    alone = set()

    def decide(kind: str, name: bytes) -> bytes | None:
        return None if len(name) % 2 else name

    named = names.decide(body, 0, len(body), decide)
    if named.refused is not None:
        return
    only = splice(body, 0, len(body), names.only(body, 0, len(body), set(named.dropped)))
    plain.decode(api.request, version, only)

    def note(kind: str, name: bytes) -> bytes:
        alone.add((kind, name))
        return name

    names.decide(only, 0, len(only), note)
    assert alone >= set(named.dropped)


def test_types_tell_what_resources_and_keys_are() -> None:
    def kinds(name: str, version: int, kind: str = "request", **values: Any) -> list[tuple[str, bytes]]:
        api = BY_NAME[name]
        body = plain.encode(getattr(api, kind), version, values)
        seen = []

        def decide(kind: str, name: bytes) -> bytes:
            seen.append((kind, name))
            return name

        names_of(api, version, kind).decide(body, 0, len(body), decide)
        return seen

    resources = [{"resource_type": number, "resource_name": f"r{number}"} for number in (2, 4, 32)]
    assert kinds("DescribeConfigs", 4, resources=resources) == [(TOPIC, b"r2"), (GROUP, b"r32")]
    creations = [{"resource_type": number, "resource_name": f"r{number}"} for number in (2, 3, 4, 5)]
    assert kinds("CreateAcls", 3, creations=creations) == [(TOPIC, b"r2"), (GROUP, b"r3"), (TRANSACTIONAL_ID, b"r5")]
    assert kinds("DescribeAcls", 3, resource_type_filter=2, resource_name_filter=None) == []
    assert kinds("FindCoordinator", 0, key="k") == [(GROUP, b"k")]
    assert kinds("FindCoordinator", 1, key="k", key_type=1) == [(TRANSACTIONAL_ID, b"k")]
    assert kinds("FindCoordinator", 4, coordinator_keys=["a", "b"]) == [(GROUP, b"a"), (GROUP, b"b")]
    assert kinds("FindCoordinator", 4, "response", coordinators=[{"key": "a"}]) == [(COORDINATOR, b"a")]


@pytest.mark.parametrize(
    ("name", "version"), [("Produce", 12), ("Fetch", 12), ("Metadata", 13), ("Heartbeat", 4), ("ShareFetch", -1)]
)
def test_the_newest_version_that_names_topics(name: str, version: int) -> None:
    assert newest_by_name(BY_NAME[name]) == version
