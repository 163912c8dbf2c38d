"""What is done for commands that are not plain: those that change, keep, or mean the connection that they are sent on.

`PLAIN_AFTER_ALL` looks at those of which some are plain. `HANDLERS` are for what is left, and are called when all
earlier replies are there: they answer, or send the command on; or they begin a connection of the client's own.
`send_to_own` is for a client that has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.change import Change, change_of, is_client_name
from l4proxy.plugins.redis.dedicated import SUBSCRIPTIONS, answers_to
from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.plugins.redis.replies import (
    BAD_NAME,
    NO_HELLO_NOW,
    NO_PASSWORD,
    NO_PUSHES,
    OK,
    error_reply,
    of_upstream_error,
)
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import arguments, encode_command
from l4proxy.protocols.redis.values import encode

if TYPE_CHECKING:
    from l4proxy.plugins.redis.dedicated import DedicatedConnection
    from l4proxy.plugins.redis.message import RedisRequest
    from l4proxy.plugins.redis.session import Session, Task
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.stream import Stream

__all__ = ["HANDLERS", "PLAIN_AFTER_ALL", "STAYS", "Handler", "pass_on", "request_of", "send_to_own"]

Handler: TypeAlias = "Callable[[Session, Treatment, Task], None]"
INFO = encode_command(b"INFO")
PING = encode_command(b"PING")
NO_CAPABILITY = encode_command(b"CLIENT", b"CAPA", b"none")
"""A server (Valkey) knows no such one, and says OK; one that does not know the command says so."""
STAYS = frozenset((b"ID", b"INFO", b"TRACKING", b"TRACKINGINFO", b"CACHING", b"GETREDIR", b"NO-EVICT", b"NO-TOUCH",
                   b"IMPORT-SOURCE"))  # fmt: skip
"""Subcommands of ``CLIENT`` that mean the connection they are sent on, or leave something behind."""
_IDENTITY = (Role.SELECT, Role.AUTH, Role.HELLO, Role.READONLY)


def pass_on(session: Session, treatment: Treatment, run: Task) -> None:
    """It is plain after all, or the server will say what is wrong with it."""
    session.done()
    session.share(treatment, run)


# What may be plain after all. Asked also while replies are outstanding. True: it was, and has been sent.


def maybe_blocking(session: Session, treatment: Treatment, run: Task) -> bool:
    """``XREAD`` has to wait only with ``BLOCK``, before ``STREAMS``."""
    words = [word.upper() for word in arguments(run[2])]
    streams = words.index(b"STREAMS") if b"STREAMS" in words else len(words)
    if b"BLOCK" in words[:streams]:
        return False
    pass_on(session, treatment, run)
    return True


def multi(session: Session, treatment: Treatment, run: Task) -> bool:
    """A transaction that has come whole, and in which all is plain, needs no connection of its own: it is written in
    one piece, nothing can get between its commands, and it leaves nothing behind."""
    block = session.transaction()
    if not block or not session.share_block(block):
        return False
    for _ in block:
        session.done()
    return True


def evaluate(session: Session, treatment: Treatment, run: Task) -> bool:
    words = arguments(run[2])
    if len(words) > 1:
        session.hub.scripts.learn(words[1])
    pass_on(session, treatment, run)
    return True


def evalsha(session: Session, treatment: Treatment, run: Task) -> bool:
    session.done()
    session.share(treatment, run, ScriptCall(session, treatment, run))
    return True


def script(session: Session, treatment: Treatment, run: Task) -> bool:
    """``SCRIPT``, of which ``DEBUG`` makes its connection a debugger's."""
    words = arguments(run[2])
    subcommand = words[1].upper() if len(words) > 1 else b""
    if subcommand == b"DEBUG":
        return False
    if subcommand == b"LOAD" and len(words) == 3:
        session.hub.scripts.learn(words[2])
    elif subcommand == b"FLUSH":
        session.hub.scripts.forget()
    pass_on(session, treatment, run)
    return True


def about_cluster(session: Session, treatment: Treatment, run: Task) -> bool:
    """Where the client's server is one, that knows what there is to say about a cluster."""
    if session.hub.poses_as_cluster:
        return False
    pass_on(session, treatment, run)
    return True


PLAIN_AFTER_ALL: dict[Role, Callable[[Session, Treatment, Task], bool]] = {
    Role.MAYBE_BLOCKING: maybe_blocking,
    Role.MULTI: multi,
    Role.CLUSTER: about_cluster,
    Role.EVAL: evaluate,
    Role.EVALSHA: evalsha,
    Role.SCRIPT: script,
}


class ScriptCall(Receiver):
    """Receives the reply to ``EVALSHA``. When the server has no such script, but we do, and the client has sent nothing
    since that would now be done before it, the server is given the script and asked again."""

    __slots__ = ("_client", "_run", "_session", "_treatment")

    def __init__(self, session: Session, treatment: Treatment, run: Task) -> None:
        self._session = session
        self._treatment = treatment
        self._run = run
        self._client = session.receiver(run)

    def replied(self, data: bytes, count: int) -> None:
        session = self._session
        if data.startswith(b"-NOSCRIPT") and session.is_alone:
            words = arguments(self._run[2])
            text = session.hub.scripts.find(words[1]) if len(words) > 1 else None
            if text is not None:
                session.ask_again(self._treatment, self._run, encode_command(b"SCRIPT", b"LOAD", text))
                return
        self._client.replied(data, count)

    def part(self, data: bytes) -> None:
        self._client.part(data)

    def move(self, stream: Stream, size: int) -> bool:
        return self._client.move(stream, size)

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self._client.failed(error, count, sent=sent)

    def broken(self) -> None:
        self._client.broken()


# What is left. All earlier replies are there.


def to_own(session: Session, treatment: Treatment, run: Task) -> None:
    """It needs a connection of its own."""
    session.begin_own(treatment)


def wait(session: Session, treatment: Treatment, run: Task) -> None:
    """``WAIT`` is about the last write that its connection knows of. One that has just answered a ``PING`` knows of all
    that the server has seen, this client's writes among it."""
    own = session.begin_own(treatment)
    if own is not None:
        own.send(session.hub.ping, PING, hidden=True)


def subscribe(session: Session, treatment: Treatment, run: Task) -> None:
    if session.subscribes_apart:
        session.subscribe(treatment, run)
    else:
        session.begin_own(treatment)


def become_another(session: Session, treatment: Treatment, run: Task) -> None:
    """The command is sent to a connection of who the client will then be: it changes nothing there, and its answer is
    the server's own."""
    change = change_of(session.identity, treatment.role, run[2])
    if change is None:
        pass_on(session, treatment, run)
        return
    session.done()
    if change.logs_in and session.hub.logs_in:
        session.reply(run, NO_PASSWORD)
        return
    if treatment.role is Role.HELLO and session.subscribed_apart and change.identity.protocol == 2:
        session.reply(run, NO_HELLO_NOW)
        return
    try:
        pool = session.hub.pool(change.identity)
        link = pool.shared_connection()
    except UpstreamError as error:
        session.not_changed(run, of_upstream_error(error))
        return
    session.waiting = True
    link.join()
    says_hello = treatment.role is Role.HELLO
    command = change.instead_of_hello() if says_hello and pool.translates else change.command
    link.send(ChangeAnswer(session, run, change, link, says_hello), treatment, 1, command)


class ChangeAnswer(Receiver):
    """Receives the answer to a command that makes its client somebody else, if the server agrees.

    A server that is not spoken to in the client's version of the protocol cannot be asked ``HELLO``. The answer is then
    made of what ``INFO`` says."""

    __slots__ = ("_asked_info", "_change", "_link", "_run", "_says_hello", "_session")

    def __init__(self, session: Session, run: Task, change: Change, link: SharedConnection, says_hello: bool) -> None:
        self._session = session
        self._run = run
        self._change = change
        self._link = link
        self._says_hello = says_hello
        self._asked_info = False

    def replied(self, data: bytes, count: int) -> None:
        session, change, link = self._session, self._change, self._link
        if self._asked_info:
            data = change.hello(data)
        elif self._says_hello and link.translator is not None and not data.startswith(b"-WRONGPASS"):
            self._asked_info = True
            link.send(self, session.hub.info, 1, INFO)
            return
        self._answer(data)

    def _answer(self, data: bytes) -> None:
        session, change = self._session, self._change
        if data[:1] == b"-" or session.closing:
            self._link.leave()
        else:
            session.become(change.identity, self._link)
            session.name = session.name if change.name is None else change.name
        session.reply(self._run, data)
        session.resume()

    def part(self, data: bytes) -> None:
        """Such an answer is too short for this."""

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self._link.leave()
        self._session.not_changed(self._run, error, self._link.endpoint)

    def broken(self) -> None:
        """It never has a part."""


def client(session: Session, treatment: Treatment, run: Task) -> None:
    words = arguments(run[2])
    subcommand = words[1].upper() if len(words) > 1 else b""
    if _cannot_be_told(session, words):
        session.done()
        session.reply(run, NO_PUSHES)
    elif subcommand in STAYS:
        session.begin_own(treatment)
    elif mode := _reply_mode(words):
        session.done()
        session.mute, session.skip = mode == b"OFF" or (session.mute and mode == b"SKIP"), False
        session.reply(run, OK if mode == b"ON" else b"")
        session.skip = mode == b"SKIP" and not session.mute
    elif subcommand == b"SETNAME" and len(words) == 3:
        session.done()
        if is_client_name(words[2]):
            session.name = words[2]
        session.reply(run, OK if is_client_name(words[2]) else BAD_NAME)
    elif subcommand == b"CAPA" and len(words) > 2:  # that the client follows -REDIRECT, which would lead it past us
        pass_on(session, treatment, (run[0], 1, NO_CAPABILITY, *run[3:]))
    elif subcommand == b"GETNAME" and len(words) == 2:
        session.done()
        session.reply(run, encode(session.name or None, session.identity.protocol))
    else:
        pass_on(session, treatment, run)


def _reply_mode(words: list[bytes]) -> bytes:
    """``ON``, ``OFF`` or ``SKIP``, if it is a right ``CLIENT REPLY``."""
    _client, subcommand, mode = [word.upper() for word in words] if len(words) == 3 else (b"", b"", b"")
    return mode if subcommand == b"REPLY" and mode in (b"ON", b"OFF", b"SKIP") else b""


def _cannot_be_told(session: Session, words: list[bytes]) -> bool:
    """Whether a client asks to be told when keys change, and the server, which is spoken to in RESP2, would say yes and
    tell it nothing."""
    options = [word.upper() for word in words[1:]]
    if options[:2] != [b"TRACKING", b"ON"] or b"REDIRECT" in options or session.identity.protocol != 3:
        return False
    try:
        return session.hub.pool(session.identity).translates
    except UpstreamError:
        return False


def reset(session: Session, treatment: Treatment, run: Task) -> None:
    session.done()
    session.drop_subscriptions()
    session.become(session.hub.identity)
    session.name = b""
    session.mute = False
    session.reply(run, b"+RESET\r\n")


def leave(session: Session, treatment: Treatment, run: Task) -> None:
    session.done()
    session.reply(run, OK)
    session.finish("client", "quit")


def refuse(session: Session, treatment: Treatment, run: Task) -> None:
    session.done()
    session.reply(run, error_reply(f"ERR {treatment.name} is not served by this proxy: replicas connect to the server"))


HANDLERS: dict[Role, Handler] = {
    Role.BLOCKING: to_own,
    Role.MAYBE_BLOCKING: to_own,
    Role.WAIT: wait,
    Role.MULTI: to_own,
    Role.WATCH: to_own,
    Role.SUBSCRIBE: subscribe,
    Role.UNSUBSCRIBE: subscribe,
    Role.MONITOR: to_own,
    Role.OWN: to_own,
    Role.SCRIPT: to_own,
    **dict.fromkeys(_IDENTITY, become_another),
    Role.CLIENT: client,
    Role.RESET: reset,
    Role.QUIT: leave,
    Role.REFUSED: refuse,
}


# A client that has a connection of its own.


def request_of(run: Task) -> RedisRequest | None:
    """What message filters know the command as; None where it went by them."""
    return run[3] if len(run) == 4 else None


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
    elif role in _IDENTITY:
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
    mode = _reply_mode(words)
    if mode == b"ON" and own.multi and not session.mute:
        return False
    return bool(mode) or _cannot_be_told(session, words)


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
