"""Records out of their batches, and batches that lie about them."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder

from kafka_messages import batch, record, varint
from l4proxy.protocols.kafka.batches import batches
from l4proxy.protocols.kafka.records import Record, records
from l4proxy.protocols.kafka.wire import Unreadable

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
UNKNOWN = 5


def all_records(data: bytes, limit: int = 1_000_000) -> list[Record]:
    return [record for batch in batches(data, 0, len(data)) for record in records(data, batch, limit=limit)]


# With LZ4 from format 1 on, with Zstandard from format 2 on, as Kafka itself.
WRITTEN = [(magic, codec) for magic in (0, 1, 2) for codec in (0, GZIP, SNAPPY, LZ4, ZSTD)[: 3 + magic]]


@pytest.mark.parametrize(("magic", "codec"), WRITTEN)
def test_records_are_those_that_kafka_python_wrote(magic: int, codec: int) -> None:
    builder = MemoryRecordsBuilder(magic, codec, 100_000)
    headers = [("h", b"1"), ("h", None)] if magic == 2 else []
    for at, (key, value) in enumerate([(b"k", b"v"), (None, b"x" * 300), (b"", None)]):
        builder.append(timestamp=1000 + at if magic else None, key=key, value=value, headers=headers)
    builder.close()
    data = bytes(builder.buffer())
    expected = [
        Record(
            record.offset,
            -1 if record.timestamp is None else record.timestamp,
            record.key,
            record.value,
            tuple((name.encode(), content) for name, content in record.headers),
        )
        for one in iter(MemoryRecords(data).next_batch, None)
        for record in one
    ]
    assert len(expected) == 3
    assert all_records(data) == expected


def test_time_of_the_log() -> None:
    (found,) = all_records(batch(1, attributes=0x08))
    assert found.timestamp == 1_700_000_000_500


def test_other_codecs_are_named() -> None:
    with pytest.raises(Unreadable, match="compressed with codec_5") as caught:
        all_records(batch(1, attributes=UNKNOWN))
    assert caught.value.code == "unsupported_codec"


def test_a_bomb_does_not_go_off() -> None:
    bomb = batch(1, attributes=GZIP, packed=gzip.compress(bytes(50_000_000)))
    assert len(bomb) < 100_000
    with pytest.raises(Unreadable) as caught:
        all_records(bomb)
    assert caught.value.code == "unpack_limit"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (batch(1, attributes=GZIP, packed=b"not gzip"), "bad_compression"),
        (batch(1, attributes=ZSTD, packed=b"not zstd"), "bad_compression"),
        (batch(1, packed=b""), "bad_record"),
        (batch(1, packed=varint(-5)), "bad_record"),
        (batch(1, packed=varint(100) + bytes(10)), "bad_record"),
        (batch(1, packed=varint(10) + b"\0\0\0" + varint(99) + bytes(7)), "bad_record"),
        (batch(1, packed=varint(8) + b"\0\0\0\1\1" + varint(500_000) + b"\0"), "bad_record"),
        (batch(1, packed=record() + b"\xff" * 11)[:-1] + b"\xff", ""),
    ],
)
def test_lies(data: bytes, code: str) -> None:
    if not code:
        assert len(all_records(data)) == 1
        return
    with pytest.raises(Unreadable) as caught:
        all_records(data)
    assert caught.value.code == code


@given(st.binary(max_size=40), st.integers(0, 3), st.integers(0, 2))
def test_garbage_ends_in_unreadable(content: bytes, count: int, magic: int) -> None:
    data = batch(count, packed=content)
    if magic < 2:
        body = struct.pack(">IBB", 0, magic, 0) + content
        data = struct.pack(">qi", 0, len(body)) + body
    try:
        assert all(isinstance(found, Record) for found in all_records(data))
    except Unreadable as error:
        assert error.code  # noqa: PT017
