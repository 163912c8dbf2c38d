"""Does an inspector keep its contract, however the bytes arrive and wherever the watching begins?

::

    from l4proxy.testing import check_inspector

    def test_inspector():
        script = [(Side.CLIENT, b"GET a\\n"), (Side.UPSTREAM, b"OK\\n")]
        check_inspector(Lines, script, expect=[("GET", "", {"text": "a"})])
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from l4proxy.codec import RemoteProtocolError
from l4proxy.exchange import Exchange, Notice
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Inspector, Link, StopWatching
from l4proxy.kind import options_of
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing.splits import splits

__all__ = ["Seen", "Spoken", "check_inspector"]

Spoken: TypeAlias = tuple[Side, bytes]
"""Who speaks, and what: one turn of a script."""
Seen: TypeAlias = tuple[str, str, Mapping[str, Any]]
"""What an exchange is compared by: its kind, error and fields."""
START = 1_700_000_000.0


def check_inspector(
    inspector: type[Inspector[Any]],
    script: Sequence[Spoken],
    expect: Sequence[Seen],
    *,
    config: Any = None,
    bad: Iterable[bytes] = (),
    rounds: int = 20,
    seed: int = 0,
) -> None:
    """Check an inspector with a conversation and the exchanges it is. Raises AssertionError, which says what is wrong.

    The script is played whole, byte by byte and in ``rounds`` random splits: each time the exchanges are ``expect``
    (notices are not compared), and the metrics are the same. It is played without anyone who wants exchanges: the
    metrics do not change. It is begun in the middle, is cut by gaps, loses either direction, is damaged, and ends
    anywhere: nothing may be raised but what the contract allows. ``bad`` are bytes that a client sends first and that
    are not the protocol: the watching ends.
    """
    options = config if config is not None else options_of(inspector)()
    whole = _Run(inspector, options)
    whole.play(script)
    _compare("fed whole", whole.seen(), list(expect))
    for name, split in splits(seed, rounds):
        run = _Run(inspector, options)
        run.play([(side, piece) for side, data in script for piece in split(data)])
        _compare(f"fed {name} (seed={seed})", run.seen(), list(expect))
        _compare(f"fed {name} (seed={seed}), metrics", run.metrics(), whole.metrics())
    unseen = _Run(inspector, options, wanted=False)
    unseen.play(script)
    _compare("while nobody wants exchanges, metrics", unseen.metrics(), whole.metrics())
    _check_mishaps(inspector, options, script, random.Random(seed), rounds)
    for data in bad:
        for name, split in splits(seed, rounds):
            run = _Run(inspector, options)
            run.play([(Side.CLIENT, piece) for piece in split(data)])
            if run.stopped is None:
                raise AssertionError(f"{data[:60]!r}, fed {name}: the watching does not end (seed={seed})")


def _check_mishaps(
    inspector: type[Inspector[Any]], options: Any, script: Sequence[Spoken], chance: random.Random, rounds: int
) -> None:
    for script_of_one in ([turn for turn in script if turn[0] is side] for side in Side):
        _Run(inspector, options).play(script_of_one)
    for turn, at in _everywhere(script):
        side, data = script[turn]
        for midway in (False, True):
            _Run(inspector, options, midway=midway).play([(side, data[at:]), *script[turn + 1 :]])
        for size in (len(data) - at, None):
            _Run(inspector, options).play([*script[:turn], (side, data[:at]), (side, size), *script[turn + 1 :]])
        _Run(inspector, options).play([*script[:turn], (side, data[:at])])
    for name, split in splits(chance.randrange(1 << 30), rounds):
        damaged = [(side, _damage(data, chance)) for side, data in script]
        try:
            _Run(inspector, options).play([(side, piece) for side, data in damaged for piece in split(data)])
        except Exception as error:
            raise AssertionError(f"fed {name}, {damaged!r} raised {error!r}") from error


def _everywhere(script: Sequence[Spoken]) -> Iterator[tuple[int, int]]:
    for turn, (_, data) in enumerate(script):
        for at in range(0, len(data), max(1, len(data) // 200)):
            yield turn, at


def _damage(data: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.randint(0, 3)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged)


class _Run:
    """One conversation, with an inspector of its own. A turn with a number, or None, in place of bytes is a gap."""

    def __init__(self, inspector: type[Inspector[Any]], options: Any, *, midway: bool = False, wanted: bool = True):
        self.registry = StatsRegistry()
        self.inspector = inspector(options, self.registry)
        self.exchanges: list[Exchange] = []
        if wanted:
            self.inspector.on_exchange = self.exchanges.append
        self.link = Link(1, Peer("192.0.2.1", 40000), Peer("192.0.2.2", 1), midway=midway)
        self.stopped: Exception | None = None

    def play(self, script: Iterable[tuple[Side, bytes | int | None]]) -> None:
        conversation, at = self.inspector.conversation(self.link), START
        try:
            for side, data in script:
                at += 0.001
                if isinstance(data, bytes):
                    if data:
                        (conversation.client_data if side is Side.CLIENT else conversation.server_data)(data, at)
                elif not conversation.lost(side, data, at):
                    conversation.close(at)
                    self.link.midway = True
                    conversation = self.inspector.conversation(self.link)
            conversation.client_eof(at)
            conversation.server_eof(at)
        except (StopWatching, RemoteProtocolError) as error:
            self.stopped = error
        conversation.close(at)
        for table in self.inspector.tables():
            for row in table.rows():
                if len(row) != len(table.columns):
                    raise AssertionError(f"table {table.name!r}: {row!r} is no row of its {len(table.columns)} columns")
        for exchange in self.exchanges:
            exchange.line()

    def seen(self) -> list[Seen]:
        return [(one.kind, one.error, dict(one.fields())) for one in self.exchanges if not isinstance(one, Notice)]

    def metrics(self) -> dict[str, Any]:
        """Without histograms, seconds and times, which go by when chunks arrive."""
        return {
            name: [{"labels": sample["labels"], "value": sample["value"]} for sample in family["samples"]]
            for name, family in self.registry.snapshot().items()
            if family["kind"] != "histogram" and "seconds" not in name
        }


def _compare(told: str, seen: Any, expected: Any) -> None:
    if seen != expected:
        raise AssertionError(f"{told}:\n  expected {expected}\n  but it is {seen}")
