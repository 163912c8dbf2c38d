"""LZ4 against its own library, with every option that frames have."""

from __future__ import annotations

import struct
from typing import Any

import lz4.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_codecs import LIMIT, changes, contents, cuts, damaged, is_unpacked_or_refused, lines
from l4proxy.protocols.kafka.lz4 import unpack_lz4
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable, code_of

SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"other"
OPTIONS = st.fixed_dictionaries(
    {
        "block_linked": st.booleans(),
        "block_checksum": st.booleans(),
        "content_checksum": st.booleans(),
        "store_size": st.booleans(),
        "compression_level": st.sampled_from([0, 9]),
    }
)


@given(contents, OPTIONS)
@settings(max_examples=50, deadline=None)
def test_what_was_packed_comes_out(content: bytes, options: dict[str, Any]) -> None:
    packed = lz4.frame.compress(content, **options)
    assert unpack_lz4(packed, LIMIT) == content
    assert unpack_lz4(packed + SKIPPABLE + packed, LIMIT) == content * 2


def test_the_wrong_checksum_of_old_kafka_is_not_minded() -> None:
    """Up to Kafka 0.9 the header's checksum was also of the magic (KAFKA-3160)."""
    packed = bytearray(lz4.frame.compress(b"content" * 9, block_linked=False, store_size=False))
    packed[6] ^= 0xFF
    assert unpack_lz4(bytes(packed), LIMIT) == b"content" * 9


@given(changes, cuts, OPTIONS, st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_broken_bytes(changes: list[tuple[int, int]], cut: int, options: dict[str, Any], garbage: bytes) -> None:
    content = lines(40)
    is_unpacked_or_refused(unpack_lz4, damaged(lz4.frame.compress(content, **options), changes, cut), len(content))
    is_unpacked_or_refused(unpack_lz4, b"\x04\x22\x4d\x18\x40\x40\0" + garbage, 1000)


def frame(*blocks: bytes, flags: int = 0x40) -> bytes:
    sized = b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    return struct.pack("<IBBB", 0x184D2204, flags, 0x40, 0) + sized + bytes(4)


@pytest.mark.parametrize(
    ("packed", "code"),
    [
        (frame(b"\x44abcd\x05\0\0"), "bad_compression"),  # from before the beginning
        (frame(b"\x44abcd\0\0\0"), "bad_compression"),  # from nowhere
        (frame(b"\xf0\xff\xff\x09abcd"), "bad_compression"),  # more literals than there are
        (frame(b"\x44abcd\x04\0"), "truncated"),  # no literals at the end
        (frame(b"\x40abcd")[:-1], "truncated"),
        (frame(flags=0x80), "bad_compression"),  # another version
        (frame(flags=0x41), "bad_compression"),  # with a dictionary
        (b"\0\0\0\0", "bad_compression"),
    ],
)
def test_lies(packed: bytes, code: str) -> None:
    with pytest.raises(UNREADABLE) as caught:
        unpack_lz4(packed, LIMIT)
    assert code_of(caught.value) == code


@pytest.mark.parametrize("content", [bytes(100_000), lines(1500)[:100_000]], ids=["matches", "literals"])
def test_the_limit(content: bytes) -> None:
    packed = lz4.frame.compress(content)
    assert len(unpack_lz4(packed, len(content))) == len(content)
    with pytest.raises(Unreadable) as caught:
        unpack_lz4(packed, len(content) - 1)
    assert caught.value.code == "unpack_limit"
