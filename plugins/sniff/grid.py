"""A table as lines of text, as wide as there is room."""

from __future__ import annotations

from collections.abc import Sequence

from l4proxy.plugins.sniff.cells import cell_text, fitted, is_number, width_of
from l4proxy.table import Column, ColumnKind, Row

__all__ = ["grid"]

GAP = 2
NARROWEST = 6
"""Columns of a terminal to which a text may be shortened before columns of the table are left out."""


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
    while sum(widths) + GAP * (len(widths) - 1) > width:
        excess = sum(widths) + GAP * (len(widths) - 1) - width
        widest = max(range(len(widths)), key=lambda at: widths[at] if columns[at].kind is ColumnKind.TEXT else 0)
        room = widths[widest] - NARROWEST
        if columns[widest].kind is not ColumnKind.TEXT or room <= 0:
            if len(widths) == 1:
                return [width]
            widths.pop()
        else:
            widths[widest] -= min(excess, max(1, room // 2))
    return widths
