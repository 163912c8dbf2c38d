"""Snappy against Google's library, in Java's frames and without them."""

from __future__ import annotations

import pytest
import snappy
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.codec import snappy_encode

from kafka_codecs import LIMIT, changes, contents, cuts, damaged, is_unpacked_or_refused, lines
from l4proxy.protocols.kafka.snappy import unpack_snappy
from l4proxy.protocols.kafka.wire import Unreadable


@given(contents)
@settings(max_examples=50, deadline=None)
def test_what_was_packed_comes_out(content: bytes) -> None:
    framed = snappy_encode(content)
    assert unpack_snappy(snappy.compress(content), LIMIT) == content
    assert unpack_snappy(framed, LIMIT) == content
    assert unpack_snappy(framed + framed, LIMIT) == content * 2


@given(changes, cuts, st.booleans(), st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_broken_bytes(changes: list[tuple[int, int]], cut: int, is_framed: bool, garbage: bytes) -> None:
    content = lines(40)
    packed = snappy_encode(content, xerial_blocksize=700) if is_framed else snappy.compress(content)
    is_unpacked_or_refused(unpack_snappy, damaged(packed, changes, cut), len(content))
    is_unpacked_or_refused(unpack_snappy, garbage, 1000)


def test_copies_of_every_kind() -> None:
    """Encoders do not write offsets of four bytes, nor lengths of four."""
    assert unpack_snappy(b"\x08\x0cabcd\x0f\x04\0\0\0", 8) == b"abcdabcd"
    assert unpack_snappy(b"\x08\x0cabcd\x0e\x01\0", 8) == b"abcddddd"
    assert unpack_snappy(b"\x04\xfc\x03\0\0\0abcd", 4) == b"abcd"


@pytest.mark.parametrize(
    ("packed", "code"),
    [
        (b"\x08\x0cabcd\x0f\x05\0\0\0", "bad_compression"),  # from before the beginning
        (b"\x08\x0cabcd\x0f\0\0\0\0", "bad_compression"),  # from nowhere
        (b"\x07\x0cabcd\x0f\x04\0\0\0", "bad_compression"),  # more than was said
        (b"\x09\x0cabcd\x0f\x04\0\0\0", "bad_compression"),  # less
        (b"\x04\xfc\xff\xff\xff\xffabcd", "bad_compression"),
        (b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\xff\xff\xff\xff", "bad_compression"),
        (b"\xff\xff\xff\xff\x0f", "unpack_limit"),
    ],
)
def test_lies(packed: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        unpack_snappy(packed, 1 << 20)
    assert caught.value.code == code


def test_frames_share_the_limit() -> None:
    packed = snappy_encode(bytes(100_000))
    assert len(unpack_snappy(packed, 100_000)) == 100_000
    with pytest.raises(Unreadable) as caught:
        unpack_snappy(packed, 99_999)
    assert caught.value.code == "unpack_limit"
