from __future__ import annotations

import pytest

from l4proxy.plugins.sniff.choice import Choice
from l4proxy.plugins.sniff.rows import Rates, chosen_rows, sorted_rows
from l4proxy.table import Column, ColumnKind, Row, Table
from line_inspector import LineInspector

COLUMNS = (
    Column("topic"), Column("partition", ColumnKind.NUMBER), Column("records/s", ColumnKind.RATE),
    Column("bytes/s", ColumnKind.BYTE_RATE),
)  # fmt: skip
TABLE = Table("partitions", COLUMNS, list, keys=2)
PLAIN = Table("plain", COLUMNS[:2], list)


def test_rates_are_since_the_rows_were_last_shown() -> None:
    rates = Rates(lambda: 100.0)
    assert rates.apply(TABLE, [("a", 0, 50, 500)], 110.0) == [("a", 0, 5.0, 50.0)]
    assert rates.apply(TABLE, [("a", 0, 70, 500), ("b", 0, 6, 60)], 112.0) == [("a", 0, 10.0, 0.0), ("b", 0, 3.0, 30.0)]


def test_rates_hold_for_a_while_however_often_the_rows_are_drawn() -> None:
    rates = Rates(lambda: 100.0)
    rates.apply(TABLE, [("a", 0, 50, 500)], 110.0)
    rows: list[Row] = [("a", 0, 5000, 500), ("b", 0, 1, 1)]
    assert rates.apply(TABLE, rows, 110.1) == [("a", 0, 5.0, 50.0), ("b", 0, None, None)]
    assert rates.apply(TABLE, rows, 111.0)[0] == ("a", 0, 4950.0, 0.0)


def test_rates_of_totals_that_went_back_or_are_not_there() -> None:
    rates = Rates(lambda: 0.0)
    rates.apply(TABLE, [("a", 0, 50, None)], 10.0)
    assert rates.apply(TABLE, [("a", 0, 5, 10)], 20.0) == [("a", 0, 0.0, 1.0)]
    assert rates.apply(TABLE, [("a", 0, None, 10)], 30.0) == [("a", 0, None, 0.0)]


def test_no_time_has_passed() -> None:
    assert Rates(lambda: 10.0).apply(TABLE, [("a", 0, 50, 1)], 10.0) == [("a", 0, None, None)]


def test_averages() -> None:
    assert Rates(lambda: 100.0).average(TABLE, [("a", 0, 50, None)], 110.0) == [("a", 0, 5.0, None)]


def test_a_table_without_rates_stays_as_it_is() -> None:
    assert Rates(lambda: 0.0).apply(PLAIN, [("a", 1)], 5.0) == [("a", 1)]


def test_rows_that_belong_to_the_one_that_was_opened() -> None:
    rows: list[Row] = [("a", 0), ("a", 1), ("b", 0)]
    table = Table("partitions", COLUMNS[:2], lambda: rows, keys=2)
    choice = Choice(LineInspector, {})
    assert chosen_rows(table, choice, [("topic", "a")]) == rows[:2]
    assert chosen_rows(table, choice, [("topic", "b"), ("partition", 0)]) == rows[2:]
    assert chosen_rows(table, choice, [("no such column", "b")]) == rows


@pytest.mark.parametrize("descending", [False, True])
def test_what_has_no_value_comes_last(descending: bool) -> None:
    rows: list[Row] = [("a", 2), ("b", None), ("c", 3), ("d", "text"), ("e", 1)]
    ordered = [row[0] for row in sorted_rows(rows, 1, descending=descending)]
    assert ordered == (["d", "c", "a", "e", "b"] if descending else ["e", "a", "c", "d", "b"])
