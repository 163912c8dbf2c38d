"""Frames: the same whatever the chunks, large ones never joined, broken sizes named."""

from __future__ import annotations

import random
import struct
from collections import deque

import pytest

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka.frames import COLLECT, MAX_FRAME, Frames, Piecemeal
from l4proxy.protocols.kafka.wire import Unreadable, more
from l4proxy.testing.splits import splits

SMALL = [b"first", b"", b"x" * 100, b"last"]


def framed(*contents: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(content)) + content for content in contents)


class Taken:
    """Takes frames; of large ones the first ``take`` bytes."""

    def __init__(self, take: int = 10, limit: int = MAX_FRAME) -> None:
        self.frames = Frames(self.whole, self.begin, self.finish, limit=limit)
        self.seen: list[bytes | tuple[int, bytes]] = []
        self.errors: list[Exception | None] = []
        self.take = take

    def whole(self, data: bytes, pos: int, stop: int) -> None:
        self.seen.append(data[pos:stop])

    def begin(self, size: int) -> Piecemeal:
        data, pos, end = yield 0
        data, pos, end = yield from more(data, pos, end, self.take)
        self.seen.append((size, data[pos : pos + self.take]))
        if self.take == 13:
            raise Unreadable("no luck", code="no_luck")

    def finish(self, error: Exception | None) -> None:
        self.errors.append(error)


def test_small_frames_come_whole_however_they_arrive() -> None:
    data = framed(*SMALL)
    for _, split in splits(seed=1, rounds=30):
        taken = Taken()
        for chunk in split(data):
            taken.frames.feed(chunk)
        assert taken.seen == SMALL
        assert taken.frames.between
        assert not taken.errors


def test_a_whole_frame_is_not_copied() -> None:
    where: list[tuple[bytes, int, int]] = []
    frames = Frames(lambda *place: where.append(place), Taken().begin, lambda error: None)
    data = framed(b"one", b"two")
    frames.feed(data)
    assert [(pos, stop) for _, pos, stop in where] == [(4, 7), (11, 14)]
    assert all(place[0] is data for place in where)


@pytest.mark.parametrize("take", [0, 10, 1000])
def test_large_frames_are_read_as_they_come(take: int) -> None:
    large = bytes(range(256)) * 1000
    data = framed(b"before", large, b"behind", large)
    chance = random.Random(take)
    for _ in range(20):
        taken = Taken(take)
        rest = data
        while rest:
            size = chance.choice([1, 100, 100_000])  # never a whole one
            taken.frames.feed(rest[:size])
            rest = rest[size:]
        assert taken.seen == [b"before", (len(large), large[:take]), b"behind", (len(large), large[:take])]
        assert taken.errors == [None, None]
        assert taken.frames.between


def test_a_large_frame_in_one_chunk_is_whole() -> None:
    taken = Taken()
    taken.frames.feed(framed(bytes(COLLECT + 1)))
    assert taken.seen == [bytes(COLLECT + 1)]


def test_what_a_reader_raises_ends_with_its_frame() -> None:
    taken = Taken(take=13)
    data = framed(bytes(COLLECT * 2), b"next")
    for at in range(0, len(data), 1000):
        taken.frames.feed(data[at : at + 1000])
    assert taken.seen == [(COLLECT * 2, bytes(13)), b"next"]
    (error,) = taken.errors
    assert isinstance(error, Unreadable)
    assert error.code == "no_luck"


def test_a_reader_that_wants_more_than_the_frame_has() -> None:
    taken = Taken(take=COLLECT * 3)
    data = framed(bytes(COLLECT * 2), b"next")
    taken.frames.feed(data[:100])
    taken.frames.feed(data[100:])
    assert taken.seen == [b"next"]
    (error,) = taken.errors
    assert isinstance(error, Unreadable)
    assert error.code == "truncated"


def test_what_is_missing_is_known() -> None:
    taken = Taken()
    data = framed(bytes(COLLECT + 1))
    taken.frames.feed(data[:2])
    assert not taken.frames.between
    taken.frames.feed(data[2:10])
    assert taken.frames.left == len(data) - 10


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\xff\xff\xff\xff", "negative_length"),
        (b"\x7f\xff\xff\xff", "oversized_frame"),
        (struct.pack(">i", MAX_FRAME + 1), "oversized_frame"),
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"HTTP/1.1 400 Bad Request\r\n", "http"),
        (b"SSH-2.0-OpenSSH\r\n", "ssh"),
        (b"PROXY TCP4 ", "proxy_protocol"),
        (b"\x16\x03\x01\x02\x00\x01", "tls"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "tls"),
    ],
)
def test_sizes_that_are_none_are_named(head: bytes, code: str) -> None:
    for _, split in splits(seed=3, rounds=3):
        taken = Taken()
        with pytest.raises(RemoteProtocolError) as caught:
            deque(map(taken.frames.feed, split(framed(b"good") + head)))
        assert caught.value.code == code
        assert not isinstance(caught.value, Unreadable)
        assert taken.seen == [b"good"]


def test_the_limit_is_the_largest_frame() -> None:
    taken = Taken(limit=10)
    taken.frames.feed(framed(bytes(10)))
    with pytest.raises(RemoteProtocolError, match="11 bytes, where 10 are allowed"):
        taken.frames.feed(framed(bytes(11)))


def test_after_the_close_nothing_is_taken() -> None:
    taken = Taken()
    taken.frames.feed(framed(bytes(COLLECT + 1))[:-1])
    taken.frames.close()
    with pytest.raises(RuntimeError):
        taken.frames.feed(bytes(1) + framed(b"x"))
