"""One PostgreSQL session as both its ends speak it: who it is, what it asks, what became of it. No socket, no clock.

A client need not wait for answers, but they come in order. So what was asked stands in a queue, and each answer belongs
to its head. After an error the server skips what it is sent up to the next Sync: what stands in front of that in the
queue is dropped. Every simple query and every Sync is answered by ReadyForQuery, whatever happened.

Begun in the middle, it looks for the end of a ReadyForQuery: then the server waits for the client, and both sides are
between two messages.

While the server takes COPY data from the client it ignores Sync; clients that always send one behind Execute send
another at the end of the data.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from l4proxy_postgres.walker import LOOK, SKIP, Lost, Walker

__all__ = ["Ask", "Lost", "Observer", "Session", "texts"]

SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102
PROTOCOL_3 = 3
STARTUP_LIMIT = 10_000
"""Bytes of a startup packet (MAX_STARTUP_PACKET_LENGTH in PostgreSQL's source)."""
TLS_HANDSHAKE = b"\x16\x03"
"""How a client begins that speaks TLS without asking (``sslnegotiation=direct``)."""
MAX_WAITING = 10_000
"""Questions that may wait for their answers; more are not followed."""

_REQUEST = struct.Struct("!II")
_READY = re.compile(rb"Z\0{3}\x05[ITE]\Z")
"""A ReadyForQuery at the end of a chunk. The server sends it when it waits, so that nothing is behind it."""


@dataclass(slots=True)
class Ask:
    """Something that the server owes an answer to."""

    kind: str
    """``query``, ``parse``, ``execute`` or ``sync``."""
    statement: bytes | None = None
    """Its text, as far as it is looked at; None when it was prepared too long ago to be remembered."""
    asked: float = 0.0
    rows: int = 0
    error: str = ""
    """SQLSTATE."""


class Observer(Protocol):
    """Who is told. All are called from within ``client_sent`` and ``server_sent``."""

    def started(self, packet: bytes) -> None:
        """The startup packet."""

    def encrypted(self, by: str) -> None:
        """The session goes on encrypted, by ``tls`` or ``gssapi``: it is to be fed no more."""

    def cancelled(self) -> None:
        """This is not a session: it asks to cancel what another one does."""

    def completed(self, command: str, rows: int) -> None:
        """One SQL command has succeeded; a simple query may hold several."""

    def failed(self, body: bytes) -> str:
        """An ErrorResponse came. Returns its SQLSTATE."""

    def answered(self, ask: Ask, seconds: float) -> None:
        """A query or an execution is over; ``ask`` says how it went."""

    def copied(self, received: int, sent: int) -> None:
        """Bytes of COPY data, from and to the client."""


class Session:
    """Fed with what both ends sent. ``prepared_limit`` statements and portals are remembered, the oldest forgotten.

    ``midway``: the session is under way already.

    Raises Lost when the bytes are not PostgreSQL's protocol, and what the observer raises; feed it no more then.
    """

    def __init__(self, observer: Observer, prepared_limit: int = 1000, *, midway: bool = False) -> None:
        self._observer = observer
        self._limit = prepared_limit
        self._client = Walker(_CLIENT_LOOKS, self._client_said)
        self._server = Walker(_SERVER_LOOKS, self._server_said)
        self._searching = midway
        """For a place between two messages."""
        self._startup: bytes | None = None if midway else b""
        """What came of the startup packet; None when it was there."""
        self._asked_encryption = ""
        self._statements: dict[bytes, bytes] = {}
        self._portals: dict[bytes, bytes | None] = {}
        self._waiting: deque[Ask] = deque()
        self._copying = False
        self._now = 0.0

    def client_sent(self, data: bytes, now: float) -> None:
        """``now`` in seconds, of any clock."""
        if self._searching:
            return
        self._now = now
        if self._startup is not None:
            data = self._start(self._startup + data)
        if data and (copied := self._client.feed(data)):
            self._observer.copied(copied, 0)

    def server_sent(self, data: bytes, now: float) -> None:
        if self._searching:
            self._searching = not _READY.search(data)
            return
        self._now = now
        if self._asked_encryption:
            data = self._answer_encryption(data)
        elif self._startup is not None:
            raise Lost("the server speaks first")
        if data and (copied := self._server.feed(data)):
            self._observer.copied(0, copied)

    # Startup

    def _start(self, data: bytes) -> bytes:
        """Read startup packets. Returns what is behind the last one."""
        self._startup = data
        if data.startswith(TLS_HANDSHAKE):
            self._observer.encrypted("tls")
            return b""
        while self._startup is not None and len(data) >= _REQUEST.size:
            length, code = _REQUEST.unpack_from(data)
            if not _REQUEST.size <= length <= STARTUP_LIMIT or not _is_known(code):
                raise Lost(f"a startup packet of {length} bytes for the protocol {code >> 16}.{code & 0xFFFF}")
            if len(data) < length:
                break
            packet, data = data[:length], data[length:]
            self._startup = data
            self._take_packet(code, packet)
        return data if self._startup is None else b""

    def _take_packet(self, code: int, packet: bytes) -> None:
        if code == SSL_REQUEST:
            self._asked_encryption = "tls"
        elif code == GSSENC_REQUEST:
            self._asked_encryption = "gssapi"
        elif code == CANCEL_REQUEST:
            self._observer.cancelled()
        else:
            self._startup = None
            self._observer.started(packet)

    def _answer_encryption(self, data: bytes) -> bytes:
        """One byte: yes (S, G) or no (N); an old server may send an error. Returns what is behind it."""
        by, self._asked_encryption = self._asked_encryption, ""
        if data[:1] in (b"S", b"G"):
            self._observer.encrypted(by)
            return b""
        return data[1:] if data[:1] == b"N" else data

    # What the client asks

    def _client_said(self, kind: int, body: bytes) -> None:
        _CLIENT[kind](self, body)

    def _on_query(self, body: bytes) -> None:
        self._ask(Ask("query", texts(body, 1)[0], self._now))

    def _on_parse(self, body: bytes) -> None:
        name, statement = texts(body, 2)
        self._remember(self._statements, name, statement)
        self._ask(Ask("parse", statement, self._now))

    def _on_bind(self, body: bytes) -> None:
        portal, name = texts(body, 2)
        self._remember(self._portals, portal, self._statements.get(name))

    def _on_execute(self, body: bytes) -> None:
        self._ask(Ask("execute", self._portals.get(texts(body, 1)[0]), self._now))

    def _on_close(self, body: bytes) -> None:
        names: dict[bytes, Any] = self._statements if body[:1] == b"S" else self._portals
        names.pop(texts(body[1:], 1)[0], None)

    def _on_function_call(self, body: bytes) -> None:
        self._ask(Ask("query", b"function call", self._now))

    def _on_sync(self, body: bytes) -> None:
        if not self._copying:
            self._ask(Ask("sync"))

    def _on_copy_end(self, body: bytes) -> None:
        self._copying = False

    def _ask(self, ask: Ask) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise Lost(f"{MAX_WAITING} questions without an answer")
        self._waiting.append(ask)

    def _remember(self, names: dict[bytes, Any], name: bytes, statement: bytes | None) -> None:
        names.pop(name, None)
        if len(names) >= self._limit:
            del names[next(iter(names))]
        names[name] = statement

    # What the server answers

    def _server_said(self, kind: int, body: bytes) -> None:
        _SERVER[kind](self, body)

    def _on_parsed(self, body: bytes) -> None:
        if self._waiting and self._waiting[0].kind == "parse":
            self._waiting.popleft()

    def _on_complete(self, body: bytes) -> None:
        command, rows = _read_tag(texts(body, 1)[0])
        self._observer.completed(command, rows)
        self._over(rows)

    def _on_portal_end(self, body: bytes) -> None:
        """An empty statement, or as many rows as the client asked for, with more to come."""
        self._over(0)

    def _over(self, rows: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0].kind not in ("query", "execute"):
            waiting.popleft()
        if waiting:
            waiting[0].rows += rows
            if waiting[0].kind == "execute":
                self._answer(waiting.popleft())

    def _on_error(self, body: bytes) -> None:
        error = self._observer.failed(body)
        self._copying = False
        waiting = self._waiting
        if not waiting or waiting[0].kind == "sync":
            return
        waiting[0].error = error
        if waiting[0].kind == "query":
            return
        self._answer(waiting.popleft())
        while waiting and waiting[0].kind in ("parse", "execute"):
            waiting.popleft()

    def _on_ready(self, body: bytes) -> None:
        while self._waiting:
            ask = self._waiting.popleft()
            if ask.kind == "query":
                self._answer(ask)
            if ask.kind in ("query", "sync"):
                return

    def _on_copy_in(self, body: bytes) -> None:
        self._copying = True
        waiting = self._waiting
        if waiting and waiting[0].kind == "execute":
            while len(waiting) > 1 and waiting[1].kind == "sync":
                del waiting[1]

    def _answer(self, ask: Ask) -> None:
        self._observer.answered(ask, self._now - ask.asked)


def texts(body: bytes, count: int) -> list[bytes]:
    """The first ``count`` texts of a message, each with a zero byte behind it."""
    found = body.split(b"\0", count)
    return (found + [b""] * count)[:count]


def _is_known(code: int) -> bool:
    return code in (SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST) or code >> 16 == PROTOCOL_3


def _read_tag(tag: bytes) -> tuple[str, int]:
    """``INSERT 0 5`` is the command INSERT, 5 rows."""
    command, _, rows = tag.decode(errors="replace").rpartition(" ")
    if not rows.isdecimal():
        return tag.decode(errors="replace"), 0
    return command.rstrip(" 0123456789"), int(rows)


_CLIENT: dict[int, Callable[[Session, bytes], None]] = {
    ord("Q"): Session._on_query,
    ord("P"): Session._on_parse,
    ord("B"): Session._on_bind,
    ord("E"): Session._on_execute,
    ord("C"): Session._on_close,
    ord("F"): Session._on_function_call,
    ord("S"): Session._on_sync,
    ord("c"): Session._on_copy_end,
    ord("f"): Session._on_copy_end,
}
_SERVER: dict[int, Callable[[Session, bytes], None]] = {
    ord("1"): Session._on_parsed,
    ord("C"): Session._on_complete,
    ord("E"): Session._on_error,
    ord("G"): Session._on_copy_in,
    ord("W"): Session._on_copy_in,
    ord("I"): Session._on_portal_end,
    ord("s"): Session._on_portal_end,
    ord("Z"): Session._on_ready,
}
_CLIENT_LOOKS = dict.fromkeys(b"HXp", SKIP) | dict.fromkeys(_CLIENT, LOOK)
"""H Flush, X Terminate, p a password."""
_SERVER_LOOKS = dict.fromkeys(b"23AHKNRSTVcntv", SKIP) | dict.fromkeys(_SERVER, LOOK)
