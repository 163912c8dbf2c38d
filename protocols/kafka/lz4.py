"""LZ4 frames, to be read, also those of Kafka before 0.10, which had a wrong checksum in their header.

Frames may follow each other, and blocks may refer to earlier ones. Checksums are not checked: a record batch has one of
its own.
"""

from __future__ import annotations

import struct

from l4proxy.protocols.kafka.wire import Unreadable

__all__ = ["unpack_lz4"]

_MAGIC = 0x184D2204
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_VERSION, _VERSION_MASK = 0x40, 0xC0
_BLOCK_CHECKSUM, _CONTENT_SIZE, _CONTENT_CHECKSUM, _DICTIONARY = 0x10, 0x08, 0x04, 0x01
_STORED = 0x80000000
"""In a block's size: it is not compressed."""
_uint32 = struct.Struct("<I").unpack_from


def unpack_lz4(data: bytes, limit: int) -> bytes:
    """Raises what `wire.UNREADABLE` names, with the code ``unpack_limit`` for more than ``limit`` bytes."""
    out = bytearray()
    pos = 0
    while pos < len(data):
        (magic,) = _uint32(data, pos)
        if magic in _SKIPPABLE:
            (size,) = _uint32(data, pos + 4)
            pos += 8 + size
        elif magic == _MAGIC:
            pos = _frame(data, pos + 4, out, limit)
        else:
            raise Unreadable(f"a frame that begins with {magic:#x}", code="bad_compression")
    return bytes(out)


def _frame(data: bytes, pos: int, out: bytearray, limit: int) -> int:
    flags = data[pos]
    if flags & _VERSION_MASK != _VERSION or flags & _DICTIONARY:
        raise Unreadable(f"a frame with flags {flags:#x}", code="bad_compression")
    pos += 3 + (8 if flags & _CONTENT_SIZE else 0)
    while True:
        (size,) = _uint32(data, pos)
        pos += 4
        if not size:
            return pos + (4 if flags & _CONTENT_CHECKSUM else 0)
        stop = pos + (size & ~_STORED)
        if stop > len(data):
            raise Unreadable(f"a block of {stop - pos} bytes", code="bad_compression")
        if size & _STORED:
            if len(out) + stop - pos > limit:
                _too_much(limit)
            out += data[pos:stop]
        else:
            _block(data[pos:stop], out, limit)
        pos = stop + (4 if flags & _BLOCK_CHECKSUM else 0)


def _block(data: bytes, out: bytearray, limit: int) -> None:
    """Sequences of literals and of a match each; the last has literals alone."""
    pos = 0
    end = len(data)
    while True:
        token = data[pos]
        pos += 1
        size = token >> 4
        if size == 15:
            size, pos = _longer(data, pos, size)
        if pos + size > end:
            raise Unreadable(f"{size} literals", code="bad_compression")
        if size:
            out += data[pos : pos + size]
            pos += size
        if pos == end:
            break
        offset = data[pos] | data[pos + 1] << 8
        pos += 2
        size = token & 15
        if size == 15:
            size, pos = _longer(data, pos, size)
        size += 4
        have = len(out)
        if have + size > limit:
            _too_much(limit)
        start = have - offset
        if start < 0 or not offset:
            raise Unreadable(f"a match of {size} bytes from {offset} before", code="bad_compression")
        if offset >= size:
            out += out[start : start + size]
        else:  # it repeats what it has just written
            out += (out[start:] * (size // offset + 1))[:size]
    if len(out) > limit:
        _too_much(limit)


def _longer(data: bytes, pos: int, size: int) -> tuple[int, int]:
    while True:
        byte = data[pos]
        pos += 1
        size += byte
        if byte != 255:
            return size, pos


def _too_much(limit: int) -> None:
    raise Unreadable(f"more than {limit} bytes when unpacked", code="unpack_limit")
