"""The ways in which bytes can arrive: whole, one by one, in random pieces that a seed brings back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import TypeAlias

__all__ = ["Split", "byte_by_byte", "difference", "pieces", "splits", "whole"]

Split: TypeAlias = Callable[[bytes], list[bytes]]
MOST_BORDERS = 8
SHOWN = 60
"""Bytes, or lengths of pieces, that a message shows."""


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def splits(seed: int, rounds: int) -> Iterator[tuple[str, Split]]:
    """Every way with its name; ``rounds`` of them are random."""
    yield "whole", whole
    yield "byte by byte", byte_by_byte
    for number in range(rounds):
        yield f"in random pieces ({number})", partial(_random_split, random.Random(f"{seed} {number}"))


def _random_split(chance: random.Random, data: bytes) -> list[bytes]:
    inner = range(1, len(data))
    borders = chance.sample(inner, min(len(inner), chance.randint(1, MOST_BORDERS)))
    return [data[start:end] for start, end in pairwise([0, *sorted(borders), len(data)])]


def pieces(chunks: list[bytes]) -> str:
    """``"3 chunks (10, 1, 7 bytes)"``, as far as there is room."""
    lengths = ", ".join(str(len(chunk)) for chunk in chunks[:SHOWN])
    return f"{len(chunks)} chunks ({lengths}{', ...' if len(chunks) > SHOWN else ''} bytes)"


def difference(expected: bytes, received: bytes) -> str:
    """Where two byte strings part, and how they go on there, in two lines."""
    at = next((at for at, (a, b) in enumerate(zip(expected, received, strict=False)) if a != b), None)
    if at is None:
        at = min(len(expected), len(received))
    start = max(at - SHOWN // 4, 0)
    where = f" from byte {start} on" if start else ""
    return (
        f"  expected {len(expected)} bytes,{where} {expected[start : start + SHOWN]!r}\n"
        f"  received {len(received)} bytes,{where} {received[start : start + SHOWN]!r}"
    )
