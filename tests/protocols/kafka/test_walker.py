"""Walkers against plain decoding, for every message in every version, however the bytes come; and what is broken."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import VERSIONS, batch, decoded, everything, made, message, walked
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.declarations.records import FETCH, PRODUCE
from l4proxy.protocols.kafka.schema import Schema, declare
from l4proxy.protocols.kafka.walker import Selection, Walker, select
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable, code_of


def stream(walker: Walker, version: int, chunks: list[bytes]) -> tuple[tuple[Any, ...], list[Any], int]:
    """What a streaming walker makes of the chunks: its result, what it handed over, bytes behind the end."""
    elements: list[Any] = []
    first, *rest = chunks
    reader = walker.streaming(version)(first, 0, len(first), elements.append)
    try:
        next(reader)
        for chunk in rest:
            reader.send((chunk, 0, len(chunk)))
    except StopIteration as done:
        result, _, pos, end = done.value
        return result, elements, end - pos
    raise Unreadable("it waits for more", code="truncated")


def split(data: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    chunks = []
    while data:
        size = chance.choice([1, 2, 3, 10, 100, 1000])
        chunks.append(data[:size])
        data = data[size:]
    return chunks or [b""]


_WALKERS: dict[tuple[str, str], Walker] = {}


def walker_of(api: Api, kind: str) -> Walker:
    schema: Schema = getattr(api, kind)
    return _WALKERS.setdefault((api.name, kind), Walker(schema, everything(schema.fields)))


@given(st.data(), st.sampled_from(VERSIONS), st.integers(0, 99))
@settings(max_examples=150)
def test_a_walker_reads_what_was_written(data: st.DataObject, which: tuple[Api, int, str], seed: int) -> None:
    api, version, kind = which
    schema: Schema = getattr(api, kind)
    values = data.draw(message(api, version, kind))
    encoded = plain.encode(schema, version, values)
    expected = walked(schema.fields, values)
    walker = walker_of(api, kind)
    padded = b"\xff" * 7 + encoded + b"\xff" * 9
    assert walker.whole(version)(padded, 7, 7 + len(encoded)) == expected
    assert stream(walker, version, split(encoded, seed)) == (expected, [], 0)


@given(st.integers(0, 1 << 32))
@settings(max_examples=3, deadline=None)
def test_every_message_in_every_version_is_read_as_kafka_python_reads_it(seed: int) -> None:
    """Where kafka-python has the version, what it decodes is the measure; else what was written."""
    chance = random.Random(seed)
    for api, version, kind in VERSIONS:
        encoded, values = decoded(api, version, kind, made(api, version, kind, chance))
        expected = walked(getattr(api, kind).fields, values)
        walker = walker_of(api, kind)
        assert walker.whole(version)(encoded, 0, len(encoded)) == expected, (api.name, version, kind)
        assert stream(walker, version, split(encoded, seed)) == (expected, [], 0), (api.name, version, kind)


@given(st.data(), st.sampled_from(VERSIONS), st.integers(0, 99))
@settings(max_examples=200)
def test_broken_bytes_end_in_an_error_or_in_a_message(
    data: st.DataObject, which: tuple[Api, int, str], seed: int
) -> None:
    """Whatever is changed or cut: never another exception, and streaming fails where the whole does."""
    api, version, kind = which
    schema: Schema = getattr(api, kind)
    encoded = bytearray(plain.encode(schema, version, data.draw(message(api, version, kind))))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), max_size=3)):
        if encoded:
            encoded[at % len(encoded)] = value
    broken = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    walker = walker_of(api, kind)
    try:
        expected = walker.whole(version)(broken, 0, len(broken))
    except UNREADABLE:
        expected = None
    try:
        result, _, left = stream(walker, version, split(broken, seed))
    except UNREADABLE:
        result, left = None, 0
    if schema.whole and not left:
        assert result == expected


def test_only_what_is_asked_for_is_read() -> None:
    encoded = plain.encode(
        PRODUCE.request,
        9,
        {
            "transactional_id": "txn",
            "acks": -1,
            "topic_data": [
                {"name": "a", "partition_data": [{"index": 3, "records": batch(5)}, {"index": 4}]},
                {"name": "b", "partition_data": []},
            ],
        },
    )
    walk = Walker(PRODUCE.request, "acks topic_data(name topic_id partition_data(index records))").whole(9)
    records = (5, 1, 0, 0, 5, len(batch(5)), None)
    assert walk(encoded, 0, len(encoded)) == (-1, [(b"a", None, [(3, records), (4, None)]), (b"b", None, [])])
    assert Walker(PRODUCE.request, "acks").whole(9)(encoded, 0, len(encoded)) == (-1,)


def test_spans_are_what_a_rewrite_needs() -> None:
    values = {
        "brokers": [{"node_id": 1, "host": "one", "port": 9092}, {"node_id": 2, "host": "two", "port": 9093}],
        "topics": [],
    }
    encoded = plain.encode(METADATA.response, 9, values)
    walk = Walker(METADATA.response, "brokers(@ node_id host host@ port@) topics@").whole(9)
    brokers, topics = walk(encoded, 0, len(encoded))
    assert [(node, host) for _, node, host, _, _ in brokers] == [(1, b"one"), (2, b"two")]
    start, stop = brokers[1][3]
    assert encoded[start:stop] == b"\x04two"
    start, stop = brokers[1][4]
    assert encoded[start:stop] == (9093).to_bytes(4, "big")
    assert [encoded[start:stop] for (start, stop), *_ in brokers] == [
        b"\0\0\0\1\4one" + (9092).to_bytes(4, "big") + b"\0\0",
        b"\0\0\0\2\4two" + (9093).to_bytes(4, "big") + b"\0\0",
    ]
    assert encoded[slice(*topics)] == b"\x01"


def test_the_span_of_a_tagged_field_holds_its_tag() -> None:
    values = {
        "responses": [],
        "node_endpoints": [{"node_id": 1, "host": "h", "port": 1}],
        plain.UNKNOWN_TAGS: {5: b"unknown"},
    }
    encoded = plain.encode(PRODUCE.response, 10, values)
    both = Walker(PRODUCE.response, "throttle_time_ms node_endpoints@ node_endpoints(node_id host)").whole(10)
    _, (start, stop), endpoints = both(encoded, 0, len(encoded))
    assert endpoints == [(1, b"h")]
    assert encoded[start] == 0
    assert encoded[start + 1] == stop - start - 2
    only = Walker(PRODUCE.response, "node_endpoints@").whole(10)
    assert only(encoded, 0, len(encoded)) == ((start, stop),)
    assert only(encoded[: start - 1] + b"\0", 0, start) == (None,)


def test_elements_are_handed_over_one_at_a_time() -> None:
    values = {"brokers": [], "topics": [{"name": str(number), "partitions": []} for number in range(50)]}
    encoded = plain.encode(METADATA.response, 12, values)
    walker = Walker(METADATA.response, "topics*(name)")
    result, elements, left = stream(walker, 12, split(encoded, 1))
    assert (result, left) == ((None,), 0)
    assert elements == [(str(number).encode(),) for number in range(50)]
    assert walker.whole(12)(encoded, 0, len(encoded)) == (elements,)


def test_records_pass_a_streaming_walker_without_being_kept() -> None:
    large = b"".join(batch(packed=bytes(300_000), base_offset=at) for at in range(4))
    values = {"responses": [{"topic": "t", "partitions": [{"partition_index": 0, "records": large}]}]}
    encoded = plain.encode(FETCH.response, 12, values)
    walker = Walker(FETCH.response, "responses(topic partitions(partition_index records))")
    chunks = [encoded[at : at + 65536] for at in range(0, len(encoded), 65536)]
    reader: Any = walker.streaming(12)(chunks[0], 0, len(chunks[0]), print)
    next(reader)
    for chunk in chunks[1:-1]:
        reader.send((chunk, 0, len(chunk)))
        frame = reader.gi_yieldfrom
        while frame.gi_yieldfrom is not None:
            frame = frame.gi_yieldfrom
        assert frame.gi_frame.f_locals["data"] is chunk
        assert "parts" not in frame.gi_frame.f_locals
    with pytest.raises(StopIteration) as done:
        reader.send((chunks[-1], 0, len(chunks[-1])))
    assert done.value.value[0] == ([(b"t", [(0, (4, 4, 0, 0, 4, len(large), None))])],)


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        (b"\xff\xff\xff\xff\x7f", "truncated"),  # more elements than there are bytes
        (b"\xff\xff\xff\xff\xff\xff", "bad_varint"),
        (b"\x03\x05ab", "truncated"),
        (b"\x01\0\0", "trailing_bytes"),
        (b"", "truncated"),
    ],
)
def test_lying_lengths_of_flexible_versions(encoded: bytes, code: str) -> None:
    walk = Walker(declare("names []string", flexible=0), "names").whole(0)
    with pytest.raises(UNREADABLE) as caught:
        walk(encoded, 0, len(encoded))
    assert code_of(caught.value) == code


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        (b"\xff\xff\xff\xfe", "negative_length"),
        (b"\x7f\xff\xff\xff", "truncated"),
        (b"\0\0\0\1\xff\xfe", "negative_length"),
        (b"\0\0\0\1\x7f\xff", "truncated"),
    ],
)
def test_lying_lengths_of_old_versions(encoded: bytes, code: str) -> None:
    walk = Walker(declare("names []string", flexible=None), "names").whole(0)
    with pytest.raises(UNREADABLE) as caught:
        walk(encoded, 0, len(encoded))
    assert code_of(caught.value) == code


def test_a_selection() -> None:
    inner = (Selection("d"), Selection("", span=True), Selection("e", fields=(Selection("f"),)))
    expected = (Selection("a"), Selection("b", span=True), Selection("c", each=True, fields=inner))
    assert select("a b@ c*(d @ e(f))") == expected


@pytest.mark.parametrize("text", ["a(b", "a)", "a, b", "topics()", "unknown", "acks(x)", "topic_data"])
def test_a_wrong_selection_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Walker(PRODUCE.request, text)


def test_spans_cannot_be_streamed() -> None:
    with pytest.raises(ValueError, match="not kept"):
        Walker(PRODUCE.request, "topic_data@").streaming(9)


def test_the_source_shows_in_tracebacks() -> None:
    walker = Walker(BY_NAME["Heartbeat"].request, "group_id")
    assert "def walk(data, pos, end):" in walker.source(4)
    with pytest.raises(IndexError) as caught:
        walker.whole(4)(b"", 0, 0)
    assert "data[pos]" in str(caught.traceback[-1].statement)
