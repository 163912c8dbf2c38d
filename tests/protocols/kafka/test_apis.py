"""The table of APIs against kafka-python's, and against the definitions in the jars of Apache Kafka itself."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_messages import DECLARED
from l4proxy.protocols.kafka import kafka_python
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import APIS, BY_NAME, api_name
from l4proxy.protocols.kafka.schema import NEWEST, Field, Schema
from services.kafka import NEWEST as NEWEST_KAFKA
from services.kafka import OLDER as OLDER_KAFKA
from services.kafka import kafka_jars

# Versions that kafka-python has and Kafka 4.1 has not: they came with 4.2 and 4.3.
BACKLOG = {"DescribeLogDirs": 5, "ListOffsets": 11, "WriteTxnMarkers": 2}


def test_every_key_is_there() -> None:
    assert sorted(APIS) == list(range(93))
    assert len(BY_NAME) == len(APIS)
    assert [api_name(key) for key in (0, 92, 93, 10001)] == [
        "Produce", "DeleteShareGroupOffsets", "api_93", "api_10001",
    ]  # fmt: skip


def test_headers() -> None:
    versions = [(api.name, api.request_header(v), api.response_header(v)) for api in APIS.values() for v in (0, 99)]
    assert ("ControlledShutdown", 0, 0) in versions
    assert ("ApiVersions", 2, 0) in versions
    assert ("Produce", 1, 0) in versions
    assert ("Produce", 2, 1) in versions
    assert ("SaslHandshake", 1, 0) in versions


def test_what_is_newer_than_we_know_is_listed() -> None:
    """Says what to do when kafka-python is updated: look at what it has learnt, and declare it, or list it here."""
    newer = {api.name: theirs for key, api in APIS.items() if (theirs := kafka_python.newest(key)) > api.last}
    assert newer == BACKLOG


# Renamed, or changed before it was released.
CHANGED = {"ListConfigResources", "ReadShareGroupStateSummary", "ShareAcknowledge", "ShareFetch", "ShareGroupDescribe",
           "ShareGroupHeartbeat", "Vote"}  # fmt: skip


# Kafka's own definitions: JSON with comments, in the client's jar


def definitions(jars: Path) -> dict[tuple[int, str], dict[str, Any]]:
    (jar,) = jars.glob("kafka-clients-*.jar")
    found = {}
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if name.startswith("common/message/") and name.endswith(("Request.json", "Response.json")):
                text = archive.read(name).decode()
                text = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
                definition = json.loads(re.sub(r"(?<=[,\[{\s])//.*$", "", text, flags=re.MULTILINE))
                found[definition["apiKey"], definition["type"]] = definition
    return found


def versions(text: str) -> range:
    if text == "none":
        return range(0)
    low, _, high = text.rstrip("+").partition("-")
    return range(int(low), NEWEST + 1 if text.endswith("+") else int(high or low) + 1)


def lines_of_theirs(definition: dict[str, Any], version: int) -> Iterator[tuple[Any, ...]]:
    structs = {struct["name"]: struct["fields"] for struct in definition.get("commonStructs", ())}

    def walk(fields: list[dict[str, Any]], depth: int) -> Iterator[tuple[Any, ...]]:
        for field in fields:
            if version not in versions(field.get("versions", "0+")):
                continue
            kind = field["type"].removeprefix("[]")
            inner = field.get("fields") or structs.get(kind)
            tag = field["tag"] if version in versions(field.get("taggedVersions", "none")) else None
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field["name"]).lower()
            yield depth, name, "struct" if inner else kind, field["type"].startswith("[]"), tag
            yield from walk(inner or [], depth + 1)

    return walk(definition["fields"], 0)


def lines_of_ours(schema: Schema, version: int) -> Iterator[tuple[Any, ...]]:
    def walk(fields: tuple[Field, ...], depth: int) -> Iterator[tuple[Any, ...]]:
        for field in fields:
            if field.exists(version):
                yield depth, field.name, field.type, field.array, field.tag
                yield from walk(field.fields, depth + 1)

    return walk(schema.fields, 0)


@pytest.mark.parametrize("version", [OLDER_KAFKA, NEWEST_KAFKA])
def test_declarations_are_those_of_apache_kafka(version: str) -> None:
    theirs = definitions(kafka_jars(version))
    assert {key for key, _ in theirs} <= set(APIS)
    for (key, kind), definition in theirs.items():
        api: Api = APIS[key]
        valid = versions(definition["validVersions"])
        schema: Schema = getattr(api, kind)
        if not valid:
            continue  # only the key is left
        if version == NEWEST_KAFKA:
            assert api.last == valid[-1], api.name
        elif api.name in CHANGED:
            continue
        assert api.first <= valid[0], api.name
        for number in valid:
            assert schema.is_flexible(number) == (number in versions(definition["flexibleVersions"])), api.name
            ours = list(lines_of_ours(schema, number))
            expected = list(lines_of_theirs(definition, number))
            assert ours == (expected if schema.whole else expected[: len(ours)]), (api.name, kind, number)


def test_what_is_declared() -> None:
    undeclared = {api.name for api in APIS.values()} - {api.name for api in DECLARED}
    assert undeclared == {
        "AllocateProducerIds", "AlterPartition", "AssignReplicasToDirs", "BeginQuorumEpoch", "BrokerHeartbeat",
        "BrokerRegistration", "ControlledShutdown", "ControllerRegistration", "EndQuorumEpoch", "Envelope",
        "FetchSnapshot", "LeaderAndIsr", "StopReplica", "UpdateMetadata", "UpdateRaftVoter", "Vote",
    }  # fmt: skip
    assert {api.name for api in DECLARED if not api.response.whole} == {"StreamsGroupDescribe", "StreamsGroupHeartbeat"}
