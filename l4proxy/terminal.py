"""What a terminal is shown: colours only where they are wanted, and no control characters of strangers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

__all__ = ["BOLD", "CYAN", "DIM", "GREEN", "RED", "YELLOW", "Painter", "paint", "painter", "printable", "wants_colour"]

Painter = Callable[[str, str], str]
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"


class MayBeTerminal(Protocol):
    """A stream, as far as it is asked here."""

    def isatty(self) -> bool: ...


def wants_colour(stream: MayBeTerminal) -> bool:
    """Colour a terminal, unless ``NO_COLOR`` is set (https://no-color.org) or the terminal is a dumb one."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def painter(stream: MayBeTerminal) -> Painter:
    """``paint`` for what is written to ``stream``, or where that wants no colour what leaves text as it is."""
    return paint if wants_colour(stream) else _leave


def _leave(text: str, _colour: str) -> str:
    return text


def printable(text: str) -> str:
    r"""Return ``text`` on one line: control characters, which could forge lines or drive a terminal, become ``\n``,
    ``\x1b``, ``\u202e`` ..."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in text])
