"""Pipelines of commands that differ (``GET``s and ``SET``s in turn): found by one pattern, sent as one entry.

A connection cannot tell which of several kinds of commands a reply is for without looking at each, which is as much
work as all the rest together. So it counts them for its endpoint only, and what they are to the statistics of commands
is counted by who receives the replies, for all that came together. That works as long as replies are short and none is
an error, as nearly always. Else the connection asks what the commands are (`Receiver.apart`) and goes on with each by
itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.protocols.redis.patterns import find_commands

if TYPE_CHECKING:
    from l4proxy.plugins.redis.hub import Hub
    from l4proxy.plugins.redis.session import Session
    from l4proxy.plugins.redis.stats import CommandStats
    from l4proxy.plugins.redis.treatment import Treatment
    from l4proxy.stream import Stream

__all__ = ["Found", "Several", "count_several", "find_several", "keyed_treatment"]

_now = time.monotonic


class Found(NamedTuple):
    """The commands with one key each that a chunk begins with. Of each, how it is treated, itself, what it begins with,
    and its key."""

    treatments: list[Treatment]
    commands: Sequence[bytes]
    starts: Sequence[bytes]
    keys: Sequence[bytes]
    rest: bytes
    """What is behind them: all from the first one on that is not whole, or not such."""


def find_several(hub: Hub, data: bytes) -> Found | None:
    """None: there are not two of them."""
    commands, starts, *_, keys = zip(*find_commands(data), strict=True)
    kinds, rest = set(starts), b""
    known = {start: treatment for start in kinds if (treatment := keyed_treatment(hub, start)) is not None}
    if len(known) < len(kinds):
        end = next(at for at, start in enumerate(starts) if start not in known)
        commands, starts, keys = commands[:end], starts[:end], keys[:end]
        rest = data[sum(map(len, commands)) :]
    if len(commands) < 2:
        return None
    return Found([known[start] for start in starts], commands, starts, keys, rest)


def keyed_treatment(hub: Hub, start: bytes) -> Treatment | None:
    """How commands are treated that begin so; None: they have not one key, are not plain, or are no commands."""
    table = hub.table
    try:
        head = table.heads.get(start) or (table.head(start) if start else None)
    except RemoteProtocolError:
        return None
    treatment: Treatment | None = None if head is None else head.note or hub.treatment(head)
    return treatment if treatment is not None and treatment.plain and treatment.keyed else None


def count_several(
    stats_of: Callable[[str], CommandStats],
    treatments: Sequence[Treatment],
    commands: Sequence[bytes],
    replies: Sequence[bytes],
    took: float,
) -> None:
    """What commands are to the statistics of commands whose replies came together, after ``took`` seconds."""
    counted: dict[Treatment, tuple[int, int, int]] = {}
    for treatment, command, reply in zip(treatments, commands, replies, strict=True):
        count, asked, told = counted.get(treatment, (0, 0, 0))
        counted[treatment] = count + 1, asked + len(command), told + len(reply)
    for treatment, (count, asked, told) in counted.items():
        stats = stats_of(treatment.name)
        stats.request_bytes_total += asked
        stats.answered(count, told, took)


class Several(Receiver):
    """Receives, for a client, the replies to such a pipeline, all of which goes to one server."""

    __slots__ = ("_answered", "_apart", "_commands", "_session", "_since", "_stats_of", "_treatments")
    wants_each = True

    def __init__(self, session: Session, found: Found, stats_of: Callable[[str], CommandStats]) -> None:
        self._session = session
        self._treatments = found.treatments
        self._commands = found.commands
        self._stats_of = stats_of
        self._since = _now()
        self._answered = 0
        """So many of them have their reply."""
        self._apart = False
        """The connection counts them."""

    def replied_each(self, replies: list[bytes]) -> None:
        if not self._apart:
            begin, took = self._answered, _now() - self._since
            self._answered = end = begin + len(replies)
            treatments, commands = self._treatments[begin:end], self._commands[begin:end]
            count_several(self._stats_of, treatments, commands, replies, took)
        self._session.replied(b"".join(replies), len(replies))

    def replied(self, data: bytes, count: int) -> None:
        self._session.replied(data, count)

    def apart(self) -> list[tuple[Treatment, bytes]]:
        self._count_requests()
        self._apart = True
        return list(zip(self._treatments, self._commands, strict=True))[self._answered :]

    def part(self, data: bytes) -> None:
        self._session.part(data)

    def move(self, stream: Stream, size: int) -> bool:
        return self._session.move(stream, size)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        if not self._apart:
            self._count_requests()
        self._session.failed(error, count, sent=sent)

    def broken(self) -> None:
        self._session.broken()

    def _count_requests(self) -> None:
        """Those that have no reply are counted all the same, as they are elsewhere when they are sent."""
        begin = self._answered
        for treatment, command in zip(self._treatments[begin:], self._commands[begin:], strict=True):
            self._stats_of(treatment.name).request_bytes_total += len(command)
