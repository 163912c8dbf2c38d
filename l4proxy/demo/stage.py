"""What the audience of the demo sees: scenes with numbers, lines of code, facts."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time

from l4proxy.terminal import BOLD, CYAN, DIM, GREEN, painter

__all__ = ["READING", "Stage"]

INDENT = " " * 4
WIDTH = 96
READING = 1.0
"""Seconds that people at a terminal have for a scene before the next one begins."""


class Stage:
    """Prints. Each method is one kind of thing that is shown."""

    def __init__(self) -> None:
        self._colour = painter(sys.stdout)
        self._scenes = 0
        self._after_quote = False
        self._watched = sys.stdout.isatty()

    def title(self, text: str) -> None:
        print(self._colour(text, BOLD))

    def scene(self, title: str) -> None:
        if self._watched and self._scenes:
            time.sleep(READING)  # the servers of the demo sleep, too: between scenes nobody wants anything of them
        self._scenes += 1
        self._after_quote = False
        print("\n" + self._colour(f"{self._scenes:2}. {title}", BOLD), flush=True)

    def say(self, text: str) -> None:
        self._leave_quote()
        print(textwrap.fill(" ".join(text.split()), WIDTH, initial_indent=INDENT, subsequent_indent=INDENT), flush=True)

    def quote(self, text: str) -> None:
        """Source code, a configuration, lines of a log: as they are, but for lines that the terminal would break."""
        print()
        width = shutil.get_terminal_size().columns - len(INDENT) - 2
        for line in text.strip("\n").splitlines():
            fits = not self._watched or len(line) <= width
            for part in [line] if fits else textwrap.wrap(line, width, subsequent_indent=INDENT):
                print(f"{INDENT}{self._colour('|', DIM)} {self._colour(part, CYAN)}")
        self._after_quote = True

    def fact(self, name: str, value: str) -> None:
        """Something that was measured or received just now."""
        self._leave_quote()
        print(f"{INDENT}{name:24} {self._colour(value, GREEN)}")

    def _leave_quote(self) -> None:
        if self._after_quote:
            print()
        self._after_quote = False
