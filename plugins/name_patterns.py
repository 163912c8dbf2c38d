"""Host names as a configuration writes them, for those who look at server names: ``a.test``, ``*.a.test``, ``*``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["NamePattern", "NamePatterns"]

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(rf"\*|(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One name, or with ``*.`` in front every name below it, however deep, but not itself; ``*`` alone is every
    name."""

    shown_as: ClassVar[str] = "a host name"
    example: ClassVar[str] = '"*.example.com"'

    text: str

    @classmethod
    def from_config(cls, raw: object) -> NamePattern:
        if not isinstance(raw, str):
            raise ValueError('a name is text, such as "a.example.com" or "*.example.com"')
        text = raw.lower()
        if _PATTERN.fullmatch(text):
            return cls(text)
        if not text.isascii():
            raise ValueError(f"{raw!r} is not ASCII{_punycode(text)}")
        if text.endswith(".") and _PATTERN.fullmatch(text[:-1]):
            raise ValueError(f'{raw!r} ends in a dot (write "{text[:-1]}")')
        if "*" in text:
            raise ValueError(f'{raw!r}: a star stands alone, or in front of a dot (write "*.example.com")')
        raise ValueError(f'{raw!r} is not a host name (such as "a.example.com" or "*.example.com")')

    def __str__(self) -> str:
        return self.text


def _punycode(text: str) -> str:
    try:
        return f' (write "{text.encode("idna").decode()}")'
    except UnicodeError:
        return ""


class NamePatterns:
    """``name in patterns`` asks: is it one of these? Names are expected in lower case; no name at all is in none."""

    __slots__ = ("_every", "_names", "_suffixes")

    def __init__(self, patterns: Iterable[NamePattern]) -> None:
        texts = {pattern.text for pattern in patterns}
        self._every = "*" in texts
        self._suffixes = tuple(text[1:] for text in texts if text.startswith("*."))
        self._names = frozenset(texts)

    def __contains__(self, name: str) -> bool:
        return bool(name) and (self._every or name in self._names or name.endswith(self._suffixes))
