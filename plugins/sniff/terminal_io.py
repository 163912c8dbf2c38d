"""A terminal as a live view uses it: keys in, lines out, and everything as it was at the end.

A terminal may take nothing for a while: somebody has pressed Ctrl-S, a line is slow or lost. So a thread writes, and
only that one waits: the traffic of a proxy goes on, and frames that the terminal has no time for are never made.

Escape sequences are those of every terminal since the VT100 (ECMA-48), with the alternate screen of xterm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

__all__ = ["Keys", "Terminal"]

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN_UPDATE, _END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"
_PATIENCE = 1.0
"""Seconds that a terminal has to take the last bytes."""
_KEYS = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[C": "right", b"\x1bOC": "right", b"\x1b[D": "left", b"\x1bOD": "left",
    b"\x1b[5~": "page_up", b"\x1b[6~": "page_down", b"\x1b[H": "home", b"\x1b[F": "end", b"\x1bOH": "home",
    b"\x1bOF": "end", b"\x1b[1~": "home", b"\x1b[4~": "end", b"\x1b[Z": "left",
    b"\r": "enter", b"\n": "enter", b"\t": "right", b"\x7f": "backspace", b"\x08": "backspace", b"\x1b": "escape",
    b"\x03": "q", b"\x04": "q", b"\x0c": "redraw",
}  # fmt: skip
_KEY = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])?|[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*", re.DOTALL)


class Keys:
    """Names of the keys in what a terminal sends: ``up``, ``enter``, ``escape`` ..., or the character."""

    @staticmethod
    def parse(data: bytes) -> Iterator[str]:
        for found in _KEY.finditer(data):
            key = found[0]
            if key in _KEYS:
                yield _KEYS[key]
            elif not key.startswith(b"\x1b"):
                text = key.decode(errors="ignore")
                if text and text.isprintable():
                    yield text


class Terminal:
    """The terminal that standard output is; keys come from it, too, whatever standard input is."""

    def __init__(self) -> None:
        """Raises OSError where there is no terminal."""
        self._own = not sys.stdin.isatty()
        self.fd = os.open("/dev/tty", os.O_RDWR) if self._own else sys.stdin.fileno()
        self._before: list[Any] | None = None
        self._shown: list[str] = []
        self._first = ""
        """What the next frame begins with."""
        self._writer = _Writer(sys.stdout.fileno(), sys.stdout.encoding)

    def enter(self) -> None:
        """Keys come one by one and are not echoed; the screen is ours from the next frame on."""
        self._before = termios.tcgetattr(self.fd)
        tty.setcbreak(self.fd, termios.TCSANOW)
        self._first = _ENTER

    async def leave(self) -> None:
        """As it was before; harmless when that is so."""
        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(termios.error):  # it has gone
                termios.tcsetattr(self.fd, termios.TCSANOW, _flowing(before))
            self._writer.put(_LEAVE)
            await asyncio.to_thread(self._writer.close, _PATIENCE)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.fd, termios.TCSANOW, before)
        if self._own and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read_keys(self) -> Iterator[str]:
        return Keys.parse(os.read(self.fd, 1024))

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            return os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24

    @property
    def ready(self) -> bool:
        """Whether it has taken the last frame. Raises OSError when there is no terminal any more."""
        return self._writer.idle

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, of a terminal that is ready; those that stand there already are left alone."""
        parts = []
        for at, line in enumerate(lines):
            if at >= len(self._shown) or self._shown[at] != line:
                parts.append(f"\x1b[{at + 1};1H\x1b[K{line}\x1b[0m")
        if len(lines) < len(self._shown):
            parts.append(f"\x1b[{len(lines) + 1};1H\x1b[J")
        if parts:
            self._writer.put(self._first + _BEGIN_UPDATE + "".join(parts) + _END_UPDATE)
            self._first = ""
        self._shown = list(lines)

    def forget(self) -> None:
        """Draw everything anew next time: the terminal's size has changed."""
        self._shown = []
        self._first += "\x1b[2J"


def _flowing(attributes: list[Any]) -> list[Any]:
    """Without Ctrl-S, which also ends the effect of one that was pressed."""
    return [attributes[0] & ~termios.IXON, *attributes[1:]]


class _Writer:
    """Writes in a thread, which begins with the first text."""

    def __init__(self, fd: int, encoding: str) -> None:
        self._fd = fd
        self._encoding = encoding
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._put = self._taken = 0
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="l4proxy screen", daemon=True)

    @property
    def idle(self) -> bool:
        """Whether everything is written. Raises OSError when nothing can be, any more."""
        if self._error is not None:
            raise self._error
        return self._put == self._taken

    def put(self, text: str) -> None:
        if not self._put:
            self._thread.start()
        self._put += 1
        self._texts.put(text)

    def close(self, patience: float) -> None:
        """Wait so many seconds at most for the last text to be written."""
        self._texts.put(None)
        if self._put:
            self._thread.join(patience)

    def _run(self) -> None:
        while (text := self._texts.get()) is not None:
            try:
                self._write(text.encode(self._encoding, "replace"))
            except OSError as error:
                self._error = error
                return
            self._taken += 1

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody else has made it so
                select.select([], [self._fd], [])
