"""Commands with one key each, of a client whose keys are on several servers: the fast path.

Nearly always such a command is sent to where its key is, and what comes back is the reply. So that is all that is done
here: one object for a command that comes by itself (`Keyed`); for a pipeline, be it of one command or of many, one for
all of it and one for each server that has some of its keys (`batch`). Commands, keys and servers are lists, made and
divided by a few calls into C.

Whatever is not nearly always (a server that sends a command elsewhere, any other error, a long reply, a lost
connection) makes of each command concerned what it is elsewhere: a `Sent` with a turn of its own, which knows what to
do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.batch import Batch
from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.plugins.redis.router import Single
from l4proxy.plugins.redis.sent import Sent, Turn
from l4proxy.plugins.redis.several import find_several, keyed_treatment
from l4proxy.protocols.redis.request import split_run, whole_run
from l4proxy.protocols.redis.slots import hash_tags

if TYPE_CHECKING:
    from l4proxy.plugins.redis.lanes import Movable, Place
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.sent import Joined
    from l4proxy.plugins.redis.session import Task
    from l4proxy.plugins.redis.target import Shard, Target
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["send_by_key", "send_pipeline"]

MINUS = ord("-")
LONGEST_BATCH = 128
"""Commands whose replies a client gets together, when all of them are there."""


def send_by_key(session: RoutedSession, receiver: Receiver, treatment: Treatment, target: Target, run: Task) -> bytes:
    """Send commands that have one key, as their first argument, to the servers of ``target``. Return those that were
    not sent, because some key has no server just now: all, or the last ones."""
    head, count, data = run[0], run[1], run[2]
    if count > 1:
        rests, keys = split_run(head, data)
        return _send(session, receiver, target, data, head.start, [treatment] * count, rests, keys, alike=True)
    reads = treatment.command.is_readonly
    at = len(head.start) + 1
    line_end = data.index(b"\r\n", at)
    key = data[line_end + 2 : line_end + 2 + int(data[at:line_end])]
    try:
        shard = target.shard(key)
        joined = session.reach(target, shard, reads)
    except UpstreamError:
        return data
    keyed = Keyed(receiver, session, treatment, joined, (target, shard, data, key, reads))
    session.queue(keyed)
    joined.outstanding += 1
    joined.link.send(keyed, treatment, 1, data)
    return b""


def send_pipeline(session: RoutedSession, target: Target, data: bytes) -> bytes:
    """The same for the commands of whatever names that ``data`` begins with. Return what is left to be treated in other
    ways: all behind the first one that is not whole, or not such."""
    run = whole_run(session.hub.table.heads, data)
    if run is not None:
        head, count = run
        treatment = keyed_treatment(session.hub, head.start)
        if treatment is None or count == 1:
            return data
        rests, first = split_run(head, data)
        return _send(session, session, target, data, head.start, [treatment] * count, rests, first, alike=True)
    found = find_several(session.hub, data)
    if found is None:
        return data
    treatments, commands, starts, keys, rest = found
    if not target.reads_from_primary and len({one.command.is_readonly for one in treatments}) > 1:
        return data
    # Else they are no run: ``LPUSH *3 LPUSH``.
    alike = data.count(starts[0]) == len(starts) and len(set(starts)) == 1
    return _send(session, session, target, data, b"", treatments, commands, keys, alike=alike) + rest


def _send(
    session: RoutedSession,
    receiver: Receiver,
    target: Target,
    data: bytes,
    start: bytes,
    treatments: Sequence[Treatment],
    commands: Sequence[bytes],
    keys: Sequence[bytes],
    *,
    alike: bool,
) -> bytes:
    """``commands`` are without ``start``, with which all begin where they are a run; ``data`` has all of them.
    ``alike``: they could be a run."""
    if len(commands) > LONGEST_BATCH:
        for begin in range(0, len(commands), LONGEST_BATCH):
            part = slice(begin, begin + LONGEST_BATCH)
            if _send(session, receiver, target, data, start, treatments[part], commands[part], keys[part], alike=alike):
                return start + start.join(commands[begin:])
        return b""
    try:
        shards = target.shards_of(hash_tags(keys, data))
        batch = Batch(receiver, session, target, start, treatments, commands, keys, shards, alike)
        batch.divide()
    except UpstreamError:
        return start + start.join(commands)
    session.queue(batch)
    batch.send()
    return b""


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
