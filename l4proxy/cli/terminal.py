"""What a person sees: colour on a terminal that wants it, plain text everywhere else."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["bold", "dim", "error", "green", "red", "wants_colour", "yellow"]


def wants_colour(stream: TextIO) -> bool:
    """Whether to colour what is written to ``stream``: a terminal, no ``NO_COLOR``, and not ``TERM=dumb``."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def _paint(code: str, text: str, stream: TextIO | None) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if wants_colour(stream or sys.stdout) else text


def bold(text: str, stream: TextIO | None = None) -> str:
    return _paint("1", text, stream)


def dim(text: str, stream: TextIO | None = None) -> str:
    return _paint("2", text, stream)


def red(text: str, stream: TextIO | None = None) -> str:
    return _paint("31", text, stream)


def green(text: str, stream: TextIO | None = None) -> str:
    return _paint("32", text, stream)


def yellow(text: str, stream: TextIO | None = None) -> str:
    return _paint("33", text, stream)


def error(text: str) -> None:
    """Say on standard error what went wrong, a line each."""
    for line in text.splitlines():
        print(f"{red('error:', sys.stderr)} {line}" if not line.startswith(" ") else line, file=sys.stderr)
