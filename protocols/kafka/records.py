"""Records out of their batches, on demand: offsets, timestamps, keys, values, headers.

Opening a batch is for filters and views that ask for it, and `compression` has all of Kafka's codecs. A batch says how
many records it holds but not how large they are when unpacked, so what is unpacked is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from l4proxy.protocols.kafka.batches import HEADER_SIZE, LOG_APPEND_TIME, LOG_OVERHEAD, Batch
from l4proxy.protocols.kafka.compression import unpack_codec
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable, decode_varint

__all__ = ["UNPACK_LIMIT", "Record", "records", "unpack"]

UNPACK_LIMIT = 16 * 1024 * 1024
"""Default for the bytes of a batch when it is unpacked."""
HEADERS_LIMIT = 1000
"""Headers of one record."""

_message = struct.Struct(">IBB").unpack_from
_int32 = struct.Struct(">i").unpack_from
_int64 = struct.Struct(">q").unpack_from


class Record(NamedTuple):
    """``timestamp`` in milliseconds since the epoch, -1 where there is none. ``headers`` are in order, keys may come
    twice."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()


def records(data: bytes, batch: Batch, *, limit: int = UNPACK_LIMIT) -> Iterator[Record]:
    """The records of ``batch``, which was read from ``data`` (`batches.batches`). Raises `wire.Unreadable`."""
    try:
        if batch.magic == 2:
            yield from _records(unpack(data[batch.at + HEADER_SIZE : batch.at + batch.size], batch, limit), batch)
        else:
            yield from _messages(data[batch.at : batch.at + batch.size], limit)
    except Unreadable:
        raise
    except UNREADABLE as error:
        raise Unreadable(f"a record does not fit its batch: {error}", code="bad_record") from error


def unpack(data: bytes, batch: Batch, limit: int = UNPACK_LIMIT) -> bytes:
    """What is behind the header of a batch, when it is not compressed any more. Raises `wire.Unreadable`."""
    return data if batch.codec == "none" else unpack_codec(batch.codec, data, limit)


def _records(data: bytes, batch: Batch) -> Iterator[Record]:
    pos = 0
    for _ in range(batch.records):
        size, pos = decode_varint(data, pos)
        stop = pos + size
        if not pos < stop <= len(data):
            raise Unreadable(f"a record of {size} bytes", code="bad_record")
        delta, pos = decode_varint(data, pos + 1)
        offset, pos = decode_varint(data, pos)
        key, pos = _bytes(data, pos)
        value, pos = _bytes(data, pos)
        count, pos = decode_varint(data, pos)
        if not 0 <= count <= HEADERS_LIMIT:
            raise Unreadable(f"a record with {count} headers", code="bad_record")
        headers = []
        for _ in range(count):
            name, pos = _bytes(data, pos)
            content, pos = _bytes(data, pos)
            headers.append((name or b"", content))
        if pos != stop:
            raise Unreadable(f"a record ends at {pos}, not at {stop}", code="bad_record")
        at = batch.max_timestamp if batch.attributes & LOG_APPEND_TIME else batch.base_timestamp + delta
        yield Record(batch.base_offset + offset, at, key, value, tuple(headers))


def _bytes(data: bytes, pos: int) -> tuple[bytes | None, int]:
    size, pos = decode_varint(data, pos)
    if size < 0:
        return None, pos
    if pos + size > len(data):
        raise Unreadable(f"a field of {size} bytes in a record", code="bad_record")
    return data[pos : pos + size], pos + size


def _messages(data: bytes, limit: int, *, nested: bool = False) -> Iterator[Record]:
    """Formats 0 and 1. A compressed message holds others, one level deep."""
    pos = 0
    while len(data) - pos >= LOG_OVERHEAD:
        (offset,) = _int64(data, pos)
        (size,) = _int32(data, pos + 8)
        stop = pos + LOG_OVERHEAD + size
        _, magic, attributes = _message(data, pos + LOG_OVERHEAD)
        at = -1
        field = pos + LOG_OVERHEAD + 6
        if magic:
            (at,) = _int64(data, field)
            field += 8
        key, field = _old_bytes(data, field)
        value, field = _old_bytes(data, field)
        if field != stop:
            raise Unreadable(f"a message ends at {field}, not at {stop}", code="bad_record")
        wrapper = Batch(pos, size, magic, offset, -1, attributes, 0, at, at, -1, -1, -1, 1)
        if wrapper.codec == "none":
            yield Record(offset, at, key, value)
        elif nested:
            raise Unreadable("a compressed message within a compressed one", code="bad_record")
        else:
            inner = list(_messages(unpack(value or b"", wrapper, limit), limit, nested=True))
            # Format 1 numbers inner messages from 0, and the broker gives the wrapper the offset of the last (KIP-31).
            first = max(offset - inner[-1].offset, 0) if magic and inner else 0
            yield from (record._replace(offset=record.offset + first) for record in inner)
        pos = stop


def _old_bytes(data: bytes, pos: int) -> tuple[bytes | None, int]:
    (size,) = _int32(data, pos)
    pos += 4
    if size < 0:
        return None, pos
    if pos + size > len(data):
        raise Unreadable(f"a field of {size} bytes in a message", code="bad_record")
    return data[pos : pos + size], pos + size
