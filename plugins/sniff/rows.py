"""Rows of tables, made ready to be shown: chosen, with rates in place of totals, sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from l4proxy.plugins.sniff.choice import Choice
from l4proxy.table import Cell, ColumnKind, Row, Table

__all__ = ["Rates", "chosen_rows", "sorted_rows"]

RATES = (ColumnKind.RATE, ColumnKind.BYTE_RATE)
SHORTEST = 0.5
"""Seconds over which a rate is taken at least."""


class Rates:
    """Remembers totals, to tell by how much they grow. ``began()`` is when they were 0."""

    def __init__(self, began: Callable[[], float]) -> None:
        self._began = began
        self._seen: dict[str, tuple[float, dict[Row, Row], dict[Row, Row]]] = {}
        """By table: when its totals were taken, the totals, and the rates then; by the rows' keys."""

    def apply(self, table: Table, rows: Sequence[Row], now: float) -> list[Row]:
        """The rows, with rates in place of totals: since they were last shown or, the first time, since the
        beginning."""
        columns = [at for at, column in enumerate(table.columns) if column.kind in RATES]
        if not columns:
            return list(rows)
        then, totals, rates = self._seen.get(table.name, (self._began(), {}, {}))
        seconds = now - then
        if table.name in self._seen and seconds < SHORTEST:
            return [self._with(row, columns, rates.get(row[: table.keys])) for row in rows]
        new_totals = {row[: table.keys]: tuple(row[at] for at in columns) for row in rows}
        new_rates = {key: _growth(new, totals.get(key), seconds) for key, new in new_totals.items()}
        self._seen[table.name] = now, new_totals, new_rates
        return [self._with(row, columns, new_rates[row[: table.keys]]) for row in rows]

    def average(self, table: Table, rows: Sequence[Row], now: float) -> list[Row]:
        """The same over all of the time."""
        columns = [at for at, column in enumerate(table.columns) if column.kind in RATES]
        seconds = now - self._began()
        return [self._with(row, columns, _growth(tuple(row[at] for at in columns), None, seconds)) for row in rows]

    @staticmethod
    def _with(row: Row, columns: Sequence[int], rates: Row | None) -> Row:
        changed = list(row)
        for number, at in enumerate(columns):
            changed[at] = None if rates is None else rates[number]
        return tuple(changed)


def _growth(new: Row, old: Row | None, seconds: float) -> Row:
    def one(now: Cell, before: Cell) -> Cell:
        if not isinstance(now, int | float) or seconds <= 0:
            return None
        return max(0.0, now - (before if isinstance(before, int | float) else 0)) / seconds

    return tuple(one(now, before) for now, before in zip(new, old or (None,) * len(new), strict=True))


def chosen_rows(table: Table, choice: Choice, opened: Sequence[tuple[str, Cell]] = ()) -> list[Row]:
    """The rows that the options choose, and that belong to the row that was opened: equal to it in these columns."""
    titles = [column.title for column in table.columns]
    wanted = [(titles.index(title), value) for title, value in opened if title in titles]
    return [row for row in choice.rows(table) if all(row[at] == value for at, value in wanted)]


def sorted_rows(rows: Sequence[Row], column: int, *, descending: bool) -> list[Row]:
    """What has no value comes last, either way."""
    there = [row for row in rows if row[column] is not None]
    there.sort(key=lambda row: (isinstance(row[column], str), row[column]), reverse=descending)
    return there + [row for row in rows if row[column] is None]
