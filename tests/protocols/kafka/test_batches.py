"""Record batches by their headers, whole and in pieces."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_messages import batch
from l4proxy.protocols.kafka.batches import Batch, Summary, batches, codec, stream_records, summarise
from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable

CONTROL = 0x30


def old(offset: int, magic: int, attributes: int = 0, value: bytes = b"v") -> bytes:
    body = struct.pack(">IBB", 0, magic, attributes) + struct.pack(">q", 99) * magic
    body += struct.pack(">i", -1) + struct.pack(">i", len(value)) + value
    return struct.pack(">qi", offset, len(body)) + body


def streamed(data: bytes, seed: int) -> Summary:
    """What comes of the batches in random pieces, with something else behind them."""
    chance = random.Random(seed)
    reader = stream_records(b"", 0, 0, len(data))
    rest = data + b"behind"
    try:
        next(reader)
        while True:
            size = chance.choice([1, 5, 60, 61, 200])
            reader.send((rest[:size], 0, len(rest[:size])))
            rest = rest[size:]
    except StopIteration as done:
        summary: Summary = done.value[0]
        return summary


@pytest.mark.parametrize(
    ("data", "summary"),
    [
        (b"", (0, 0, 0, 0, -1, 0, None)),
        (batch(3), (3, 1, 0, 0, 3, len(batch(3)), None)),
        (batch(3) + batch(2, base_offset=3, attributes=1), (5, 2, 0, 1, 5, len(batch(3) + batch(2)), None)),
        (batch(3) + batch(1, base_offset=3, attributes=CONTROL), (3, 1, 1, CONTROL, 4, len(batch(3) + batch(1)), None)),
        (batch(3) + batch(9)[:-1], (3, 1, 0, 0, 3, len(batch(3)), None)),
        (batch(3) + batch(9)[:30], (3, 1, 0, 0, 3, len(batch(3)), None)),
        (old(4, 0) + old(5, 1), (2, 2, 0, 0, 6, len(old(4, 0) + old(5, 1)), None)),
        (
            old(4, 1, attributes=1, value=bytes(99)) + old(5, 1)[:20],
            (1, 1, 0, 1, 5, len(old(4, 1, value=bytes(99))), None),
        ),
    ],
)
def test_batches_are_added_up(data: bytes, summary: Summary) -> None:
    assert summarise(b"??" + data + b"??", 2, 2 + len(data)) == summary
    for seed in range(10):
        assert streamed(data, seed) == summary


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (batch(packed=b"")[:8] + struct.pack(">i", 40) + batch()[12:], "bad_batch"),
        (batch(-1, packed=b""), "bad_batch"),
        (old(1, 0)[:16] + b"\x07" + bytes(60), "bad_magic"),
        (old(1, 0)[:8] + struct.pack(">i", -5) + old(1, 0)[12:] + bytes(60), "bad_batch"),
    ],
)
def test_what_is_no_batch(data: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        summarise(data, 0, len(data))
    assert caught.value.code == code
    with pytest.raises(Unreadable) as caught:
        list(batches(data, 0, len(data)))
    assert caught.value.code == code
    with pytest.raises(Unreadable) as caught:
        streamed(data, 0)
    assert caught.value.code == code


@given(
    st.lists(st.integers(0, 4).map(batch) | st.just(batch(1, attributes=CONTROL)), max_size=4), st.binary(max_size=80)
)
def test_pieces_say_what_the_whole_does(parts: list[bytes], tail: bytes) -> None:
    data = b"".join(parts) + tail
    try:
        expected = summarise(data, 0, len(data))
    except UNREADABLE:
        with pytest.raises(UNREADABLE):
            streamed(data, 3)
    else:
        assert streamed(data, 3) == expected


def test_everything_that_a_header_says() -> None:
    data = batch(2, base_offset=10, attributes=0x14, producer=(7, 1, 3)) + old(3, 1, attributes=2)
    first, second = batches(data, 0, len(data))
    assert first == Batch(0, len(batch(2)), 2, 10, 0, 0x14, 1, 1_700_000_000_000, 1_700_000_000_500, 7, 1, 3, 2)
    assert (first.codec, first.is_transactional, first.is_control) == ("zstd", True, False)
    assert (second.at, second.magic, second.codec, second.is_control) == (len(batch(2)), 1, "snappy", False)
    assert list(batches(data[:-1], 0, len(data) - 1)) == [first]
    assert list(batches(data[:40], 0, 40)) == []


def test_codecs_have_names() -> None:
    assert [codec(number) for number in (0, 1, 2, 3, 4, 7)] == ["none", "gzip", "snappy", "lz4", "zstd", "codec_7"]
