"""A connection of the client's own: what it sends there, and what it hears from there.

Whoever has one sends there whatever comes, and waits for nothing: the server keeps the order, and knows what its client
is in the middle of. Only what the proxy itself does or answers waits until all replies are there (`send_to_own`).

What comes on it is for the client as it is. Replies are those to `Asked`, as on the connection that subscriptions may
have to themselves (``subscriptions``): whether the client wants one, and whether message filters do, is found out here
for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.plugins.redis.asked import SUBSCRIPTIONS, answers_to
from l4proxy.plugins.redis.change import CHANGES, Change, change_of
from l4proxy.plugins.redis.client_command import STAYS, cannot_be_told, reply_mode
from l4proxy.plugins.redis.replies import NO_HELLO_NOW, NO_PASSWORD
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import arguments

if TYPE_CHECKING:
    from l4proxy.plugins.redis.asked import Asked
    from l4proxy.plugins.redis.dedicated import DedicatedConnection
    from l4proxy.plugins.redis.session import Session, Task
    from l4proxy.stream import Stream

__all__ = ["OwnReplies", "give_errors", "give_reply", "send_to_own"]


def send_to_own(session: Session, own: DedicatedConnection, treatment: Treatment, run: Task) -> bool:
    """Send the command that is next to the client's own connection, or do without it. False: not before all replies are
    there."""
    head, count, data = run[:3]
    role = treatment.role
    if not count:
        own.send_part(data)
    elif role in (Role.QUIT, Role.RESET, Role.REFUSED) or _is_ours(session, own, treatment, data):
        if own.waiting:
            return False
        if role in (Role.QUIT, Role.RESET):
            session.drop_own()  # what it was in the middle of is over
        elif role is Role.CLIENT and own.subscribed and session.identity.protocol == 2:
            own.send(treatment, data, task=run)  # the server does not take it from who has subscribed
            session.done()
        else:
            session.handlers[role](session, treatment, run)
        return True
    elif role in SUBSCRIPTIONS:
        own.send(treatment, data, answers_to(treatment, head.argc), task=run)
    elif role in CHANGES:
        return _change_own(session, own, treatment, run)
    elif role is Role.CLIENT:
        own.send(treatment, data, 1, _client_effect(session, own, data), task=run, silent=session.skip)
    else:
        own.send(treatment, data, count, task=run, silent=session.skip)
    session.skip = False
    session.done()
    return True


def _is_ours(session: Session, own: DedicatedConnection, treatment: Treatment, data: bytes) -> bool:
    """``CLIENT REPLY`` is: what the server does not send could not be told from what is lost. It can be asked for
    ``ON``, which changes nothing there, and is one of the commands of a transaction."""
    if treatment.role is not Role.CLIENT:
        return False
    words = arguments(data)
    mode = reply_mode(words)
    if mode == b"ON" and own.multi and not session.mute:
        return False
    return bool(mode) or cannot_be_told(session, words)


def _change_own(session: Session, own: DedicatedConnection, treatment: Treatment, run: Task) -> bool:
    if own.waiting:
        return False  # who it is now, may be about to change
    change = change_of(session.identity, treatment.role, run[2])
    refusal = b""
    if change is not None and change.logs_in and session.hub.logs_in:
        refusal = NO_PASSWORD
    elif change is not None and treatment.role is Role.HELLO and _must_not_change(session, change):
        refusal = NO_HELLO_NOW
    if refusal:
        session.done()
        session.reply(run, refusal)
        return True

    def take_effect(_reply: bytes) -> None:
        if change is not None:
            session.become(change.identity)
            own.identity = change.identity
            own.name = session.name = session.name if change.name is None else change.name

    own.send(treatment, run[2], 1, take_effect, task=run, silent=session.skip)
    session.skip = False
    session.done()
    return True


def _must_not_change(session: Session, change: Change) -> bool:
    """Whether what the server says on connections of the client's own would be no more what it is to be."""
    return bool(session.hub.config.server_protocol) or (session.subscribed_apart and change.identity.protocol == 2)


def _client_effect(session: Session, own: DedicatedConnection, data: bytes) -> Callable[[bytes], None]:
    words = arguments(data)
    subcommand = words[1].upper() if len(words) > 1 else b""

    def take_effect(_reply: bytes) -> None:
        own.kept |= subcommand in STAYS
        if subcommand == b"SETNAME":
            own.name = session.name = words[2]

    return take_effect


class OwnReplies:
    """Owner of a session's own connection, as long as it has that."""

    __slots__ = ("_connection", "_session")

    def __init__(self, session: Session, connection: DedicatedConnection) -> None:
        self._session = session
        self._connection = connection
        connection.owner = self

    def own_reply(self, asked: Asked, data: bytes) -> None:
        self._session.own_reply(asked, data)

    def own_part(self, asked: Asked | None, data: bytes) -> None:
        session = self._session
        if asked is not None and _is_unheard(session, asked):
            return
        if asked is None or asked.request is None:
            session.give(data)
        else:
            session.filters.respond_part(asked.request, data)

    def own_unasked(self, data: bytes) -> None:
        if not (self._session.mute and data[:1] == b"+"):  # a line of MONITOR, which the server takes for a reply
            self._session.give(data)

    def move(self, stream: Stream, size: int) -> bool:
        return self._session.move(stream, size)

    def own_writable(self, writable: bool) -> None:
        self._session.server_writable(writable)

    def own_settled(self) -> None:
        if self._connection.clean:
            self._session.drop_own()
        self._session.attend()

    def own_lost(self, error: bytes, missing: list[Asked]) -> None:
        self._session.own_lost(error, missing)


def give_reply(session: Session, asked: Asked, data: bytes) -> None:
    """Give the client a reply; nothing where it wants none, and message filters hear of that, too."""
    data = b"" if _is_unheard(session, asked) else data
    if asked.request is None:
        session.give(data)
    elif asked.count > 0:
        session.filters.collect(asked.request, data)
    else:
        session.filters.respond(asked.request, data)


def give_errors(session: Session, error: bytes, missing: list[Asked]) -> None:
    """Give the client ``error`` for each command that will have no reply."""
    if missing and session.fails(error):
        return
    for asked in missing:
        if asked.request is not None:
            session.filters.respond(asked.request, error)
        elif not _is_unheard(session, asked):
            session.give(error * asked.missing)


def _is_unheard(session: Session, asked: Asked) -> bool:
    """Whether the client wants no reply; what answers a subscription it gets all the same."""
    return asked.silent or (session.mute and asked.treatment.role not in SUBSCRIPTIONS)
