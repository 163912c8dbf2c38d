from __future__ import annotations

import re

import pytest

from l4proxy.plugins.sniff.cells import width_of
from l4proxy.plugins.sniff.screen import Head, screen
from l4proxy.terminal import paint
from sniffing import Kept

HEAD = Head("line: lo, port 7777", "12:00:01", [("packets", "12"), ("evil", "\x1b[2J")])


def drawn(kept: Kept, columns: int = 70, lines: int = 12, head: Head = HEAD) -> list[str]:
    kept.browser.refresh()
    return screen(kept.browser, head, columns, lines, lambda text, style: text)


def test_a_whole_screen() -> None:
    lines = drawn(Kept())
    assert [line.rstrip() for line in lines] == [
        "line: lo, port 7777                                           12:00:01",
        r"packets 12  evil \x1b[2J",
        " 1 topics  2 partitions",
        "topic  records ▼  per second",
        "t4            40         0.4",
        "t3            30         0.3",
        "t2            20         0.2",
        "t1            10         0.1",
        "t0             0           0",
        "",
        "",
        "q quit  ? help  ←→ tables  ↑↓ rows  Enter open  Esc back  s sort … 1/5",
    ]


def test_the_way_to_a_row_that_was_opened() -> None:
    kept = Kept().press("down", "enter")
    lines = drawn(kept)
    assert lines[2].rstrip() == " 1 topics t3 > partitions  2 partitions"
    assert lines[3].rstrip() == "topic ▲  partition  records"


def test_the_table_that_is_shown_is_among_those_that_are_named() -> None:
    assert drawn(Kept(), columns=20)[2] == " 1 topics  2 partit…"
    assert drawn(Kept().press("right"), columns=20)[2].rstrip() == "… 2 partitions"


def test_states() -> None:
    assert drawn(Kept().press("p"))[0].endswith("PAUSED 12:00:01")
    kept = Kept()
    kept.browser.averages = True
    assert drawn(kept)[0].endswith("END 12:00:01")
    assert drawn(Kept(), head=HEAD._replace(message="WARNING x\n"))[-2].rstrip() == r"WARNING x\n"
    kept = Kept().press("/", "t", "3")
    assert drawn(kept)[-1].rstrip() == "/t3█"
    assert drawn(kept.press("enter"))[-1].startswith("/t3  q quit")
    assert drawn(kept.press("/", "x"))[5].strip() == "nothing fits"
    assert drawn(Kept(0))[5].strip() == "nothing yet"
    assert "the other tables" in drawn(Kept().press("?"))[3]


def test_the_selected_row_is_marked() -> None:
    kept = Kept().press("down")
    marked = [
        line
        for line in screen(kept.browser, HEAD, 40, 12, paint)
        if line.startswith("\x1b[7m") and "1 topics" not in line
    ]
    assert [line[4:6] for line in marked] == ["t3"]


@pytest.mark.parametrize("columns", [1, 5, 20, 79, 80, 200])
@pytest.mark.parametrize("lines", [1, 2, 5, 6, 7, 24])
@pytest.mark.parametrize("keys", [[], ["?"], ["/", "a"], ["enter"], ["p"], ["right"]])
def test_a_screen_is_never_larger_than_the_terminal(columns: int, lines: int, keys: list[str]) -> None:
    kept = Kept().press(*keys)
    kept.browser.refresh()
    shown = screen(kept.browser, HEAD._replace(message="m" * 300), columns, lines, paint)
    assert len(shown) == lines
    assert all(width_of(re.sub(r"\x1b\[[0-9]*m", "", line)) <= columns for line in shown)
