"""Pipelines of a client whose keys are on several servers: one turn in the order of replies for all of a pipeline.

Each server gets its commands in one piece, and what it answers is put back among what the others do by a few calls into
C. That works as long as all replies are short and none is an error, as nearly always. Else the batch is broken up: each
command becomes what it is elsewhere, a `Sent` with a turn of its own.

A pipeline of one command is counted by the connections, as all else is. What commands that differ are to the statistics
of commands is counted here, once for the whole batch (`several` says why).
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING

from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.plugins.redis.router import Single
from l4proxy.plugins.redis.sent import Sent, Turn
from l4proxy.plugins.redis.several import count_several
from l4proxy.protocols.redis.reply import split_replies

if TYPE_CHECKING:
    from l4proxy.plugins.redis.lanes import Movable, Place
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.sent import Joined
    from l4proxy.plugins.redis.stats import CommandStats
    from l4proxy.plugins.redis.target import Shard, Target
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["Batch", "Share"]

_now = time.monotonic
MINUS = ord("-")


class Batch(Turn):
    """A pipeline, or a part of one, and its turn."""

    __slots__ = ("_commands", "_keys", "_shards", "_since", "_start", "_target", "_treatments", "alike", "missing",
                 "session", "shares")  # fmt: skip

    def __init__(
        self,
        client: Receiver,
        session: RoutedSession,
        target: Target,
        start: bytes,
        treatments: Sequence[Treatment],
        commands: Sequence[bytes],
        keys: Sequence[bytes],
        shards: list[Shard],
        alike: bool,
    ) -> None:
        """Of each command, how it is treated, what it is behind ``start``, its key, and where it goes. ``start`` is
        what all of them begin with, or nothing. Does what ``Turn`` does itself: a call less for each pipeline."""
        self.client = client
        self.count = len(commands)
        self.done = self.begun = False
        self.data = b""
        self.parts = self.held = None
        self.size = 0
        self.session = session
        self.alike = alike
        """Its commands have one name, and can be told apart by what they begin with."""
        self._target = target
        self._start = start
        self._treatments = treatments
        self._commands = commands
        self._keys = keys
        self._shards = shards
        self._since = 0.0
        """When it was sent, if its commands are not alike."""
        self.shares: dict[Shard, Share] = {}
        self.missing = 0
        """Servers whose replies are not all there."""

    def divide(self) -> None:
        """Find out who gets what. Raises UpstreamError."""
        divided: defaultdict[Shard, list[bytes]] = defaultdict(list)
        for shard, command in zip(self._shards, self._commands, strict=True):
            divided[shard].append(command)
        reach, target, reads = self.session.reach, self._target, self._treatments[0].command.is_readonly
        self.shares = {shard: Share(self, reach(target, shard, reads), commands) for shard, commands in divided.items()}
        self.missing = len(divided)

    def send(self) -> None:
        start, alike, treatment = self._start, self.alike, self._treatments[0]
        if not alike:
            self._since = _now()
        for share in self.shares.values():
            commands, joined = share.commands, share.joined
            count = len(commands)
            joined.outstanding += count
            if alike:
                joined.link.send(share, treatment, count, start + start.join(commands))
            else:
                joined.link.send_several(share, count, b"".join(commands))

    def finish(self) -> None:
        """All replies are there."""
        following = {shard: iter(share.replies) for shard, share in self.shares.items()}
        self.shares = {}  # they have the batch: so that both are freed now, and not when the collector comes
        replies = [next(following[shard]) for shard in self._shards]
        if not self.alike:
            count_several(self._stats_of, self._treatments, self._commands, replies, _now() - self._since)
        self.session.answer(self, b"".join(replies))

    def answered(self, treatment: Treatment, size: int) -> None:
        """One of its commands, which differ, has been answered by itself, with so many bytes."""
        self._stats_of(treatment.name).answered(1, size, _now() - self._since)

    def _stats_of(self, command: str) -> CommandStats:
        return self.session.hub.pools.command_stats(self._target.name, command)

    def under_way(self, place: Place, refused: Movable) -> list[Movable]:
        if self._target is not place[0]:
            return []
        turns = self.break_up()
        return [one for turn in turns if not turn.done for one in turn.under_way(place, refused)]

    def break_up(self) -> list[Turn]:
        """From now on, each command has a turn of its own: these."""
        session = self.session
        turns = [Turn(self.client) for _ in self._shards]
        session.replace(self, turns)
        shares, self.shares = self.shares, {}
        replies = {shard: iter(share.replies) for shard, share in shares.items()}
        waiting: dict[Shard, deque[Sent]] = {}
        for shard, share in shares.items():
            share.sent = waiting[shard] = deque()
        answered: list[tuple[Turn, bytes]] = []
        for turn, treatment, rest, key, shard in zip(
            turns, self._treatments, self._commands, self._keys, self._shards, strict=True
        ):
            share, command, reply = shares[shard], self._start + rest, next(replies[shard], None)
            if share.counts:
                self._stats_of(treatment.name).request_bytes_total += len(command)
            if reply is not None:
                answered.append((turn, reply))
                if share.counts:
                    self.answered(treatment, len(reply))
                continue
            single = Single(self._target, shard, command, key, treatment.command.is_readonly)
            one = Sent(session, single, treatment, turn, joined=share.joined)
            turn.movables = [one]
            waiting[shard].append(one)
        for turn, reply in answered:
            session.answer(turn, reply)
        return turns


class Share(Receiver):
    """The commands of a batch that one server gets, and the receiver of their replies."""

    __slots__ = ("_batch", "commands", "counts", "joined", "replies", "sent")
    wants_each = True

    def __init__(self, batch: Batch, joined: Joined, commands: list[bytes]) -> None:
        self._batch = batch
        self.joined = joined
        self.commands = commands
        """Without what all of the batch begin with."""
        self.counts = not batch.alike
        """They differ, and are counted by the batch."""
        self.replies: list[bytes] = []
        """Those that are there."""
        self.sent: deque[Sent] | None = None
        """Those that wait for a reply, once the batch is broken up."""

    def replied_each(self, replies: list[bytes]) -> None:
        if self.sent is not None:
            for reply in replies:
                one = self.sent.popleft()
                if self.counts:
                    self._batch.answered(one.treatment, len(reply))
                one.replied(reply, 1)
            return
        self.joined.outstanding -= len(replies)
        self.replies += replies
        if len(self.replies) == len(self.commands):
            batch = self._batch
            batch.missing -= 1
            if not batch.missing:
                batch.finish()

    def replied(self, data: bytes, count: int) -> None:
        replies = split_replies(data, count) if count > 1 else [data]
        if any(reply[0] == MINUS for reply in replies):
            self._each()
        self.replied_each(replies)

    def part(self, data: bytes) -> None:
        self._each()[0].part(data)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        waiting = self._each()
        for _ in repeat(None, count):
            waiting.popleft().failed(error, 1, sent=sent)

    def apart(self) -> list[tuple[Treatment, bytes]]:
        waiting = self._each()
        self.counts = False
        return [(one.treatment, one.single.command) for one in waiting]

    def broken(self) -> None:
        self._batch.session.broken()

    def _each(self) -> deque[Sent]:
        if self.sent is None:
            self._batch.break_up()
        assert self.sent is not None
        return self.sent
