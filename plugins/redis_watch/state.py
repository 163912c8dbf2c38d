"""What a connection is in the middle of: who the client is, subscriptions, transactions, MONITOR, replies not wanted.

Commands with a *role* (`asked`) change it, but only once the server has said yes. `Effects` has what each of them does
then."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis.values import Failure, Incomplete, decode

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.asked import Asked, Plan

__all__ = ["CONFIRMATIONS", "MESSAGES", "ConnectionState", "word_of"]

MESSAGES = frozenset((b"message", b"pmessage", b"smessage"))
CONFIRMATIONS = {
    b"subscribe": b"", b"psubscribe": b"p", b"ssubscribe": b"s",
    b"unsubscribe": b"", b"punsubscribe": b"p", b"sunsubscribe": b"s",
}  # fmt: skip
"""What answers a subscription, and of which kind it is."""
MAX_QUEUED = 10_000
"""Commands of one transaction whose errors are told apart."""

_word = re.compile(rb"[*>][0-9]+\r\n\$[0-9]+\r\n([a-z]+)\r\n").match
_total = re.compile(rb":([0-9]+)\r\n\Z").search


def word_of(begin: bytes) -> bytes:
    """The first string of an array or a push; empty: it has none."""
    found = _word(begin)
    return found[1] if found else b""


class ConnectionState:
    """Of one connection, as far as it was seen. ``told`` is the link's state, which access logs print."""

    __slots__ = ("_totals", "in_multi", "monitoring", "muted", "protocol", "queued", "skips", "subscribed", "told",
                 "tracking")  # fmt: skip

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self._reset()

    def _reset(self) -> None:
        self.protocol = 2
        self.muted = False
        """It wants no replies (``CLIENT REPLY OFF``)."""
        self.skips = False
        """It wants no reply to its next command (``CLIENT REPLY SKIP``)."""
        self.monitoring = False
        self.tracking = False
        self.in_multi = False
        self.queued: list[Plan] = []
        self.subscribed = {b"": 0, b"p": 0, b"s": 0}
        """Channels, patterns, sharded channels."""
        self._totals = [0, 0]

    @property
    def is_subscriber(self) -> bool:
        return any(self.subscribed.values())

    @property
    def is_special(self) -> bool:
        """Whether there may come something else than replies, or replies mean something else."""
        return self.in_multi or self.monitoring or self.tracking or any(self.subscribed.values())

    def asks(self, asked: Asked) -> bool:
        """A command was sent. False: there will be no reply to it."""
        words = [word.upper() for word in asked.words[:3]] if asked.plan.role == "client" else []
        reply = words[2] if words[1:2] == [b"REPLY"] and len(words) > 2 else b""
        if reply == b"ON":
            self.muted = False
            return True
        if self.muted:
            return False
        if reply == b"OFF":
            self.muted = True
        elif self.skips:
            self.skips = False
        elif reply == b"SKIP":
            self.skips = True
        else:
            return True
        return False

    def confirmations(self, words: Sequence[bytes]) -> int:
        """Replies to a subscription, or to the end of some."""
        if len(words) > 1:
            return len(words) - 1
        return max(1, self.subscribed.get(CONFIRMATIONS.get(words[0].lower(), b""), 1)) if words else 1

    def confirmed(self, word: bytes, frame: bytes) -> None:
        """One of these replies. It ends in how many subscriptions there are now; those of shards are counted apart."""
        kind, total = CONFIRMATIONS[word], _total(frame)
        if total is not None:
            at = kind == b"s"
            self.subscribed[kind] = max(0, self.subscribed[kind] + int(total[1]) - self._totals[at])
            self._totals[at] = int(total[1])

    def took(self, asked: Asked) -> None:
        """The server has done what a command with a role asks for."""
        effect = _EFFECTS.get(asked.plan.role)
        if effect is not None:
            effect(self, asked.words)

    def queue(self, plan: Plan) -> None:
        if len(self.queued) < MAX_QUEUED:
            self.queued.append(plan)

    def over(self, frame: bytes) -> list[tuple[Plan, bytes]]:
        """The transaction is over; ``frame`` is the reply to EXEC, if it was executed. Return the commands that failed
        inside, each with its error."""
        queued, self.queued, self.in_multi = self.queued, [], False
        if b"\r\n-" not in frame and b"\r\n!" not in frame:
            return []
        try:
            values = decode(frame)[0]
        except (RemoteProtocolError, Incomplete):
            return []
        if not isinstance(values, list):
            return []
        return [(plan, value) for plan, value in zip(queued, values, strict=False) if isinstance(value, Failure)]

    # What commands do

    def _multi(self, _words: list[bytes]) -> None:
        self.in_multi, self.queued = True, []

    def _monitor(self, _words: list[bytes]) -> None:
        self.monitoring = True

    def _select(self, words: list[bytes]) -> None:
        if len(words) == 2 and words[1].isdigit():
            self.told["redis:database"] = int(words[1])

    def _auth(self, words: list[bytes]) -> None:
        self.told["redis:user"] = _text(words[1]) if len(words) == 3 else "default"

    def _hello(self, words: list[bytes]) -> None:
        if len(words) > 1 and words[1] in (b"2", b"3"):
            self.protocol = int(words[1])
        at = 2
        while at < len(words):
            option = words[at].upper()
            if option == b"AUTH" and at + 2 < len(words):
                self.told["redis:user"] = _text(words[at + 1])
            elif option == b"SETNAME" and at + 1 < len(words):
                self.told["redis:name"] = _text(words[at + 1])
            at += {b"AUTH": 3, b"SETNAME": 2}.get(option, 1)

    def _client(self, words: list[bytes]) -> None:
        upper = [word.upper() for word in words[1:3]]
        if upper[:1] == [b"SETNAME"] and len(words) > 2:
            self.told["redis:name"] = _text(words[2])
        elif upper == [b"SETINFO", b"LIB-NAME"] and len(words) > 3:
            self.told["redis:library"] = _text(words[3])
        elif upper[:1] == [b"TRACKING"] and len(upper) > 1:
            self.tracking = upper[1] == b"ON"

    def _reset_command(self, _words: list[bytes]) -> None:
        self._reset()
        for key in ("redis:name", "redis:user", "redis:database"):
            self.told.pop(key, None)


_EFFECTS: dict[str, Callable[[ConnectionState, list[bytes]], None]] = {
    "multi": ConnectionState._multi,
    "monitor": ConnectionState._monitor,
    "select": ConnectionState._select,
    "auth": ConnectionState._auth,
    "hello": ConnectionState._hello,
    "client": ConnectionState._client,
    "reset": ConnectionState._reset_command,
}


def _text(word: bytes) -> str:
    return word[:128].decode(errors="backslashreplace")
