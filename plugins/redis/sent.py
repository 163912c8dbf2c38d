"""Commands of a client whose servers are several, on their way to one of them, to several, or as a block; and the turns
that they have in the order of replies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.lanes import Movable
from l4proxy.plugins.redis.receivers import NOBODY, Receiver
from l4proxy.plugins.redis.replies import (
    DISTRUST,
    MOVED_AWAY,
    NOT_SETTLED,
    UNREADABLE,
    is_refusal,
    of_upstream_error,
)
from l4proxy.plugins.redis.target import Advice
from l4proxy.protocols.redis.reply import split_replies
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.topology import redirection
from l4proxy.protocols.redis.values import Value, decode, encode

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.lanes import Place
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.router import Scatter, Single
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["ASKING", "MAX_TRIES", "Block", "Gather", "Joined", "Sent", "Turn",
           "tries_for"]  # fmt: skip

ASKING = encode_command(b"ASKING")
MAX_TRIES = 6
"""So often, at most, a command is sent again, where servers say that it belongs elsewhere, or that they cannot do it
just now."""
DISTRUST_TRIES = 2
"""Of these, for a server with a wrong certificate: by then it was asked again which servers there are, and by which
names. Nothing else will change soon, and clients should hear why before they lose patience."""


def tries_for(error: bytes) -> int:
    """How often a command is sent again to a server that cannot be reached for this reason."""
    if is_refusal(error):
        return 0
    return DISTRUST_TRIES if error in DISTRUST else MAX_TRIES


class Joined:
    """A shared connection that a client sends to."""

    __slots__ = ("link", "outstanding")

    def __init__(self, link: SharedConnection) -> None:
        self.link = link
        self.outstanding = 0


class Turn:
    """The place of a command, or of several in a row, in the order of replies. ``client`` is who gets the reply when it
    is its turn."""

    __slots__ = ("begun", "client", "count", "data", "done", "held", "movables", "parts", "size")

    def __init__(self, client: Receiver) -> None:
        self.client = client
        self.count = 1
        self.done = False
        self.begun = False
        """A part of its reply has come."""
        self.data = b""
        self.parts: list[bytes] | None = None
        """The beginning of a long reply, until it is its turn."""
        self.size = 0
        self.held: SharedConnection | None = None
        """What is not read on before it is."""
        self.movables: list[Movable] = []
        """What it consists of, where that may have to be sent again."""

    def take(self, movable: Sent | Block) -> None:
        """Its reply belongs to this turn."""
        self.movables.append(movable)
        movable.send()

    def under_way(self, place: Place, refused: Movable) -> list[Movable]:
        """Those of its commands that are for that place, were sent, and have no reply; and the one that was refused."""
        return [one for one in self.movables if one is refused or (one.joined is not None and one.place == place)]


class Sent(Movable):
    """One command on its way to a server: receives its reply, and sends it elsewhere where that is what it says."""

    __slots__ = ("_done", "_parts", "_refusal", "treatment")

    def __init__(
        self,
        session: RoutedSession,
        single: Single,
        treatment: Treatment,
        turn: Turn,
        done: Callable[[bytes], None] | None = None,
        joined: Joined | None = None,
    ) -> None:
        """The reply is that to the command of ``turn``; or it is a part of that, and ``done`` is given it, whole.
        ``joined``: it is under way there already."""
        super().__init__(session, single, turn, joined)
        self.treatment = treatment
        self._done = done
        self._parts: list[bytes] = []
        self._refusal = b""
        """What it is answered with if it cannot be sent again."""

    def send(self) -> None:
        """To whichever server of its shard may answer it."""
        single, session = self.single, self.session
        try:
            if session.lanes.holds(self):
                return
            endpoint, replica = single.shard.primary, False
            if single.reads:
                endpoint, replica = single.target.node(single.shard, session.id)
            self._send_to(endpoint, replica=replica)
        except UpstreamError as error:
            self._finish(of_upstream_error(error))

    def send_again(self) -> None:
        try:
            self.single = self.session.hub.router.again(self.single)
        except UpstreamError as error:
            self._refused(Advice(), of_upstream_error(error))
        else:
            self.send()

    def send_advised(self) -> None:
        assert self.advice is not None
        try:
            self._send_to(self.advice.endpoint, asking=self.advice.asking)
        except UpstreamError as error:
            self._finish(of_upstream_error(error))

    def give_up(self) -> None:
        self._finish(self._refusal)

    def _send_to(self, endpoint: Endpoint | None, *, replica: bool = False, asking: bool = False) -> None:
        """Raises UpstreamError."""
        session = self.session
        joined = self.joined = session.join(self.single.target, endpoint, replica=replica)
        joined.outstanding += 1
        if asking:
            joined.link.send(NOBODY, session.hub.asking, 1, ASKING)
        joined.link.send(self, self.treatment, 1, self.single.command)

    def _refused(self, advice: Advice, refusal: bytes) -> None:
        """It was not done, and is sent again if it may be; ``refusal`` is the reply else."""
        if self.tries >= MAX_TRIES or self.session.closing:
            self._finish(refusal)
            return
        self.tries += 1
        self.advice, self._refusal = advice, refusal
        self.session.lanes.refused(self)

    def replied(self, data: bytes, count: int) -> None:
        by = self._left()
        if data[:1] == b"-" and not self._begun:
            advice = self.single.target.advice(data, by)
            if advice is not None:
                self._refused(advice, data if advice.endpoint is None else NOT_SETTLED)
                return
        self._finish(data)

    def part(self, data: bytes) -> None:
        if self._done is None and self.joined is not None:
            self.session.turn_part(self.turn, data, self.joined.link)
        else:
            self._parts.append(data)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        """What the server cannot have done, or what changes nothing, may be asked again."""
        target, by = self.single.target, self._left()
        if by is not None and not is_refusal(error):
            target.lost(by)
        in_vain = self.tries >= tries_for(error)
        if target.may_move and (self.single.reads or not sent) and not self._begun and not in_vain:
            self._refused(Advice(), error)
        else:
            self._finish(error)

    def broken(self) -> None:
        self.session.broken()

    @property
    def _begun(self) -> bool:
        """A part of its reply has come."""
        return bool(self._parts) or (self._done is None and self.turn.begun)

    def _left(self) -> Endpoint | None:
        """It is not under way any more. Return the server that it was sent to."""
        joined, self.joined = self.joined, None
        if joined is None:
            return None
        joined.outstanding -= 1
        return joined.link.endpoint

    def _finish(self, data: bytes) -> None:
        if self._done is not None:
            self._done(b"".join([*self._parts, data]) if self._parts else data)
        else:
            self.session.answer(self.turn, data)


class Gather:
    """Several commands that have one turn, until all their replies are there."""

    def __init__(self, session: RoutedSession, turn: Turn, plan: Scatter, treatment: Treatment) -> None:
        self._session = session
        self._turn = turn
        self._merge = plan.merge
        self._replies: list[Value] = [None] * len(plan.commands)
        self._missing = len(plan.commands)
        for at, single in enumerate(plan.commands):
            turn.take(Sent(session, single, treatment, turn, partial(self._done, at)))
        if plan.replicas:
            self._tell_replicas(plan, treatment)

    def _tell_replicas(self, plan: Scatter, treatment: Treatment) -> None:
        """What is for all nodes is for replicas, too. What they answer adds nothing, and is not waited for."""
        for single in plan.commands:
            for replica in single.shard.replicas:
                with contextlib.suppress(UpstreamError):
                    joined = self._session.join(single.target, replica, replica=True)
                    joined.link.send(NOBODY, treatment, 1, single.command)

    def _done(self, at: int, data: bytes) -> None:
        try:
            self._replies[at] = decode(data)[0]
        except RemoteProtocolError:
            self._replies[at] = decode(UNREADABLE)[0]
        self._missing -= 1
        if not self._missing:
            value = self._merge(self._replies)
            self._session.answer(self._turn, encode(value, self._session.identity.protocol))


class Block(Movable):
    """A whole transaction, sent in one piece to the one server that has its keys. Where that says that they are
    elsewhere it has done nothing, and all of it is sent there."""

    __slots__ = ("_block", "_count", "_data", "_turns", "_unsent")

    def __init__(
        self, session: RoutedSession, one: Single, turns: list[Turn], block: list[tuple[Treatment, bytes]]
    ) -> None:
        super().__init__(session, one, turns[0])
        self._turns = turns
        self._block = block
        self._data = b""
        self._count = 0
        self._unsent = 0
        """How many of its commands no server can have done."""

    @property
    def reads(self) -> bool:
        return False

    @property
    def keys(self) -> set[bytes]:
        return set().union(*(self.session.hub.router.keys(command) for _, command in self._block))

    def send(self) -> None:
        try:
            if not self.session.lanes.holds(self):
                self._send_to(self.single.shard.primary)
        except UpstreamError as error:
            self._unserved(of_upstream_error(error))

    def send_again(self) -> None:
        try:
            self.single = self.session.hub.router.again(self.single)
        except UpstreamError as error:
            self._unserved(of_upstream_error(error))
        else:
            self.send()

    def _unserved(self, error: bytes) -> None:
        """There is nobody to send it to."""
        self.tries += 1
        self._count = self._unsent = len(self._block)
        self._data = error * self._count
        self._answered(None)

    def send_advised(self) -> None:
        assert self.advice is not None
        try:
            self._send_to(self.advice.endpoint)
        except UpstreamError:
            self.give_up()

    def give_up(self) -> None:
        self._answer(split_replies(self._data, self._count))

    def _send_to(self, endpoint: Endpoint | None) -> None:
        """Raises UpstreamError."""
        joined = self.joined = self.session.join(self.single.target, endpoint)
        self.tries += 1
        self._data, self._count, self._unsent = b"", 0, 0
        joined.outstanding += len(self._block)
        for treatment, command in self._block:
            joined.link.send(self, treatment, 1, command)

    def replied(self, data: bytes, count: int) -> None:
        joined = self.joined
        assert joined is not None
        joined.outstanding -= count
        self._data += data
        self._count += count
        if self._count < len(self._block):
            return
        self.joined = None
        self._answered(joined.link.endpoint)

    def _answered(self, by: Endpoint | None) -> None:
        """By a server, or by nobody."""
        replies = split_replies(self._data, self._count)
        self.advice = self._goes_elsewhere(replies, by)
        if self.advice is not None:
            self.session.lanes.refused(self)
        else:
            self._answer(replies)

    def _answer(self, replies: list[bytes]) -> None:
        for turn, reply in zip(self._turns, replies, strict=True):
            self.session.answer(turn, MOVED_AWAY if redirection(reply) is not None else reply)

    def part(self, data: bytes) -> None:
        self._data += data

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self._unsent += 0 if sent else count
        self.replied(error * count, count)

    def broken(self) -> None:
        self.session.broken()

    def _goes_elsewhere(self, replies: list[bytes], by: Endpoint | None) -> Advice | None:
        target = self.single.target
        if self._unsent == len(self._block):
            if by is not None:
                target.lost(by)
            again = target.may_move and self.tries < tries_for(replies[0]) and not self.session.closing
            return Advice() if again else None
        moved = next((reply for reply in replies if reply.startswith(b"-MOVED")), None)
        if moved is None or self.tries >= MAX_TRIES or not replies[-1].startswith(b"-EXECABORT"):
            return None
        advice = target.advice(moved, by)
        return advice if advice is not None and advice.endpoint is not None else None
