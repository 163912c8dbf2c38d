"""Zstandard against its own library, on every level: these differ in the kinds of tables and blocks."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_codecs import LIMIT, changes, contents, cuts, damaged, is_unpacked_or_refused, lines
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable
from l4proxy.protocols.kafka.zstd import unpack_zstd

SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"other"
LEVELS = st.sampled_from([-5, 1, 3, 9, 19])


@given(contents, LEVELS, st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
@example(lines(4000), 3, True, True)  # several blocks, whose tables are repeated
@example(bytes(range(256)) * 3 + lines(30), 19, False, True)
def test_what_was_packed_comes_out(content: bytes, level: int, has_checksum: bool, has_size: bool) -> None:
    packer = zstandard.ZstdCompressor(level=level, write_checksum=has_checksum, write_content_size=has_size)
    packed = packer.compress(content)
    assert unpack_zstd(packed, LIMIT) == content
    assert unpack_zstd(packed + SKIPPABLE + packed, LIMIT) == content * 2


@given(changes, cuts, st.sampled_from([3, 19]), st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_broken_bytes(changes: list[tuple[int, int]], cut: int, level: int, garbage: bytes) -> None:
    content = lines(30)
    packed = zstandard.ZstdCompressor(level=level).compress(content)
    is_unpacked_or_refused(unpack_zstd, damaged(packed, changes, cut), len(content))
    is_unpacked_or_refused(unpack_zstd, b"\x28\xb5\x2f\xfd\0\0" + garbage, 1000)


@given(changes)
@settings(max_examples=200, deadline=None)
def test_what_is_taken_is_what_the_library_takes(changes: list[tuple[int, int]]) -> None:
    """Where the library finds nothing wrong with damaged bytes, the same comes out here."""
    content = lines(30)
    broken = damaged(zstandard.ZstdCompressor(level=3, write_checksum=False).compress(content), changes, 0)
    try:
        theirs = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(broken)
    except zstandard.ZstdError:
        return
    with suppress(*UNREADABLE):  # bytes behind the frame, and sizes that are wrong, are no business of its stream
        assert unpack_zstd(broken, LIMIT)[: len(theirs)] == theirs


@pytest.mark.parametrize(
    "packed",
    [
        b"\0\0\0\0",
        b"\x28\xb5\x2f\xfd\x01\0\x05\1\0\0",  # a dictionary
        b"\x28\xb5\x2f\xfd\0\0\x07\0\0",  # a block of no kind
        b"\x28\xb5\x2f\xfd\0\0\x01\0\xff",  # a block that is too large
        b"\x28\xb5\x2f\xfd\0\0\x15\0\0\x03\0",  # literals in the code of a block before, which there is not
    ],
)
def test_lies(packed: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        unpack_zstd(packed, LIMIT)
    assert caught.value.code == "bad_compression"


@pytest.mark.parametrize("content", [bytes(300_000), lines(1500)], ids=["runs", "text"])
def test_the_limit(content: bytes) -> None:
    packed = zstandard.compress(content)
    assert len(unpack_zstd(packed, len(content))) == len(content)
    with pytest.raises(Unreadable) as caught:
        unpack_zstd(packed, len(content) - 1)
    assert caught.value.code == "unpack_limit"
