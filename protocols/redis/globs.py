"""Patterns as Redis has them for keys and channels (``stringmatchlen`` in ``util.c``): ``*``, ``?``, ``[a-c]``,
``[^a]``, and a backslash that takes the meaning from what follows it."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["glob"]


@lru_cache(maxsize=1024)
def glob(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern as a regular expression; ``fullmatch`` asks it."""
    parts: list[bytes] = []
    at = 0
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            if not parts or parts[-1] != b".*":
                parts.append(b".*")
        elif one == b"?":
            parts.append(b".")
        elif one == b"[":
            chosen, at = _class(pattern, at)
            parts.append(chosen)
        else:
            if one == b"\\" and at < len(pattern):
                one = pattern[at : at + 1]
                at += 1
            parts.append(re.escape(one))
    return re.compile(b"".join(parts), re.DOTALL)


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """What stands in brackets, from behind the first one; where the last is missing, it is at the end."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    ranges = []
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            at += 1
            first = last = pattern[at]
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            first, last = sorted((pattern[at], pattern[at + 2]))
            at += 2
        else:
            first = last = pattern[at]
        at += 1
        ranges.append(b"\\x%02x-\\x%02x" % (first, last))
    at += 1
    if not ranges:
        return b"." if negated else b"(?!)", at
    return b"[%b%b]" % (b"^" if negated else b"", b"".join(ranges)), at
