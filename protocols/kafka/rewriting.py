"""Record batches with other values in them: for filters that mask, encrypt or translate what is under way.

Offsets, timestamps, keys, headers and the producer stay. Values of the same sizes are changed where they lie, and so is
the checksum, by the difference alone; for others the batch is written anew, which takes some 50 ns a byte for the
checksum. Batches that were compressed are then compressed with gzip, which every client reads, whatever they had been.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from typing import NamedTuple

from l4proxy.protocols.crc32c import crc32c, crc32c_changed
from l4proxy.protocols.kafka.batches import CODEC_MASK, CODECS, HEADER_SIZE, LOG_OVERHEAD, Batch, batches
from l4proxy.protocols.kafka.records import UNPACK_LIMIT, unpack
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable, decode_varint, encode_varint

__all__ = ["ChangeValue", "change_values"]

ChangeValue = Callable[[bytes], bytes]
"""What becomes of a value; the same object, where it stays. A record without a value is not asked about."""

CRC_AT = 17
CHECKED = 21
"""Where the bytes begin that the checksum is of."""
_crc = struct.Struct(">I")
_length = struct.Struct(">i")
_attributes = struct.Struct(">h")


class _Value(NamedTuple):
    """A value in unpacked records, and the record that it is in."""

    record: int
    fields: int
    """Where the record's size is, and what is behind that."""
    size_at: int
    start: int
    stop: int
    end: int


def change_values(data: bytes, change: ChangeValue, *, limit: int = UNPACK_LIMIT) -> bytes:
    """The batches in ``data`` with other values. Raises `wire.Unreadable` for what cannot be opened (``old_format``,
    ``unsupported_codec``). A part of a batch at the end, which consumers do not read, is left out."""
    out = []
    for batch in batches(data, 0, len(data)):
        whole = data[batch.at : batch.at + batch.size]
        if batch.magic != 2:
            raise Unreadable(f"a message of format {batch.magic}", code="old_format")
        out.append(whole if batch.is_control else _changed(whole, batch, change, limit))
    return b"".join(out)


def _changed(whole: bytes, batch: Batch, change: ChangeValue, limit: int) -> bytes:
    records = unpack(whole[HEADER_SIZE:], batch, limit)
    try:
        values = [_value(records, *found) for found in _records(records, batch.records)]
    except Unreadable:
        raise
    except UNREADABLE as error:
        raise Unreadable(f"a record does not fit its batch: {error}", code="bad_record") from error
    changes = []
    for value in values:
        if value.start >= 0:
            old = records[value.start : value.stop]
            new = change(old)
            if new is not old and new != old:
                changes.append((value, old, new))
    if not changes:
        return whole
    if batch.codec == "none" and all(len(old) == len(new) for _, old, new in changes):
        return _in_place(whole, [(HEADER_SIZE + value.start, old, new) for value, old, new in changes])
    return _anew(whole, batch, records, {value: new for value, _, new in changes})


def _records(records: bytes, count: int) -> list[tuple[int, int, int]]:
    """Where each record begins, what is behind its size, and where it ends."""
    found = []
    pos = 0
    for _ in range(count):
        size, fields = decode_varint(records, pos)
        end = fields + size
        if not fields < end <= len(records):
            raise Unreadable(f"a record of {size} bytes", code="bad_record")
        found.append((pos, fields, end))
        pos = end
    return found


def _value(records: bytes, record: int, fields: int, end: int) -> _Value:
    pos = fields + 1
    for _ in ("timestamp", "offset"):
        _, pos = decode_varint(records, pos)
    size, pos = decode_varint(records, pos)
    size_at = pos + max(size, 0)
    size, start = decode_varint(records, size_at)
    if size < 0:
        return _Value(record, fields, size_at, -1, -1, end)
    if start + size > end:
        raise Unreadable(f"a value of {size} bytes", code="bad_record")
    return _Value(record, fields, size_at, start, start + size, end)


def _in_place(whole: bytes, changes: list[tuple[int, bytes, bytes]]) -> bytes:
    changed = bytearray(whole)
    (crc,) = _crc.unpack_from(whole, CRC_AT)
    for at, old, new in changes:
        changed[at : at + len(new)] = new
        crc = crc32c_changed(crc, old, new, len(whole) - at - len(new))
    _crc.pack_into(changed, CRC_AT, crc)
    return bytes(changed)


def _anew(whole: bytes, batch: Batch, records: bytes, changes: dict[_Value, bytes]) -> bytes:
    parts = []
    pos = 0
    for value, new in changes.items():
        sized = encode_varint(len(new)) + new
        record = records[value.fields : value.size_at] + sized + records[value.stop : value.end]
        parts += [records[pos : value.record], encode_varint(len(record)), record]
        pos = value.end
    content = b"".join([*parts, records[pos:]])
    attributes = batch.attributes
    if batch.codec != "none":
        content = gzip.compress(content, compresslevel=1, mtime=0)
        attributes = attributes & ~CODEC_MASK | CODECS.index("gzip")
    checked = _attributes.pack(attributes) + whole[CHECKED + 2 : HEADER_SIZE] + content
    size = _length.pack(CHECKED - LOG_OVERHEAD + len(checked))
    return whole[:8] + size + whole[LOG_OVERHEAD:CRC_AT] + _crc.pack(crc32c(checked)) + checked
