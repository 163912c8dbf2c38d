"""Commands with one key each, of a client whose keys are on several servers: the fast path.

Nearly always such a command is sent to where its key is, and what comes back is the reply. So that is all that is done
here: one object for a command that comes by itself (`Keyed`); for a pipeline of one command, one for all of it
(`Batch`, a single turn in the order of replies) and one for each server that has some of its keys (`Share`). Their
keys, servers and replies are lists, made, divided and put together again by a few calls into C.

Whatever is not nearly always (a server that sends a command elsewhere, any other error, a long reply, a lost
connection) makes of each command concerned what it is elsewhere: a `Sent` with a turn of its own, which knows what to
do.
"""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import repeat
from typing import TYPE_CHECKING

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.plugins.redis.router import Single
from l4proxy.plugins.redis.sent import Sent, Turn
from l4proxy.protocols.redis.reply import split_replies
from l4proxy.protocols.redis.slots import hash_tags

if TYPE_CHECKING:
    from l4proxy.plugins.redis.lanes import Movable, Place
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.sent import Joined
    from l4proxy.plugins.redis.session import Task
    from l4proxy.plugins.redis.target import Shard, Target
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["send_by_key"]

MINUS = ord("-")
LONGEST_BATCH = 128
"""Commands whose replies a client gets together, when all of them are there."""


def send_by_key(session: RoutedSession, receiver: Receiver, treatment: Treatment, target: Target, run: Task) -> bool:
    """Send commands that have one key, as their first argument, to the servers of ``target``. False: nothing was sent,
    because some key has no server just now."""
    head, count, data = run[0], run[1], run[2]
    reads = treatment.command.is_readonly
    if count == 1:
        at = len(head.start) + 1
        line_end = data.index(b"\r\n", at)
        key = data[line_end + 2 : line_end + 2 + int(data[at:line_end])]
        try:
            shard = target.shard(key)
            joined = session.reach(target, shard, reads)
        except UpstreamError:
            return False
        keyed = Keyed(receiver, session, treatment, joined, (target, shard, data, key, reads))
        session.queue(keyed)
        joined.outstanding += 1
        joined.link.send(keyed, treatment, 1, data)
        return True
    commands = data.split(head.start)
    del commands[0]
    keys = b"".join(commands).split(b"\r\n")[1 :: 2 * (head.argc - 1)]  # arguments of a run have no CR
    batches: list[Batch] = []
    try:
        shards = target.shards_of(hash_tags(keys, data))
        for begin in range(0, count, LONGEST_BATCH):
            end = begin + LONGEST_BATCH
            batch = Batch(receiver, session, treatment, head.start, target)
            batch.divide(commands[begin:end], shards[begin:end])
            batches.append(batch)
    except UpstreamError:
        return False
    for batch in batches:
        session.queue(batch)
        batch.send()
    return True


class Keyed(Turn, Receiver):
    """One command, its turn, and the receiver of its reply."""

    __slots__ = ("_joined", "_session", "_single", "_treatment")

    def __init__(
        self,
        client: Receiver,
        session: RoutedSession,
        treatment: Treatment,
        joined: Joined,
        single: tuple[Target, Shard, bytes, bytes, bool],
    ) -> None:
        """``single`` is what a `Single` is made of. Does what ``Turn`` does itself: a call less for each command."""
        self.client = client
        self.count = 1
        self.done = self.begun = False
        self.data = b""
        self.parts = self.held = None
        self.size = 0
        self._session = session
        self._treatment = treatment
        self._joined = joined
        self._single = single

    def replied(self, data: bytes, count: int) -> None:
        if data[0] == MINUS and not self.begun:
            self._sent().replied(data, count)
        else:
            self._joined.outstanding -= 1
            self._session.answer(self, data)

    def replied_each(self, replies: list[bytes]) -> None:
        self._joined.outstanding -= 1
        self._session.answer(self, replies[0])

    def part(self, data: bytes) -> None:
        self._session.turn_part(self, data, self._joined.link)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self._sent().failed(error, count, sent=sent)

    def broken(self) -> None:
        self._session.broken()

    def under_way(self, place: Place, refused: Movable) -> list[Movable]:
        if refused.turn is self:
            return [refused]
        alike = self._session.lanes.alike
        if self not in alike:
            sent = self._sent()
            if sent.place != place:
                return []
            alike[self] = sent
        return [alike[self]] if alike[self].place == place else []

    def _sent(self) -> Sent:
        alike = self._session.lanes.alike.pop(self, None)
        return alike or Sent(self._session, Single(*self._single), self._treatment, self, joined=self._joined)


class Batch(Turn):
    """A pipeline of one command, and its turn."""

    __slots__ = ("_shards", "_start", "_target", "_treatment", "missing", "session", "shares")

    def __init__(
        self, client: Receiver, session: RoutedSession, treatment: Treatment, start: bytes, target: Target
    ) -> None:
        super().__init__(client)
        self.session = session
        self._treatment = treatment
        self._start = start
        self._target = target
        self._shards: list[Shard] = []
        """Where each command goes."""
        self.shares: dict[Shard, Share] = {}
        self.missing = 0
        """Servers whose replies are not all there."""

    def divide(self, commands: list[bytes], shards: list[Shard]) -> None:
        """Raises UpstreamError."""
        self.count = len(commands)
        self._shards = shards
        divided: defaultdict[Shard, list[bytes]] = defaultdict(list)
        for shard, command in zip(shards, commands, strict=True):
            divided[shard].append(command)
        reach, target, reads = self.session.reach, self._target, self._treatment.command.is_readonly
        for shard, those in divided.items():
            self.shares[shard] = Share(self, reach(target, shard, reads), those)
        self.missing = len(divided)

    def send(self) -> None:
        start, treatment = self._start, self._treatment
        for share in self.shares.values():
            commands = share.commands
            count = len(commands)
            share.joined.outstanding += count
            share.joined.link.send(share, treatment, count, start + start.join(commands))

    def finish(self) -> None:
        """All replies are there."""
        following = {shard: iter(share.replies) for shard, share in self.shares.items()}
        self.shares = {}  # they have the batch: so that both are freed now, and not when the collector comes
        self.session.answer(self, b"".join(map(next, map(following.__getitem__, self._shards))))

    def under_way(self, place: Place, refused: Movable) -> list[Movable]:
        if self._target is not place[0]:
            return []
        turns = self.break_up()
        return [one for turn in turns if not turn.done for one in turn.under_way(place, refused)]

    def break_up(self) -> list[Turn]:
        """From now on, each command has a turn of its own: these."""
        session, reads = self.session, self._treatment.command.is_readonly
        turns = [Turn(self.client) for _ in self._shards]
        session.replace(self, turns)
        shares, self.shares = self.shares, {}
        of_share: dict[Shard, list[Turn]] = {shard: [] for shard in shares}
        for shard, turn in zip(self._shards, turns, strict=True):
            of_share[shard].append(turn)
        for shard, share in shares.items():
            replies = share.replies
            share.sent = deque(
                Sent(
                    session,
                    Single(self._target, shard, command, _key_of(rest), reads),
                    self._treatment,
                    turn,
                    joined=share.joined,
                )
                for turn, rest in list(zip(of_share[shard], share.commands, strict=True))[len(replies) :]
                for command in (self._start + rest,)
            )
            for turn, one in zip(of_share[shard][len(replies) :], share.sent, strict=True):
                turn.movables = [one]
            for turn, reply in zip(of_share[shard], replies, strict=False):
                session.answer(turn, reply)
        return turns


def _key_of(rest: bytes) -> bytes:
    """The first argument of what follows a command's name, one without CR."""
    return rest.split(b"\r\n", 2)[1]


class Share(Receiver):
    """The commands of a batch that one server gets, and the receiver of their replies."""

    __slots__ = ("_batch", "commands", "joined", "replies", "sent")
    wants_each = True

    def __init__(self, batch: Batch, joined: Joined, commands: list[bytes]) -> None:
        self._batch = batch
        self.joined = joined
        self.commands = commands
        """Without what all of them begin with."""
        self.replies: list[bytes] = []
        """Those that are there."""
        self.sent: deque[Sent] | None = None
        """Those that wait for a reply, once the batch is broken up."""

    def replied_each(self, replies: list[bytes]) -> None:
        if self.sent is None:
            self.joined.outstanding -= len(replies)
            self.replies += replies
            if len(self.replies) == len(self.commands):
                batch = self._batch
                batch.missing -= 1
                if not batch.missing:
                    batch.finish()
        else:
            for reply in replies:
                self.sent.popleft().replied(reply, 1)

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

    def broken(self) -> None:
        self._batch.session.broken()

    def _each(self) -> deque[Sent]:
        if self.sent is None:
            self._batch.break_up()
        assert self.sent is not None
        return self.sent
