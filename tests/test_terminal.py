from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.terminal import RED, paint, painter, printable, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())


@pytest.mark.parametrize(
    ("name", "value", "colour"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)]
)
def test_colour_can_be_declined(monkeypatch: pytest.MonkeyPatch, name: str, value: str, colour: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert wants_colour(Terminal()) is colour


def test_painted_text_ends_its_colour() -> None:
    assert paint("x", RED) == "\x1b[31mx\x1b[0m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, größer, 漢字", "plain text, größer, 漢字"),
        ("two\r\nlines", r"two\r\nlines"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
    ],
)
def test_strangers_text_is_shown_on_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    assert printable(text).isprintable()


def test_a_painter_paints_what_wants_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert painter(Terminal())("x", RED) == "\x1b[31mx\x1b[0m"
    assert painter(io.StringIO())("x", RED) == "x"
