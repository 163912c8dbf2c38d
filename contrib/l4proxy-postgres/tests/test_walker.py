from __future__ import annotations

import random

import pytest

from l4proxy_postgres.walker import LOOK, SKIP, Lost, Walker

LOOKS = {ord("Q"): LOOK, ord("S"): SKIP, ord("C"): 3}


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def walk(chunks: list[bytes]) -> tuple[list[tuple[int, bytes]], int]:
    seen: list[tuple[int, bytes]] = []
    walker = Walker(LOOKS, lambda kind, body: seen.append((kind, body)))
    return seen, sum(walker.feed(chunk) for chunk in chunks)


STREAM = b"".join(
    [
        message(b"Q", b"select 1\0"),
        message(b"D", b"x" * 300),
        message(b"D", b""),
        message(b"S", b""),
        message(b"d", b"y" * 1000),
        message(b"Q", b"z" * (LOOK + 1000)),
        message(b"C", b"abcdef"),
        message(b"d", b""),
        message(b"Q", b""),
    ]
)
EXPECTED = [(ord("Q"), b"select 1\0"), (ord("Q"), b"z" * LOOK), (ord("C"), b"abc"), (ord("Q"), b"")]


def test_only_what_is_wanted_is_looked_at_and_copy_data_is_counted() -> None:
    assert walk([STREAM]) == (EXPECTED, 1000)


def test_byte_by_byte() -> None:
    assert walk([STREAM[at : at + 1] for at in range(len(STREAM))]) == (EXPECTED, 1000)


@pytest.mark.parametrize("seed", range(50))
def test_random_splits(seed: int) -> None:
    borders = sorted(random.Random(seed).sample(range(1, len(STREAM)), 20))
    chunks = [STREAM[start:end] for start, end in zip([0, *borders], [*borders, len(STREAM)], strict=True)]
    assert walk(chunks) == (EXPECTED, 1000)


def test_a_long_message_is_told_before_it_is_over() -> None:
    seen, _ = walk([message(b"Q", b"z" * 1_000_000)[: LOOK + 5]])
    assert seen == [(ord("Q"), b"z" * LOOK)]


def test_no_more_than_the_look_is_kept() -> None:
    walker = Walker(LOOKS, lambda kind, body: None)
    for at in range(LOOK + 100):
        walker.feed(message(b"Q", bytes(LOOK + 1000))[at : at + 1])
        assert len(walker._kept) < LOOK + 5


@pytest.mark.parametrize(
    "data",
    [message(b"X", b""), b"GET / HTTP/1.1\r\n", b"Q\0\0\0\3", b"D\0\0\0\0", b"d\0\0\0\1"],
    ids=["unknown kind", "another protocol", "short", "short row", "short copy data"],
)
def test_what_is_not_the_protocol(data: bytes) -> None:
    with pytest.raises(Lost):
        walk([message(b"Q", b"x") + data])
