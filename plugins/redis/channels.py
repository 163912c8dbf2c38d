"""What a connection is subscribed to, and what a server says on it because of that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from l4proxy.protocols.redis.translate import INVALIDATIONS
from l4proxy.protocols.redis.values import decode

if TYPE_CHECKING:
    from l4proxy.plugins.redis.treatment import Treatment

__all__ = ["Channels", "is_answer", "is_message"]

_word = re.compile(rb"[*>][0-9]+\r\n\$[0-9]+\r\n([a-z]+)\r\n").match
_MESSAGES = frozenset((b"message", b"pmessage", b"smessage"))
_ANSWERS = {
    b"subscribe": b"", b"psubscribe": b"p", b"ssubscribe": b"s",
    b"unsubscribe": b"", b"punsubscribe": b"p", b"sunsubscribe": b"s",
}  # fmt: skip
"""What answers a subscription, and of which kind it is."""


def is_answer(frame: bytes) -> bool:
    """Whether this answers a subscription, or an end of one."""
    found = _word(frame)
    return found is not None and found[1] in _ANSWERS


def is_message(frame: bytes) -> bool:
    """Whether this was published."""
    found = _word(frame)
    return found is not None and found[1] in _MESSAGES


class Channels:
    """Of one connection; false where there are none."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: set[tuple[bytes, bytes]] = set()
        """Each with its kind."""

    def __len__(self) -> int:
        return len(self._names)

    def note(self, answer: bytes) -> None:
        """A subscription has begun or ended."""
        word, channel, *_ = decode(answer)[0]
        one = _ANSWERS.get(word, b""), channel
        if word.endswith(b"unsubscribe"):
            self._names.discard(one)
        else:
            self._names.add(one)

    def like(self, treatment: Treatment) -> int:
        """How many a command like ``UNSUBSCRIBE`` is about that names none."""
        kind = _ANSWERS[treatment.name.lower().encode()]
        return sum(one == kind for one, _ in self._names)

    @property
    def invalidations(self) -> bool:
        """Whether its client wants to be told, as in RESP2, when keys change."""
        return (b"", INVALIDATIONS) in self._names
