"""Commands by which a client says who it is: what identity they ask for, and how the server is asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.identity import Identity
from l4proxy.plugins.redis.receivers import Receiver
from l4proxy.plugins.redis.replies import NO_HELLO_NOW, NO_PASSWORD, of_upstream_error
from l4proxy.plugins.redis.treatment import Role, Treatment
from l4proxy.protocols.redis.request import arguments, encode_command
from l4proxy.protocols.redis.values import Failure, Map, Value, decode, encode

if TYPE_CHECKING:
    from l4proxy.plugins.redis.session import Session, Task
    from l4proxy.plugins.redis.shared import SharedConnection

__all__ = ["CHANGES", "Change", "become_another", "change_of", "is_client_name"]

CHANGES = (Role.SELECT, Role.AUTH, Role.HELLO, Role.READONLY)
INFO = encode_command(b"INFO")


class Change(NamedTuple):
    """What a client wants to be, if the server agrees."""

    identity: Identity
    command: bytes
    """What asks the server, on a connection that others share."""
    logs_in: bool = False
    name: bytes | None = None
    """What it calls itself from then on."""

    def instead_of_hello(self) -> bytes:
        """What asks a server whether the client may be that, where it must not change its version of the protocol."""
        if not self.logs_in:
            return encode_command(b"PING")
        return encode_command(b"AUTH", self.identity.username, self.identity.password or b"")

    def hello(self, info: bytes) -> bytes:
        """What ``HELLO`` would have answered, by what the server says of itself (``INFO``)."""
        value, _ = decode(info)
        if isinstance(value, Failure):
            return info
        told = dict(line.split(b":", 1) for line in value.split(b"\r\n") if b":" in line)
        name = told.get(b"server_name", b"redis")  # Valkey
        fields: list[tuple[bytes, Value]] = [
            (b"server", name),
            (b"version", told.get(name + b"_version", b"unknown")),
            (b"proto", self.identity.protocol),
            (b"id", 0),
            (b"mode", told.get(b"redis_mode", b"standalone")),
            (b"role", told.get(b"role", b"master")),
            (b"modules", []),
        ]
        return encode(Map(fields), self.identity.protocol)


def change_of(present: Identity, role: Role, command: bytes) -> Change | None:
    """None where the command changes nothing: it only asks, or is wrong in a way that the server will tell."""
    words = arguments(command)
    if role is Role.SELECT and len(words) == 2 and words[1].isdigit():
        return Change(present._replace(database=b"%d" % int(words[1])), command)
    if role is Role.READONLY and len(words) == 1:
        return Change(present._replace(readonly=words[0].upper() == b"READONLY"), command)
    if role is Role.AUTH and len(words) in (2, 3):
        username = words[1] if len(words) == 3 else b""
        return Change(present._replace(username=username, password=words[-1]), command, logs_in=True)
    if role is Role.HELLO:
        return _hello(present, words)
    return None


def _hello(present: Identity, words: list[bytes]) -> Change | None:
    """``HELLO 3 [AUTH username password] [SETNAME name]``. The name does not go to a shared connection."""
    if len(words) < 2 or words[1] not in (b"2", b"3"):
        return None
    identity, name, logs_in = present._replace(protocol=int(words[1])), None, False
    kept, at = words[:2], 2
    while at < len(words):
        option = words[at].upper()
        if option == b"AUTH" and at + 2 < len(words):
            identity = identity._replace(username=words[at + 1], password=words[at + 2])
            kept += words[at : at + 3]
            logs_in = True
            at += 3
        elif option == b"SETNAME" and at + 1 < len(words) and is_client_name(words[at + 1]):
            name = words[at + 1]
            at += 2
        else:
            return None
    return Change(identity, encode_command(*kept), logs_in, name)


def is_client_name(name: bytes) -> bool:
    """Whether the server takes it: printable, without blanks."""
    return all(33 <= byte <= 126 for byte in name)


def become_another(session: Session, treatment: Treatment, run: Task) -> None:
    """The command is sent to a connection of who the client will then be: it changes nothing there, and its answer is
    the server's own."""
    change = change_of(session.identity, treatment.role, run[2])
    if change is None:
        session.pass_on(treatment, run)
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
