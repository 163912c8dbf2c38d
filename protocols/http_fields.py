"""Header and trailer fields, whichever version of HTTP carries them: immutable blocks that messages share.

What a client sends is mostly what it has sent before. A codec looks a block up by its bytes and finds the same
`FieldBlock` again, so that what was once made of it (an index, its form for the next hop) is there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["EMPTY", "Field", "FieldBlock", "check_field", "encode_line"]

Field = tuple[str, str]
"""Name in lower case, and value: each character stands for one byte (Latin-1), as HTTP has it."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")


def check_field(name: str, value: str) -> None:
    """Raises ValueError for what is no field (RFC 9110 section 5): a name that is no token, a value with control
    characters (CR, LF and NUL among them) or with white space around it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{name}: {value!r} is not the value of a header field")


def encode_line(name: str, value: str) -> bytes:
    """A field as a line of HTTP/1, without its end."""
    return f"{name}: {value}".encode("latin-1")


class FieldBlock:
    """Fields in their order. Never changed; two blocks are equal when their fields are.

    ``lines`` are the lines of HTTP/1 that they came as, in the spelling of whoever sent them, one for each field; where
    they came otherwise they are made when somebody asks.
    """

    __slots__ = ("_lines", "cache", "fields", "made_http1", "made_index")

    def __init__(self, fields: Iterable[Field], lines: Sequence[bytes] | None = None) -> None:
        self.fields = tuple(fields)
        self._lines = lines
        self.made_index: dict[str, str] | None = None
        """``index``, once somebody has asked."""
        self.made_http1: bytes | None = None
        """``http1``, once somebody has asked."""
        self.cache: Any = None
        """What a version of HTTP has made of this block for its own use (its HPACK encoding, say)."""

    @property
    def lines(self) -> Sequence[bytes]:
        if self._lines is None:
            self._lines = tuple(encode_line(name, value) for name, value in self.fields)
        return self._lines

    @property
    def http1(self) -> bytes:
        """All lines, each with its end."""
        made = self.made_http1
        if made is None:
            if self._lines is None:
                made = "".join([f"{name}: {value}\r\n" for name, value in self.fields]).encode("latin-1")
            else:
                made = b"\r\n".join((*self._lines, b"")) if self.fields else b""
            self.made_http1 = made
        return made

    @property
    def index(self) -> dict[str, str]:
        """Values by name. Several fields of one name are one value, joined as RFC 9110 section 5.3 has it (``Cookie``:
        with semicolons, RFC 6265 section 5.4; ``Set-Cookie`` cannot be joined, here it is all the same)."""
        index = self.made_index
        if index is None:
            index = dict(self.fields)
            if len(index) != len(self.fields):
                index = _join(self.fields)
            self.made_index = index
        return index

    def get(self, name: str) -> str | None:
        """The value of a field, by its name in lower case."""
        return self.index.get(name)

    def get_all(self, name: str) -> list[str]:
        return [value for other, value in self.fields if other == name]

    def __contains__(self, name: str) -> bool:
        return name in self.index

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return self.fields == other.fields if isinstance(other, FieldBlock) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"FieldBlock({list(self.fields)!r})"


def _join(fields: Sequence[Field]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in fields:
        if name in joined:
            value = f"{joined[name]}{'; ' if name == 'cookie' else ', '}{value}"
        joined[name] = value
    return joined


EMPTY = FieldBlock(())
