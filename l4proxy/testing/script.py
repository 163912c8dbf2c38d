"""Scripts of a conversation, and the ways to play one: how the bytes arrive, who ends first, who reads slowly."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Literal, NamedTuple

from l4proxy.testing.splits import Split, splits, whole

__all__ = ["WHOLE", "SideName", "Turn", "Way", "turns", "ways"]

SideName = Literal["client", "upstream"]


class Turn(NamedTuple):
    """What one end says before it is the other one's turn."""

    side: SideName
    data: bytes


class Way(NamedTuple):
    """How a script is played. ``slow`` makes both ends read a few bytes at a time, ``neighbours`` puts filters beside
    the one under test that pause at every chunk."""

    name: str
    split: Split
    ends_early: SideName | None = None
    neighbours: bool = False
    slow: random.Random | None = None


WHOLE = Way("the turns came whole", whole)


def turns(client: Sequence[bytes], upstream: Sequence[bytes]) -> list[Turn]:
    """Who says what, in order: the client first, then in turns. What one end says twice in a row is one turn."""
    spoken: list[Turn] = []
    for one, other in zip_longest(client, upstream, fillvalue=b""):
        spoken += [turn for turn in (Turn("client", one), Turn("upstream", other)) if turn.data]
    return [
        Turn(side, b"".join(turn.data for turn in group)) for side, group in groupby(spoken, lambda turn: turn.side)
    ]


def ways(seed: int, rounds: int, *, half_close: bool) -> Iterator[Way]:
    """All the ways to play a script, beside ``WHOLE``."""
    for name, split in splits(seed, rounds):
        yield Way(f"the turns came {name}", split)
    for name, split in splits(seed, 2):
        if half_close:
            yield Way(f"the client ended early, and the turns came {name}", split, ends_early="client")
            yield Way(f"the upstream ended early, and the turns came {name}", split, ends_early="upstream")
        yield Way(f"the filters beside it paused at every chunk, and the turns came {name}", split, neighbours=True)
        chance = random.Random(f"{seed} slow {name}")
        yield Way(f"both ends read slowly, and the turns came {name}", split, slow=chance)
