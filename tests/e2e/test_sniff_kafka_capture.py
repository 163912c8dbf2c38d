"""`l4proxy sniff kafka` on a capture, as a command: real messages, TLS, and what is no Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captures import Wire, pcap
from kafka_messages import batch, request, response
from sniffing import sniff_capture

CLIENTS = ("192.0.2.1", "192.0.2.7")


def produced(topic: str, records: int, error: int = 0, correlation_id: int = 1) -> list[tuple[int, bytes]]:
    asked = {"name": topic, "partition_data": [{"index": 0, "records": batch(records)}]}
    answer = {"name": topic, "partition_responses": [{"index": 0, "error_code": error, "base_offset": 7}]}
    return [
        (0, request("Produce", 9, correlation_id, b"shop", acks=1, topic_data=[asked])),
        (1, response("Produce", 9, correlation_id, responses=[answer])),
    ]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Two Kafka connections, one with TLS, one that is HTTP."""
    hello = bytes.fromhex("160301000501000001fc") + bytes(8)
    talks = [
        produced("orders", 5),
        produced("clicks", 3, error=6),
        [(0, hello), (1, b"\x16\x03\x03\0\x10" + bytes(16))],
        [(0, b"GET / HTTP/1.1\r\n\r\n")],
    ]
    packets = [
        packet
        for number, talk in enumerate(talks)
        for packet in Wire(CLIENTS[number == 1], port=9092, client_port=40000 + number).talk(talk)
    ]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(packets))
    return path


def test_tls_is_said_and_what_else_is_no_kafka(capture: Path) -> None:
    _, said = sniff_capture("kafka", capture, "--quiet")
    assert "not understood  http 1, tls 1" in said or "not understood  tls 1, http 1" in said
    assert "encrypted with TLS, nothing of it can be read" in said
    assert "orders" in said


@pytest.mark.parametrize(
    ("words", "topics"),
    [
        ([], ["orders", "clicks"]),
        (["--topic", "ord*"], ["orders"]),
        (["--errors", "--api", "Produce"], ["clicks"]),
        (["--client", CLIENTS[1]], ["clicks"]),
        (["--client", "shop", "--topic", "clicks"], ["clicks"]),
        (["--slow", "1h"], []),
        (["--api", "Fetch"], []),
    ],
)
def test_what_is_chosen(words: list[str], topics: list[str], capture: Path) -> None:
    lines, _ = sniff_capture("kafka", capture, "--json", *words)
    calls: list[dict[str, Any]] = [one for one in map(json.loads, lines) if one["api"] == "Produce"]
    assert [one["topics"] for one in calls] == [[topic] for topic in topics]


def test_records_are_shown_where_somebody_asks(capture: Path) -> None:
    lines, _ = sniff_capture("kafka", capture, "--json", "--topic", "orders")
    assert "contents" not in json.loads(lines[0])
    lines, _ = sniff_capture("kafka", capture, "--json", "--topic", "orders", "--show", "keys,values")
    first = json.loads(lines[0])["contents"][0]
    assert (first["topic"], first["offset"], first["key"], first["value"]) == ("orders", 7, "key", "value")
    lines, _ = sniff_capture("kafka", capture, "--topic", "orders", "--show", "keys")
    assert lines[0].endswith("orders/0 5 records 136 bytes {orders/0@7 key=key} {orders/0@8 key=key}"
                             " {orders/0@9 key=key} {orders/0@10 key=key} {orders/0@11 key=key}")  # fmt: skip
