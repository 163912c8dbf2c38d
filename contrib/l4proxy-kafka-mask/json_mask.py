"""Masking members of JSON texts where they lie, without changing the size of the text.

Text keeps its length (``"Ada"`` becomes ``"***"``), and so do numbers (``0``), ``true`` and ``false`` (``null``),
objects and arrays (``null``, or ``{}`` and ``[]`` where they are empty), filled up with spaces. So a record keeps its
size, and nothing has to be written anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

__all__ = ["NotJson", "mask"]

_TOKEN = re.compile(
    rb'[ \t\n\r]*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?[0-9][-+.0-9eE]*)|(?P<word>true|false|null)'
    rb"|(?P<open>[\[{])|(?P<close>[\]}])|(?P<between>[,:]))",
    re.DOTALL,
)


class NotJson(ValueError):
    """The value is no JSON text."""


def mask(value: bytes, fields: Collection[str]) -> bytes:
    """The same text with the members masked that have one of these names, at whatever depth. Raises NotJson."""
    try:
        json.loads(value)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error
    changes: list[tuple[int, int, bytes]] = []
    depth = 0
    name = ""  # of the member that comes next
    masked_from = -1  # where an object or array begins that is masked as a whole
    masked_depth = 0
    pos, end = 0, len(value.rstrip(b" \t\n\r"))
    after_colon = False
    while pos < end:
        token = _TOKEN.match(value, pos)
        if token is None:  # NaN and Infinity are no JSON, whatever Python thinks
            raise NotJson(f"at byte {pos}")
        kind, start, pos = str(token.lastgroup), token.start(str(token.lastgroup)), token.end()
        is_masked = after_colon and name in fields and masked_from < 0
        if kind == "between":
            after_colon = value[start] == ord(":")
            continue
        if kind == "open":
            if is_masked:
                masked_from, masked_depth = start, depth
            depth += 1
        elif kind == "close":
            depth -= 1
            if masked_from >= 0 and depth == masked_depth:
                changes.append((masked_from, pos, _masked_structure(value[masked_from:pos])))
                masked_from = -1
        elif is_masked:
            changes.append((start, pos, _masked_scalar(kind, value[start:pos])))
        elif kind == "text":
            name = json.loads(value[start:pos])
        after_colon = False
    if not changes:
        return value
    masked = bytearray(value)
    for start, stop, new in changes:
        masked[start:stop] = new
    return bytes(masked)


def _masked_scalar(kind: str, token: bytes) -> bytes:
    if kind == "text":
        return b'"' + b"*" * (len(token) - 2) + b'"'
    return (b"0" if kind == "number" else b"null").ljust(len(token))


def _masked_structure(token: bytes) -> bytes:
    if len(token) >= len(b"null"):
        return b"null".ljust(len(token))
    return (token[:1] + token[-1:]).ljust(len(token))  # nothing, or a single digit, is in it
