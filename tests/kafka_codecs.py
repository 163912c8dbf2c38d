"""What the tests of codecs have in common: data of every kind, and what becomes of broken bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from hypothesis import strategies as st

from l4proxy.protocols.kafka.wire import UNREADABLE, code_of

__all__ = ["LIMIT", "changes", "contents", "cuts", "damaged", "is_unpacked_or_refused", "lines"]

LIMIT = 1 << 22
Unpack = Callable[[bytes, int], bytes]


def lines(count: int, seed: int = 1) -> bytes:
    """JSON as applications send it."""
    chance = random.Random(seed)
    rows = [{"id": at, "name": f"user {chance.randrange(99)}", "score": chance.random()} for at in range(count)]
    return "\n".join(map(json.dumps, rows)).encode()


def _random(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count)


def _skewed(count: int, seed: int) -> bytes:
    return bytes(random.Random(seed).choices(range(60), [2.0 ** -(one % 20) for one in range(60)], k=count))


_SIZES = st.integers(0, 300) | st.sampled_from([4096, 40_000])
_PIECES = (
    st.binary(max_size=60)
    | st.builds(bytes, _SIZES)
    | st.builds(_random, _SIZES, st.integers(0, 9))
    | st.builds(_skewed, _SIZES, st.integers(0, 9))
    | st.builds(lines, st.integers(0, 60), st.integers(0, 9))
)
contents = st.lists(_PIECES, max_size=3).map(b"".join)
"""Bytes that repeat themselves, those that do not, and those of which some are rare."""


def is_unpacked_or_refused(unpack: Unpack, packed: bytes, limit: int) -> None:
    """Whatever the bytes are: no more than the limit comes out, and no other exception."""
    try:
        assert len(unpack(packed, limit)) <= limit
    except UNREADABLE as error:
        assert code_of(error) in {"bad_compression", "bad_varint", "truncated", "unpack_limit"}  # noqa: PT017


def damaged(packed: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    broken = bytearray(packed)
    for at, value in changes:
        broken[at % len(broken)] = value
    return bytes(broken[: len(broken) - cut % (len(broken) + 1)])


# Bytes that are others than they were, and how many are missing at the end.
changes = st.lists(st.tuples(st.integers(0, 99_999), st.integers(0, 255)), max_size=3)
cuts = st.just(0) | st.integers(0, 99_999)
