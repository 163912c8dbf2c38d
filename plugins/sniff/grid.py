"""A table as lines of text, as wide as there is room."""

from __future__ import annotations

from collections.abc import Sequence

from l4proxy.plugins.sniff.cells import cell_text, fitted, is_number, width_of
from l4proxy.table import Column, ColumnKind, Row

__all__ = ["grid"]

GAP = 2
NARROWEST = 6
"""Columns of a terminal to which a text may be shortened before columns of the table are left out."""
NARROWEST_NAME = 20
"""The same of the first one, which says what a row is about; but it never has more than a quarter of the terminal for
this."""


def grid(columns: Sequence[Column], rows: Sequence[Row], width: int | None, marks: Sequence[str] = ()) -> list[str]:
    """The header and the rows. Texts are shortened, and then the last columns left out, until ``width`` is enough
    (None: it always is). ``marks`` stand behind the titles (which column the table is sorted by)."""
    titles = [column.title + (marks[at] if marks else "") for at, column in enumerate(columns)]
    cells = [[cell_text(column.kind, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(titles, *cells, strict=True)]
    if width is not None:
        widths = _squeezed(columns, widths, width)
    right = [is_number(column.kind) for column in columns]
    gap = " " * GAP
    return [
        gap.join(fitted(cell, size, right=right[at]) for at, (cell, size) in enumerate(zip(line, widths, strict=False)))
        for line in (titles, *cells)
    ]


def _squeezed(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """The widths of the columns for which there is room. The last one may be as long as it likes: it is cut off."""
    widths = list(widths)
    narrowest = [max(NARROWEST, min(NARROWEST_NAME, width // 4)), *[NARROWEST] * (len(widths) - 1)]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        excess = sum(widths) + GAP * (len(widths) - 1) - width
        rooms = [
            size - least if column.kind is ColumnKind.TEXT else 0
            for column, size, least in zip(columns, widths, narrowest, strict=False)
        ]
        room = max(rooms)
        if room > 0:
            widths[rooms.index(room)] -= min(excess, max(1, room // 2))
        elif len(widths) > 1:
            widths.pop()
        else:
            return [width]
    return widths
