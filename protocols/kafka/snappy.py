"""Snappy, to be read: a block as its format description has it, alone or in the frames of Java's clients.

Producers in Java write what snappy-java calls a stream: 16 bytes that begin with ``\\x82SNAPPY\\0``, then blocks, each
behind its size. librdkafka writes one block, and nothing around it. Nothing is checked that has a checksum: a record
batch has one of its own.
"""

from __future__ import annotations

import struct

from l4proxy.protocols.kafka.wire import Unreadable, decode_uvarint

__all__ = ["unpack_snappy"]

_MAGIC = b"\x82SNAPPY\0"
_STREAM_HEADER = 16
"""The magic, and two versions that writers do not agree upon the byte order of."""
_size = struct.Struct(">i").unpack_from
_uint32 = struct.Struct("<I").unpack_from


def unpack_snappy(data: bytes, limit: int) -> bytes:
    """Raises what `wire.UNREADABLE` names, with the code ``unpack_limit`` for more than ``limit`` bytes."""
    if not data.startswith(_MAGIC):
        return _block(data, limit)
    out = bytearray()
    pos = 0
    while pos < len(data):
        if data.startswith(_MAGIC, pos):  # streams may follow each other
            pos += _STREAM_HEADER
            continue
        (size,) = _size(data, pos)
        pos += 4
        if not 0 <= size <= len(data) - pos:
            raise Unreadable(f"a block of {size} bytes", code="bad_compression")
        out += _block(data[pos : pos + size], limit - len(out))
        pos += size
    return bytes(out)


def _block(data: bytes, limit: int) -> bytes:
    total, pos = decode_uvarint(data, 0)
    if total > limit:
        raise Unreadable(f"{total} bytes when unpacked, where {limit} are left", code="unpack_limit")
    out = bytearray()
    end = len(data)
    while pos < end:
        tag = data[pos]
        kind = tag & 3
        if not kind:  # a literal
            size = (tag >> 2) + 1
            pos += 1
            if size > 60:
                width = size - 60
                size = int.from_bytes(data[pos : pos + width], "little") + 1
                pos += width
            if pos + size > end:
                raise Unreadable(f"a literal of {size} bytes", code="bad_compression")
            out += data[pos : pos + size]
            pos += size
            continue
        if kind == 1:
            size = (tag >> 2 & 7) + 4
            offset = (tag >> 5) << 8 | data[pos + 1]
            pos += 2
        else:
            size = (tag >> 2) + 1
            if kind == 2:
                offset = data[pos + 1] | data[pos + 2] << 8
                pos += 3
            else:
                (offset,) = _uint32(data, pos + 1)
                pos += 5
        start = len(out) - offset
        if start < 0 or not offset or len(out) + size > total:
            raise Unreadable(f"a copy of {size} bytes from {offset} before", code="bad_compression")
        if offset >= size:
            out += out[start : start + size]
        else:  # it repeats what it has just written
            out += (out[start:] * (size // offset + 1))[:size]
    if len(out) != total:
        raise Unreadable(f"{len(out)} bytes when unpacked, not {total}", code="bad_compression")
    return bytes(out)
