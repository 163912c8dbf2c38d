from __future__ import annotations

from typing import Any

import pytest

from l4proxy.exchange import Notice, Selector
from l4proxy.plugins.sniff.choice import Choice
from l4proxy.table import Column, Row, Table
from line_inspector import LineInspector
from sniffing import LINK, exchange


class Clients(LineInspector):
    selectors = (Selector("client", "CLIENT", "", lambda one: ("app-" + one.asked,)),)


def chooses(patterns: dict[str, list[str]], inspector: type[Any] = LineInspector, **options: Any) -> Choice:
    return Choice(inspector, patterns, **options)


def test_everything_unless_something_is_asked_for() -> None:
    choice = chooses({"client": [], "word": []})
    assert choice.is_all
    assert choice(exchange())
    assert choice(Notice(LINK, 1.0, "tls", "it is encrypted"))


@pytest.mark.parametrize(("patterns", "options", "chosen"), [
    ({"client": ["192.0.2.1"]}, {}, True),
    ({"client": ["192.0.2.1:40000"]}, {}, True),
    ({"client": ["192.0.2.*"]}, {}, True),
    ({"client": ["192.0.2.2"]}, {}, False),
    ({"client": ["192.0.2.2", "192.*"]}, {}, True),
    ({"word": ["GET"]}, {}, True),
    ({"word": ["get"]}, {}, False),
    ({"word": ["?ET"], "text": ["b"]}, {}, False),
    ({"word": ["?ET"], "text": ["b", "a"]}, {}, True),
    ({}, {"errors": True}, False),
    ({}, {"slow": 0.25}, True),
    ({}, {"slow": 0.3}, False),
])  # fmt: skip
def test_options_choose(patterns: dict[str, list[str]], options: dict[str, Any], chosen: bool) -> None:
    choice = chooses(patterns, **options)
    assert not choice.is_all
    assert choice(exchange("GET a", seconds=0.25)) is chosen


def test_what_has_no_answer_was_not_slow() -> None:
    assert not chooses({}, slow=0.0)(exchange("QUIET a", None, None))
    assert chooses({}, errors=True)(exchange(answer="ERR no"))


def test_notices_are_chosen_by_what_they_have() -> None:
    notice = Notice(LINK, 1.0, "tls", "it is encrypted", error="tls")
    assert chooses({"client": ["192.0.2.1"]}, errors=True)(notice)
    assert not chooses({"client": ["192.0.2.2"]})(notice)
    assert not chooses({"text": ["*"]})(notice)
    assert not chooses({"word": ["*"]})(notice)


def test_an_inspector_can_say_what_a_client_is() -> None:
    choice = chooses({"client": ["app-a"]}, Clients)
    assert choice(exchange("GET a"))
    assert not choice(exchange("GET b"))
    assert not choice(Notice(LINK, 1.0, "tls", ""))


def test_rows_are_chosen_by_columns_of_the_same_name() -> None:
    rows: list[Row] = [("GET", 5), ("PUT", None), (None, 7)]
    table = Table("words", (Column("word"), Column("text")), lambda: rows)
    assert chooses({"word": ["G*", "P*"]}).rows(table) == rows[:2]
    assert chooses({"text": ["7"]}).rows(table) == rows[2:]
    assert chooses({"client": ["x"]}).rows(table) == rows
