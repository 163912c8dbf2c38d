"""A program on a terminal of its own, and what stands on its screen.

Of escape sequences, those that the live view uses are understood: positions, erasing, styles. Everything else that
begins with ESC is left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Cell", "OnScreen", "Screen"]

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b.|([^\x1b]+)", re.DOTALL)
_PARTIAL = re.compile(r"\x1b(\[[0-9;?]*)?\Z")
PATIENCE = 60.0


class Cell(NamedTuple):
    character: str = " "
    style: str = ""
    """The numbers of the sequence that set it: ``1``, ``36``."""


class Screen:
    """Takes what a program writes."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns = columns
        self.rows = [[Cell()] * columns for _ in range(lines)]
        self._row = self._column = 0
        self._style = ""
        self._kept = ""

    def feed(self, text: str) -> None:
        text = self._kept + text
        partial = _PARTIAL.search(text)
        self._kept = partial[0] if partial else ""
        for found in _TOKEN.finditer(text[: len(text) - len(self._kept)]):
            numbers, command, plain = found.groups()
            if plain:
                self._write(plain)
            elif command:
                self._command(numbers, command)

    def _write(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self._row = min(self._row + 1, len(self.rows) - 1)
            elif character == "\r":
                self._column = 0
            elif self._column < self.columns:
                self.rows[self._row][self._column] = Cell(character, self._style)
                self._column += 1

    def _command(self, numbers: str, command: str) -> None:
        if command == "m":
            self._style = "" if numbers in ("", "0") else numbers
        elif command == "H":
            line, _, column = numbers.partition(";")
            self._row = min(int(line or 1), len(self.rows)) - 1
            self._column = min(int(column or 1), self.columns) - 1
        elif command == "K":
            self.rows[self._row][self._column :] = [Cell()] * (self.columns - self._column)
        elif command == "J":
            for row in range(0 if numbers == "2" else self._row, len(self.rows)):
                self.rows[row] = [Cell()] * self.columns

    @property
    def text(self) -> list[str]:
        return ["".join(cell.character for cell in row).rstrip() for row in self.rows]


class OnScreen:
    """A command on a terminal of ``size`` (columns, lines). With ``mirror`` whoever sits here sees it, too."""

    def __init__(self, command: Sequence[str], size: tuple[int, int], *, mirror: bool = False) -> None:
        self.screen = Screen(*size)
        self.mirror = mirror
        self.pid, self._fd = pty.fork()
        if not self.pid:
            os.environ.setdefault("TERM", "xterm-256color")
            os.execv(command[0], list(command))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        kept = b""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # it has ended
                return
            if not data:
                return
            if self.mirror:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            kept += data
            text = kept.decode(errors="ignore")
            kept = kept[len(text.encode()) :] if len(text.encode()) <= len(kept) else b""
            self.screen.feed(text)

    def keys(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def see(self, pattern: str) -> re.Match[str]:
        """Wait until a pattern stands on the screen."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, "\n".join(self.screen.text))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} is not to be seen:\n" + "\n".join(self.screen.text))
            time.sleep(0.05)
        return found

    def close(self) -> None:
        """Have it quit, and wait for that."""
        with contextlib.suppress(OSError):
            self.keys("q")
        os.waitpid(self.pid, 0)
        self._reader.join(5)
        os.close(self._fd)
