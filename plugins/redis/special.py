"""What is done for commands that are not plain: those that change, keep, or mean the connection that they are sent on.

`PLAIN_AFTER_ALL` looks at those of which some are plain. `HANDLERS` are for what is left, and are called when all
earlier replies are there: they answer, or send the command on; or they begin a connection of the client's own.
``own`` is for clients that have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.plugins.redis.change import CHANGES, become_another
from l4proxy.plugins.redis.client_command import client
from l4proxy.plugins.redis.replies import OK, error_reply
from l4proxy.plugins.redis.scripts import evalsha, evaluate, script
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import arguments, encode_command

if TYPE_CHECKING:
    from l4proxy.plugins.redis.session import Session, Task

__all__ = ["HANDLERS", "PLAIN_AFTER_ALL", "Handler"]

Handler: TypeAlias = "Callable[[Session, Treatment, Task], None]"
PING = encode_command(b"PING")


# What may be plain after all. Asked also while replies are outstanding. True: it was, and has been sent.


def maybe_blocking(session: Session, treatment: Treatment, run: Task) -> bool:
    """``XREAD`` has to wait only with ``BLOCK``, before ``STREAMS``."""
    words = [word.upper() for word in arguments(run[2])]
    streams = words.index(b"STREAMS") if b"STREAMS" in words else len(words)
    if b"BLOCK" in words[:streams]:
        return False
    session.pass_on(treatment, run)
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


def about_cluster(session: Session, treatment: Treatment, run: Task) -> bool:
    """Where the client's server is one, that knows what there is to say about a cluster."""
    if session.hub.poses_as_cluster:
        return False
    session.pass_on(treatment, run)
    return True


PLAIN_AFTER_ALL: dict[Role, Callable[[Session, Treatment, Task], bool]] = {
    Role.MAYBE_BLOCKING: maybe_blocking,
    Role.MULTI: multi,
    Role.CLUSTER: about_cluster,
    Role.EVAL: evaluate,
    Role.EVALSHA: evalsha,
    Role.SCRIPT: script,
}


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
    **dict.fromkeys(CHANGES, become_another),
    Role.CLIENT: client,
    Role.RESET: reset,
    Role.QUIT: leave,
    Role.REFUSED: refuse,
}
