"""The tables of a live view show what the metrics count."""

from __future__ import annotations

from typing import Any

from kafka_messages import batch
from kafka_speech import Speech


def rows(speech: Speech, name: str) -> list[dict[str, Any]]:
    (table,) = (table for table in speech.inspector.tables() if table.name == name)
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, row, strict=True)) for row in table.rows()]


def test_tables_lead_to_tables(speech: Speech) -> None:
    tables = {table.name: table for table in speech.inspector.tables()}
    assert list(tables) == ["topics", "partitions", "groups", "lag", "members", "clients", "apis", "errors"]
    for table in tables.values():
        assert list(table.rows()) == []
        if table.into:
            keys = [column.title for column in table.columns[: table.keys]]
            assert set(keys) <= {column.title for column in tables[table.into].columns}


def test_topics_and_partitions(speech: Speech) -> None:
    client = speech.client()
    leaders = [{"partition_index": index, "leader_id": index + 1} for index in range(3)]
    client.ask("Metadata", 9, {}, {"topics": [{"name": "orders", "partitions": leaders}]})
    client.produce("orders", 4, 6)
    client.produce("orders", 1, 0, index=1)
    client.commit("billing", "orders", 3)
    (topic,) = rows(speech, "topics")
    assert (topic["topic"], topic["partitions"], topic["produced/s"], topic["batch"], topic["lag"]) == (
        "orders",
        3,
        5,
        2.5,
        7,
    )
    first, second = rows(speech, "partitions")
    assert (first["partition"], first["leader"], first["end"], first["produced/s"]) == (0, 1, 10, 4)
    assert (second["partition"], second["leader"], second["end"], second["produced/s"]) == (1, 2, 1, 1)


def test_groups_lag_and_members(speech: Speech) -> None:
    client = speech.client(b"app", host="192.0.2.7")
    client.heartbeat("billing", "m-1")
    client.produce("orders", 10, 0)
    client.commit("billing", "orders", 3)
    (group,) = rows(speech, "groups")
    assert (group["group"], group["members"], group["state"], group["lag"]) == ("billing", 1, "stable", 7)
    assert rows(speech, "lag") == [
        {"group": "billing", "topic": "orders", "partition": 0, "committed": 3, "end": 10, "lag": 7}
    ]
    (member,) = rows(speech, "members")
    assert (member["group"], member["member"], member["client"], member["host"]) == (
        "billing",
        "m-1",
        "app",
        "192.0.2.7",
    )


def test_clients_apis_and_errors(speech: Speech) -> None:
    client = speech.client(b"app")
    software = {"client_software_name": "java", "client_software_version": "4.1.1"}
    client.ask("ApiVersions", 3, software, {})
    client.produce("orders", 10, 0)
    client.produce("orders", 10, error=6)
    partition = {"records": batch(2)}
    client.ask("Fetch", 11, {}, {"responses": [{"topic": "orders", "partitions": [partition]}]})
    (shown,) = rows(speech, "clients")
    assert (shown["client"], shown["software"], shown["requests/s"], shown["errors"]) == ("app", "java 4.1.1", 4, 1)
    assert (shown["produced/s"], shown["fetched/s"], shown["connections"]) == (10, 2, 1)
    apis = {row["api"]: row for row in rows(speech, "apis")}
    assert (apis["Produce"]["versions"], apis["Produce"]["requests/s"], apis["Produce"]["errors"]) == ("9", 2, 1)
    assert 0.1 < apis["Fetch"]["p50"] <= 0.25
    assert rows(speech, "errors") == [{"api": "Produce", "error": "NOT_LEADER_OR_FOLLOWER", "count": 1}]
