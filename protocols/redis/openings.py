"""What single commands begin with: enough to tell that a chunk is one, by comparing a few bytes.

An *opening* is the name with what stands in front of it, and the five bytes behind, as in
``*2\\r\\n$3\\r\\nGET\\r\\n$10\\r\\n``.
These say how long the first argument is, if it is shorter than a thousand bytes. There are few openings, however many
keys there are; so who has looked at a command once keeps, by its opening, where the last argument begins. A chunk with
that opening is the whole command if in front of its last argument there stands the length with which it ends where the
chunk does (`LAST_BULKS`). Only commands of one argument or two can be told so; that is most of what is sent. ::

    known = openings.get(data[: data[LENGTH_OF_NAME] + TO_OPENING])
    whole = known is not None and data.startswith(LAST_BULKS[size - known], known) and data[-1] == LF
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.protocols.redis.patterns import SINGLE, WHOLE_BULKS, Shape, alike
from l4proxy.protocols.redis.request import arguments

if TYPE_CHECKING:
    from l4proxy.protocols.redis.commands import Head

__all__ = ["LAST_BULKS", "LENGTH_OF_NAME", "LF", "TO_OPENING", "opening_of", "shape_of"]

LENGTH_OF_NAME = len(b"*1\r\n$")
"""Where the digit stands that says how long the name is. Of a name that is longer than nine characters it is only the
first digit, and what is taken for its opening is none."""
_BEHIND = len(b"$10\r\n")
TO_OPENING = len(b"*1\r\n$1\r\n\r\n") + _BEHIND - ord("0")
"""An opening is so much longer than what that digit is as a byte."""
LF = ord("\n")
LAST_BULKS = [b"\0" * SINGLE] * 2 + [b"\r\n" + line for line in WHOLE_BULKS[:SINGLE]]
"""The CRLF in front of a string and the line with its length, by how long both, the string and the CRLF behind it are
together. What is never so long fits nothing."""


def opening_of(head: Head, command: bytes) -> tuple[bytes, int] | None:
    """The opening of a whole command, and where the CRLF in front of its last argument stands. None: it cannot be told
    by that."""
    at = len(head.start)
    opening = command[: at + _BEHIND]
    digits = opening[at + 1 :].partition(b"\r")
    if head.argc not in (2, 3) or not digits[1] or len(opening) != command[LENGTH_OF_NAME] + TO_OPENING:
        return None
    return opening, at - 2 if head.argc == 2 else at + len(b"$\r\n") + len(digits[0]) + int(digits[0])


def shape_of(head: Head, run: bytes, count: int) -> tuple[bytes, Shape] | None:
    """The opening of several whole commands with arguments of the same lengths, and what tells whether other bytes of
    the same number are so, too: a function that takes them. None: it cannot be told so."""
    size = len(run) // count
    opening = run[: run[LENGTH_OF_NAME] + TO_OPENING]
    match = alike(head.start, tuple(map(len, arguments(run[:size])[1:])), b".")
    return (opening, match) if match is not None and match(run) else None
