"""Changing a frame where it has to be changed, and nowhere else.

A **change** is ``(start, stop, new)``: these bytes of a message become those. What is between changes is copied as it
is, unknown tagged fields and all, so that who reads one field of a message cannot damage another.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from l4proxy.protocols.kafka.wire import encode_uvarint

__all__ = ["Change", "Span", "encode_bytes", "encode_count", "encode_string", "encode_tag", "frame", "splice"]

Span = tuple[int, int]
Change = tuple[int, int, bytes]

_int16 = struct.Struct(">h").pack
_int32 = struct.Struct(">i").pack


def splice(data: bytes, start: int, stop: int, changes: Sequence[Change]) -> bytes:
    """``data[start:stop]`` with its changes, which are in order and do not overlap."""
    parts = []
    for first, last, new in changes:
        parts += [data[start:first], new]
        start = last
    parts.append(data[start:stop])
    return b"".join(parts)


def frame(data: bytes, start: int, stop: int, changes: Sequence[Change]) -> bytes:
    """The same as a frame, with its size in front."""
    content = splice(data, start, stop, changes)
    return _int32(len(content)) + content


def encode_string(text: bytes, *, flexible: bool) -> bytes:
    return (encode_uvarint(len(text) + 1) if flexible else _int16(len(text))) + text


def encode_bytes(content: bytes, *, flexible: bool) -> bytes:
    return (encode_uvarint(len(content) + 1) if flexible else _int32(len(content))) + content


def encode_count(count: int, *, flexible: bool) -> bytes:
    """How many elements an array has."""
    return encode_uvarint(count + 1) if flexible else _int32(count)


def encode_tag(tag: int, content: bytes) -> bytes:
    """A tagged field (KIP-482)."""
    return encode_uvarint(tag) + encode_uvarint(len(content)) + content
