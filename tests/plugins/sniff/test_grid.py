from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.plugins.sniff.cells import width_of
from l4proxy.plugins.sniff.grid import grid
from l4proxy.table import Column, ColumnKind, Row

COLUMNS = (Column("topic"), Column("records", ColumnKind.NUMBER), Column("time", ColumnKind.TIME), Column("about"))
ROWS: list[Row] = [("orders", 1234, None, "a text that is not short"), ("a-topic-with-a-long-name", 5, None, "b")]


def test_as_wide_as_it_likes() -> None:
    assert grid(COLUMNS, ROWS, None, ["", " ▼", "", ""]) == [
        "topic                     records ▼  time  about                   ",
        "orders                        1,234        a text that is not short",
        "a-topic-with-a-long-name          5        b                       ",
    ]


def test_texts_are_shortened_the_longest_first() -> None:
    assert [line.rstrip() for line in grid(COLUMNS, ROWS, 50)] == [
        "topic               records  time  about",
        "orders                1,234        a text that is…",
        "a-topic-with-a-lo…        5        b",
    ]


def test_then_columns_are_left_out() -> None:
    assert grid(COLUMNS, ROWS, 16) == ["topic   records", "orders    1,234", "a-top…        5"]
    assert [line.rstrip() for line in grid(COLUMNS, ROWS, 3)] == ["to…", "or…", "a-…"]


def test_what_a_row_is_about_is_told_before_numbers_are() -> None:
    columns = (Column("endpoint"), *(Column(f"number {at}", ColumnKind.NUMBER) for at in range(5)))
    assert grid(columns, [("192.0.2.128:6379", 1, 2, 3, 4, 5)], 65) == [
        "endpoint          number 0  number 1  number 2  number 3",
        "192.0.2.128:6379         1         2         3         4",
    ]


def test_without_rows_there_is_a_header() -> None:
    assert grid(COLUMNS[:2], [], None) == ["topic  records"]


TEXTS = st.text(max_size=30)


@pytest.mark.parametrize("columns", [COLUMNS])
@given(st.lists(st.tuples(TEXTS, st.integers(), st.floats(0, 1e9), TEXTS), max_size=5), st.integers(1, 120))
def test_no_line_is_wider_than_there_is_room(columns: tuple[Column, ...], rows: list[Row], width: int) -> None:
    assert all(width_of(line) <= width for line in grid(columns, rows, width))
