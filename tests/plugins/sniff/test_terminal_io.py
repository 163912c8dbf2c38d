from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pty
import select
import sys
import termios
from collections.abc import Iterator

import pytest

from l4proxy.plugins.sniff.terminal_io import Keys, Terminal
from proxy_process import wait_until


def test_keys_have_names() -> None:
    typed = b"\x1b[A\x1bOB\x1b[C\x1b[D\x1b[5~\x1b[6~\x1b[H\x1b[4~\r\n\t\x7f\x1b\x03\x0cq/\xc3\xa4 "
    assert list(Keys.parse(typed)) == [
        "up", "down", "right", "left", "page_up", "page_down", "home", "end", "enter", "enter", "right", "backspace",
        "escape", "q", "redraw", "q", "/", "ä", " ",
    ]  # fmt: skip


def test_what_means_nothing_is_nothing() -> None:
    assert list(Keys.parse(b"\x1b[999z\x00\x01\xff\x1b[1;5A")) == []


@contextlib.contextmanager
def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, int]]:
    """A terminal of 80 columns and 24 lines, which is standard input and output, and its other side."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    with os.fdopen(slave, "r", closefd=False) as stdin, os.fdopen(slave, "w") as stdout:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)
        yield Terminal(), master
    os.close(master)


def read_until(master: int, end: str) -> str:
    read = b""
    while not read.endswith(end.encode()):
        assert select.select([master], [], [], 20)[0], read
        read += os.read(master, 1 << 16)
    return read.decode()


def test_a_terminal_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of(monkeypatch) as (terminal, master):
        before = termios.tcgetattr(sys.stdin)
        terminal.enter()
        assert not termios.tcgetattr(sys.stdin)[3] & (termios.ECHO | termios.ICANON)
        os.write(master, b"q\x1b[A")
        assert list(terminal.read_keys()) == ["q", "up"]
        terminal.draw(["a"])
        asyncio.run(terminal.leave())
        asyncio.run(terminal.leave())
        assert termios.tcgetattr(sys.stdin) == before
        sent = read_until(master, "\x1b[?1049l")
        assert sent.startswith("\x1b[?1049h")
        assert sent.count("\x1b[?1049l") == 1


def test_only_lines_that_changed_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of(monkeypatch) as (terminal, master):

        def drawn(*lines: str) -> str:
            terminal.draw([*lines, str(next(frames))])
            sent = read_until(master, "\x1b[?2026l")
            wait_until(lambda: terminal.ready, "it is known to be written")
            return sent

        frames = itertools.count()
        assert "1;1H\x1b[Ka" in drawn("a", "b")
        assert "b" not in drawn("a", "b")
        changed = drawn("a", "c")
        assert "1;1H" not in changed
        assert "2;1H\x1b[Kc" in changed
        assert "\x1b[3;1H\x1b[J" in drawn("a")
        terminal.forget()
        assert "\x1b[2J" in (anew := drawn("a"))
        assert "1;1H\x1b[Ka" in anew
        assert terminal.size == (80, 24)


def test_one_that_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of(monkeypatch) as (terminal, master):
        terminal.enter()
        frames = 0
        while not frames or terminal.ready:
            frames += 1
            terminal.draw([str(frames) * 2000] * 24)
        os.set_blocking(master, False)
        read = b""
        while read.count(b"\x1b[?2026l") < frames:
            with contextlib.suppress(BlockingIOError):
                read += os.read(master, 1 << 16)
        wait_until(lambda: terminal.ready, "it is known to be written")
        asyncio.run(terminal.leave())


def test_one_that_was_stopped_goes_on_when_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of(monkeypatch) as (terminal, master):
        terminal.enter()
        os.write(master, b"\x13")  # Ctrl-S
        terminal.draw(["a"])
        assert not terminal.ready
        asyncio.run(terminal.leave())
        assert read_until(master, "\x1b[?1049l").startswith("\x1b[?1049h")
        assert termios.tcgetattr(sys.stdin)[0] & termios.IXON


def test_one_that_has_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of(monkeypatch) as (terminal, master):
        terminal.enter()
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), master)
        terminal.draw(["a"])
        with pytest.raises(OSError, match="Input/output error"):
            wait_until(lambda: terminal.ready < 0, "its loss is noticed")
        asyncio.run(terminal.leave())
