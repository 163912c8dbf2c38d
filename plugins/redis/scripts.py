"""Lua scripts that have passed, by their SHA1: a server that was restarted, or that never got one, can be given it."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha1
from typing import TYPE_CHECKING

from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.protocols.redis.request import arguments, encode_command

if TYPE_CHECKING:
    from l4proxy.plugins.redis.session import Session, Task
    from l4proxy.plugins.redis.treatment import Treatment
    from l4proxy.stream import Stream

__all__ = ["Scripts", "evalsha", "evaluate", "script"]

MAX_SCRIPTS = 1000
MAX_BYTES = 8 * 1024 * 1024


class Scripts:
    """Those used last, within bounds."""

    def __init__(self) -> None:
        self._texts: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def learn(self, text: bytes) -> None:
        """A script has passed."""
        key = sha1(text, usedforsecurity=False).hexdigest().encode()
        if key in self._texts:
            self._texts.move_to_end(key)
            return
        self._texts[key] = text
        self._size += len(text)
        while len(self._texts) > MAX_SCRIPTS or self._size > MAX_BYTES:
            _, oldest = self._texts.popitem(last=False)
            self._size -= len(oldest)

    def find(self, key: bytes) -> bytes | None:
        """The script with this SHA1, in hexadecimal of either case."""
        return self._texts.get(key.lower())

    def forget(self) -> None:
        """Scripts were flushed: they are to be missing."""
        self._texts.clear()
        self._size = 0


# Handlers (``special``). True: the command was plain, and has been sent.


def evaluate(session: Session, treatment: Treatment, run: Task) -> bool:
    words = arguments(run[2])
    if len(words) > 1:
        session.hub.scripts.learn(words[1])
    session.pass_on(treatment, run)
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
    session.pass_on(treatment, run)
    return True


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
