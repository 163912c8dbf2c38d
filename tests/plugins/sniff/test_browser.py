from __future__ import annotations

import random

from sniffing import Kept


def test_a_table_is_sorted_as_it_wants_to_be() -> None:
    kept = Kept()
    assert kept.names == ["t4", "t3", "t2"]
    assert kept.browser.rows[0] == ("t4", 40, 0.4)
    assert kept.selected == "t4"


def test_moving_scrolls() -> None:
    kept = Kept()
    assert kept.press("down", "j").selected == "t2"
    assert kept.names == ["t4", "t3", "t2"]
    assert kept.press("down").names == ["t3", "t2", "t1"]
    assert kept.press("down", "down", "down").selected == "t0"
    assert kept.press("up", "k").names == ["t2", "t1", "t0"]
    assert kept.press("page_up", "page_up").selected == "t4"
    assert kept.press("page_down").selected == "t2"
    assert kept.press("end").selected == "t0"
    assert kept.press("home").selected == "t4"
    assert kept.press("G", "g").selected == "t4"


def test_what_is_selected_stays_so_wherever_it_moves() -> None:
    kept = Kept()
    assert kept.press("down").selected == "t3"
    kept.topics[3] = ("t3", 0, 0)
    assert kept.press("x").selected == "t3"
    assert kept.names == ["t1", "t0", "t3"]
    del kept.topics[3]
    assert kept.press("x").selected == "t0"  # it is gone: the same place


def test_at_the_top_one_sees_what_comes_in_there() -> None:
    kept = Kept()
    kept.press("down", "home")
    kept.topics.append(("new", 1000, 0))
    kept.press("x")
    assert kept.selected == "new"


def test_sorting() -> None:
    kept = Kept()
    assert kept.press("S").names == ["t0", "t1", "t2"]  # texts from A to Z
    assert kept.press("r").names == ["t4", "t3", "t2"]
    assert kept.press("s", "s").browser.place.sort == 2
    assert kept.names == ["t4", "t3", "t2"]
    assert kept.press("s").browser.place.sort == 0


def test_filtering() -> None:
    kept = Kept()
    kept.press("/", "3", "x", "backspace")
    assert kept.browser.typing
    assert kept.names == ["t3"]
    assert not kept.press("enter").browser.typing
    assert kept.press("q").browser.quit
    kept = Kept()
    assert kept.press("/", "T", "4").names == ["t4"]
    assert kept.press("escape").names == ["t4", "t3", "t2"]
    assert kept.press("/", "x", "enter").names == []
    assert kept.press("down", "up", "enter", "end", "home").browser.place.table.name == "topics"
    assert kept.press("escape").names == ["t4", "t3", "t2"]


def test_keys_that_come_at_once_mean_what_they_mean_one_by_one() -> None:
    kept = Kept()
    for key in ("/", "t", "1", "enter", "enter"):
        kept.browser.key(key)
    kept.browser.refresh()
    assert kept.browser.place.opened == (("topic", "t1"),)
    for key in ("escape", "escape", "r", "down", "enter"):
        kept.browser.key(key)
    assert kept.browser.place.opened == (("topic", "t1"),)  # the second from below


def test_opening_a_row() -> None:
    kept = Kept()
    kept.press("down", "enter")
    assert kept.browser.place.table.name == "partitions"
    assert kept.browser.place.opened == (("topic", "t3"),)
    assert [row[:2] for row in kept.browser.rows] == [("t3", 3), ("t3", 8), ("t3", 13)]
    assert kept.press("enter").browser.place.table.name == "partitions"  # it leads nowhere
    assert kept.press("escape").selected == "t3"
    assert kept.press("backspace").browser.place.table.name == "topics"


def test_other_tables() -> None:
    kept = Kept()
    assert kept.press("right").browser.place.table.name == "partitions"
    assert len(kept.browser.rows) == 15
    assert kept.press("right").browser.place.table.name == "topics"
    assert kept.press("left").browser.place.table.name == "partitions"
    assert kept.press("1").browser.place.table.name == "topics"
    assert kept.press("2", "9", "0").browser.place.table.name == "partitions"


def test_while_paused_nothing_is_asked_for_and_all_can_be_looked_at() -> None:
    kept = Kept()
    kept.press("p")
    asked = kept.asked
    kept.topics[0] = ("t0", 1000, 0)
    assert kept.press("s", "S", "x").names == ["t4", "t3", "t2"]
    assert kept.asked == asked
    kept.press("enter")
    kept.partitions.clear()
    assert len(kept.press("x").browser.rows) == 3
    assert kept.press("escape").names == ["t4", "t3", "t2"]
    assert kept.asked == asked
    assert kept.press(" ").names == ["t0", "t4", "t3"]


def test_help_goes_away_with_any_key() -> None:
    kept = Kept()
    assert kept.press("?").browser.help
    assert not kept.press("q").browser.help
    assert not kept.browser.quit
    assert kept.press("h").browser.help


def test_when_all_is_over_rates_are_those_of_all_the_time() -> None:
    kept = Kept()
    kept.now = 110.0
    kept.press("x")
    assert kept.browser.rows[0][2] == 0.0
    kept.browser.averages = True
    kept.press("x")
    assert kept.browser.rows[0][2] == 4 / 20


def test_any_keys_at_any_time_leave_a_row_selected_and_on_the_screen() -> None:
    chance = random.Random(1)
    keys = ["up", "down", "page_up", "page_down", "home", "end", "left", "right", "enter", "escape", "s", "S", "r", "/",
            "t", "1", "p", "backspace", "?"]  # fmt: skip
    for _ in range(30):
        kept = Kept(chance.randint(0, 8))
        for _ in range(100):
            if chance.random() < 0.3 and kept.topics:
                kept.topics[chance.randrange(len(kept.topics))] = (f"t{chance.randint(0, 9)}", chance.randint(0, 99), 1)
            kept.browser.page = chance.randint(1, 6)
            kept.press(chance.choice(keys))
            place, rows = kept.browser.place, kept.browser.rows
            assert 0 <= place.row < len(rows) or (place.row, len(rows)) == (0, 0)
            assert place.top <= place.row < place.top + kept.browser.page
