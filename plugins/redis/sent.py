"""Commands of a client whose servers are several, on their way to one of them, to several, or as a block; and the turns
that they have in the order of replies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.receivers import NOBODY, Receiver
from l4proxy.plugins.redis.replies import MOVED_AWAY, NOT_SETTLED, UNREADABLE, of_upstream_error
from l4proxy.plugins.redis.target import Advice
from l4proxy.protocols.redis.reply import split_replies
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.topology import redirection
from l4proxy.protocols.redis.values import Value, decode, encode

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.lanes import Lane
    from l4proxy.plugins.redis.routed import RoutedSession
    from l4proxy.plugins.redis.router import Scatter, Single
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["ASKING", "MAX_TRIES", "PAUSE", "Block", "Gather", "Joined", "Sent", "Turn"]

ASKING = encode_command(b"ASKING")
MAX_TRIES = 6
"""So often a command is sent, where servers say that it belongs elsewhere, or that they cannot do it just now."""
PAUSE = 0.1
"""Seconds until a command is sent again that a server could not do just now, the first time; then twice that, and so
on."""


class Joined:
    """A shared connection that a client sends to."""

    __slots__ = ("link", "outstanding")

    def __init__(self, link: SharedConnection) -> None:
        self.link = link
        self.outstanding = 0


class Turn:
    """The place of a command, or of several in a row, in the order of replies. ``client`` is who gets the reply when it
    is its turn."""

    __slots__ = ("begun", "client", "count", "data", "done", "held", "parts", "size")

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


class Sent(Receiver):
    """One command on its way to a server: receives its reply, and sends it elsewhere where that is what it says."""

    __slots__ = ("_done", "_joined", "_parts", "_session", "_treatment", "_tries", "_turn", "lane", "single")

    def __init__(
        self,
        session: RoutedSession,
        single: Single,
        treatment: Treatment,
        turn: Turn | None = None,
        done: Callable[[bytes], None] | None = None,
        joined: Joined | None = None,
    ) -> None:
        """The reply is that to the command of ``turn``; or ``done`` is given it, whole. ``joined``: it is under way
        there already."""
        self.single = single
        self.lane: Lane | None = None
        self._session = session
        self._treatment = treatment
        self._done = done
        self._turn = turn
        self._tries = 0
        self._parts: list[bytes] = []
        self._joined = joined

    def send(self) -> None:
        """To whichever server of its shard may answer it."""
        single, session = self.single, self._session
        if session.lanes.lanes and session.lanes.holds(self):
            return
        try:
            endpoint, replica = single.shard.primary, False
            if single.reads:
                endpoint, replica = single.target.node(single.shard, session.conn.id)
            self._send_to(endpoint, replica=replica)
        except UpstreamError as error:
            self._finish(of_upstream_error(error))

    def send_again(self) -> None:
        """Where its key is may have changed."""
        try:
            self.single = self._session.hub.router.again(self.single)
        except UpstreamError as error:
            if self._tries < MAX_TRIES and not self._session.closing:
                self._try_again(Advice())
            else:
                self._finish(of_upstream_error(error))
        else:
            self.send()

    def _send_to(self, endpoint: Endpoint | None, *, replica: bool = False, asking: bool = False) -> None:
        """Raises UpstreamError."""
        session = self._session
        joined = self._joined = session.join(self.single.target, endpoint, replica=replica)
        joined.outstanding += 1
        if asking:
            joined.link.send(NOBODY, session.hub.asking, 1, ASKING)
        joined.link.send(self, self._treatment, 1, self.single.command)

    def _try_again(self, advice: Advice) -> None:
        """As a server has advised, or after a pause; behind others of the client that were sent elsewhere before."""
        self._tries += 1
        if not self._session.lanes.enter(self, advice.endpoint):
            return
        if advice.endpoint is None:
            self._session.hub.timers.call_later(PAUSE * 2 ** (self._tries - 1), self.send_again)
            return
        try:
            self._send_to(advice.endpoint, asking=advice.asking)
        except UpstreamError as error:
            self._finish(of_upstream_error(error))

    def replied(self, data: bytes, count: int) -> None:
        by = self._left()
        if data[:1] != b"-" or self._begun:
            self._finish(data)
            return
        advice = self.single.target.advice(data, by)
        if advice is not None and self._tries < MAX_TRIES and not self._session.closing:
            self._try_again(advice)
        else:
            self._finish(NOT_SETTLED if advice is not None and advice.endpoint is not None else data)

    def part(self, data: bytes) -> None:
        if self._turn is not None and self._joined is not None:
            self._session.turn_part(self._turn, data, self._joined.link)
        else:
            self._parts.append(data)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        """What the server cannot have done, or what changes nothing, may be asked again."""
        target, by = self.single.target, self._left()
        if by is not None:
            target.lost(by)
        may_be_asked_again = target.may_move and (self.single.reads or not sent) and not self._begun
        if may_be_asked_again and self._tries < MAX_TRIES and not self._session.closing:
            self._try_again(Advice())
        else:
            self._finish(error)

    def broken(self) -> None:
        self._session.broken()

    @property
    def _begun(self) -> bool:
        """A part of its reply has come."""
        return bool(self._parts or (self._turn is not None and self._turn.begun))

    def _left(self) -> Endpoint | None:
        """It is not under way any more. Return the server that it was sent to."""
        joined = self._joined
        if joined is None:
            return None
        joined.outstanding -= 1
        return joined.link.endpoint

    def _finish(self, data: bytes) -> None:
        if self.lane is not None:
            self._session.lanes.leave(self)
        if self._done is not None:
            self._done(b"".join([*self._parts, data]) if self._parts else data)
        elif self._turn is not None:
            self._session.answer(self._turn, data)


class Gather:
    """Several commands that have one turn, until all their replies are there."""

    def __init__(self, session: RoutedSession, turn: Turn, plan: Scatter, treatment: Treatment) -> None:
        self._session = session
        self._turn = turn
        self._merge = plan.merge
        self._replies: list[Value] = [None] * len(plan.commands)
        self._missing = len(plan.commands)
        for at, single in enumerate(plan.commands):
            Sent(session, single, treatment, done=partial(self._done, at)).send()
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


class Block(Receiver):
    """A whole transaction, sent in one piece to the one server that has its keys. Where that says that they are
    elsewhere it has done nothing, and all of it is sent there."""

    __slots__ = ("_block", "_count", "_data", "_joined", "_one", "_session", "_tries", "_turns")

    def __init__(
        self, session: RoutedSession, one: Single, turns: list[Turn], block: list[tuple[Treatment, bytes]]
    ) -> None:
        self._session = session
        self._one = one
        self._turns = turns
        self._block = block
        self._tries = 0
        self._data = b""
        self._count = 0

    def send(self, endpoint: Endpoint | None) -> None:
        """Raises UpstreamError."""
        self._joined = joined = self._session.join(self._one.target, endpoint)
        self._tries += 1
        self._data, self._count = b"", 0
        joined.outstanding += len(self._block)
        for treatment, command in self._block:
            joined.link.send(self, treatment, 1, command)

    def replied(self, data: bytes, count: int) -> None:
        self._joined.outstanding -= count
        self._data += data
        self._count += count
        if self._count < len(self._block):
            return
        replies = split_replies(self._data, self._count)
        if not self._goes_elsewhere(replies):
            for turn, reply in zip(self._turns, replies, strict=True):
                self._session.answer(turn, MOVED_AWAY if redirection(reply) is not None else reply)

    def part(self, data: bytes) -> None:
        self._data += data

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self.replied(error * count, count)

    def broken(self) -> None:
        self._session.broken()

    def _goes_elsewhere(self, replies: list[bytes]) -> bool:
        moved = next((reply for reply in replies if reply.startswith(b"-MOVED")), None)
        if moved is None or self._tries >= MAX_TRIES or not replies[-1].startswith(b"-EXECABORT"):
            return False
        advice = self._one.target.advice(moved, self._joined.link.endpoint)
        if advice is None or advice.endpoint is None:
            return False
        try:
            self.send(advice.endpoint)
        except UpstreamError:
            return False
        return True
