from __future__ import annotations

import io
import os
import pty
import sys
import termios

import pytest

from l4proxy.plugins.sniff.terminal_io import Keys, Terminal


def test_keys_have_names() -> None:
    typed = b"\x1b[A\x1bOB\x1b[C\x1b[D\x1b[5~\x1b[6~\x1b[H\x1b[4~\r\n\t\x7f\x1b\x03\x0cq/\xc3\xa4 "
    assert list(Keys.parse(typed)) == [
        "up", "down", "right", "left", "page_up", "page_down", "home", "end", "enter", "enter", "right", "backspace",
        "escape", "q", "redraw", "q", "/", "ä", " ",
    ]  # fmt: skip


def test_what_means_nothing_is_nothing() -> None:
    assert list(Keys.parse(b"\x1b[999z\x00\x01\xff\x1b[1;5A")) == []


class Screen(io.StringIO):
    """What a terminal was sent."""

    def fileno(self) -> int:
        raise OSError


def test_a_terminal_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Screen()
    monkeypatch.setattr(sys, "stdout", sent)
    master, slave = pty.openpty()
    with os.fdopen(slave, "r", closefd=False) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(slave)
        terminal = Terminal()
        terminal.enter()
        assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON)
        os.write(master, b"q\x1b[A")
        assert list(terminal.read_keys()) == ["q", "up"]
        terminal.leave()
        terminal.leave()
        assert termios.tcgetattr(slave) == before
    assert sent.getvalue().startswith("\x1b[?1049h")
    assert sent.getvalue().endswith("\x1b[?1049l")
    assert sent.getvalue().count("\x1b[?1049l") == 1
    os.close(master)
    os.close(slave)


def test_only_lines_that_changed_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Screen()
    monkeypatch.setattr(sys, "stdout", sent)
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        terminal = Terminal()

        def drawn(*lines: str) -> str:
            sent.truncate(0)
            sent.seek(0)
            terminal.draw(lines)
            return sent.getvalue()

        assert "1;1H\x1b[Ka" in drawn("a", "b")
        assert drawn("a", "b") == ""
        changed = drawn("a", "c")
        assert "1;1H" not in changed
        assert "2;1H\x1b[Kc" in changed
        assert "\x1b[2;1H\x1b[J" in drawn("a")
        terminal.forget()
        assert "1;1H\x1b[Ka" in drawn("a")
        assert terminal.size == (80, 24)
    os.close(master)
