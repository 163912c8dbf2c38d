"""Kafka's primitive types, and what compiled walkers call at run time (`walker`).

A walker reads a message where it lies: ``data`` is a chunk of the connection, ``pos`` where to go on, ``end`` where the
message or the chunk ends. Positions only grow, so one look at the end tells whether a message was longer than it may
be; what is read beyond ``end`` until then is thrown away.

Walkers that run ahead of the bytes (``stream``) are generators: each ``yield`` gets the next chunk as ``(data, pos,
end)``. They may leave ``pos`` beyond ``end``, which skips; how far, they yield.
"""

from __future__ import annotations

from collections.abc import Generator
from struct import error as struct_error

from l4proxy.codec import RemoteProtocolError

__all__ = [
    "TEXT_LIMIT",
    "UNREADABLE",
    "Chunk",
    "Unreadable",
    "Waiting",
    "code_of",
    "decode_uvarint",
    "decode_varint",
    "encode_uvarint",
    "encode_varint",
    "long_uvarint",
    "more",
    "negative",
    "skip_tags",
    "stream_tags",
    "stream_uvarint",
    "too_long",
]

Chunk = tuple[bytes, int, int]
"""``data``, where to go on in it, and where it ends."""
Waiting = Generator[int, Chunk, Chunk]
"""What a walker waits for: the next chunk. It yields how many bytes it will skip of what follows."""


class Unreadable(RemoteProtocolError):
    """A message is not what it should be. Its frame is: the next one can be read."""


UNREADABLE = (IndexError, struct_error, Unreadable)
"""What walkers raise for bytes that are not what they should be."""


def code_of(error: Exception) -> str:
    """A stable name for one of `UNREADABLE`. What Python itself raises is a read behind the end."""
    return error.code if isinstance(error, RemoteProtocolError) else "truncated"


TEXT_LIMIT = 1024 * 1024
"""Bytes of a field that a streaming walker was asked for; a longer one is not a name, an error message or metadata."""

UVARINT_SIZE = 5
"""Bytes of the longest unsigned integer of 32 bits."""


def long_uvarint(data: bytes, pos: int, low: int) -> tuple[int, int]:
    """Go on with a variable-size integer of more than one byte; ``low`` is its first byte, ``pos`` behind that."""
    value = low & 0x7F
    for shift in (7, 14, 21, 28):
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
    raise Unreadable("a variable-size integer of more than 5 bytes", code="bad_varint")


def decode_uvarint(data: bytes, pos: int) -> tuple[int, int]:
    """An unsigned integer of variable size (KIP-482), and the position behind it."""
    byte = data[pos]
    return (byte, pos + 1) if byte < 0x80 else long_uvarint(data, pos + 1, byte)


def encode_uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes, pos: int) -> tuple[int, int]:
    """A signed (zigzag) integer of variable size, of up to 64 bits: what records are made of."""
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), pos
        shift += 7
        if shift > 63:
            raise Unreadable("a variable-size integer of more than 10 bytes", code="bad_varint")


def encode_varint(value: int) -> bytes:
    """A signed (zigzag) integer of variable size, of up to 64 bits."""
    return encode_uvarint(value << 1 ^ value >> 63)


def negative(size: int) -> None:
    """A length or count below zero: -1 is null, and anything else is broken."""
    if size != -1:
        raise Unreadable(f"a length of {size}", code="negative_length")


def too_long(size: int) -> None:
    raise Unreadable(f"a field of {size} bytes", code="field_too_long")


def skip_tags(data: bytes, pos: int) -> int:
    """The position behind a structure's tagged fields, whatever they are."""
    count, pos = decode_uvarint(data, pos)
    for _ in range(count):
        _, pos = decode_uvarint(data, pos)
        size, pos = decode_uvarint(data, pos)
        pos += size
    return pos


# For walkers that run ahead of the bytes


def more(data: bytes, pos: int, end: int, need: int) -> Waiting:
    """Wait until ``need`` bytes are there from ``pos`` on, skipping first what lies between ``end`` and ``pos``.

    Nothing is kept but the bytes of a field that lies across a border between chunks.
    """
    while pos >= end:
        if not need and pos == end:
            return data, pos, end
        pos -= end
        data, start, end = yield pos
        pos += start
    if end - pos >= need:
        return data, pos, end
    parts = [data[pos:end]]
    size = end - pos
    while size < need:
        data, start, end = yield 0
        parts.append(data[start:end])
        size += end - start
    return b"".join(parts), 0, size


def stream_uvarint(data: bytes, pos: int, end: int) -> Generator[int, Chunk, tuple[int, bytes, int, int]]:
    for size in range(1, UVARINT_SIZE + 1):
        if end - pos < size:
            data, pos, end = yield from more(data, pos, end, size)
        if data[pos + size - 1] < 0x80:
            break
    value, pos = decode_uvarint(data, pos)
    return value, data, pos, end


def stream_tags(data: bytes, pos: int, end: int) -> Waiting:
    count, data, pos, end = yield from stream_uvarint(data, pos, end)
    for _ in range(count):
        _, data, pos, end = yield from stream_uvarint(data, pos, end)
        size, data, pos, end = yield from stream_uvarint(data, pos, end)
        pos += size
    return data, pos, end
