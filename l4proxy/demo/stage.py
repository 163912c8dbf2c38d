"""What the audience of the demo sees: scenes with numbers, lines of code, facts."""

from __future__ import annotations

import sys
import textwrap

from l4proxy.terminal import BOLD, CYAN, DIM, GREEN, painter

__all__ = ["Stage"]

INDENT = " " * 4
WIDTH = 96


class Stage:
    """Prints. Each method is one kind of thing that is shown."""

    def __init__(self) -> None:
        self._colour = painter(sys.stdout)
        self._scenes = 0
        self._after_quote = False

    def title(self, text: str) -> None:
        print(self._colour(text, BOLD))

    def scene(self, title: str) -> None:
        self._scenes += 1
        self._after_quote = False
        print("\n" + self._colour(f"{self._scenes:2}. {title}", BOLD))

    def say(self, text: str) -> None:
        self._leave_quote()
        print(textwrap.fill(" ".join(text.split()), WIDTH, initial_indent=INDENT, subsequent_indent=INDENT))

    def quote(self, text: str) -> None:
        """Source code, a configuration, lines of a log: as they are."""
        print()
        for line in text.strip("\n").splitlines():
            print(f"{INDENT}{self._colour('|', DIM)} {self._colour(line, CYAN)}")
        self._after_quote = True

    def fact(self, name: str, value: str) -> None:
        """Something that was measured or received just now."""
        self._leave_quote()
        print(f"{INDENT}{name:24} {self._colour(value, GREEN)}")

    def _leave_quote(self) -> None:
        if self._after_quote:
            print()
        self._after_quote = False
