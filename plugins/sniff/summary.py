"""What a run has seen, said at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO

from l4proxy.plugins.sniff.cells import cell_text, seconds_text
from l4proxy.plugins.sniff.grid import grid
from l4proxy.plugins.sniff.rows import Rates, chosen_rows, sorted_rows
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.table import ColumnKind, Table
from l4proxy.terminal import BOLD, Painter, painter, printable

__all__ = ["MOST_ROWS", "facts_of_watch", "print_summary"]

MOST_ROWS = 10
"""Of each table; the live view and the metrics have all of them."""


def facts_of_watch(sight: Sight) -> Iterable[tuple[str, str]]:
    """How many connections there were, and of which nothing is understood."""
    stats = sight.watch.stats
    yield "connections", f"{stats.connections_total:,}"
    if stats.stopped_total:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in stats.stopped_total.values.items())
        yield "not understood", reasons


def print_summary(
    sight: Sight, facts: Iterable[tuple[str, str]], begin: float, now: float, stream: IO[str] | None = None
) -> None:
    """``begin`` and ``now`` are the times of what was seen first and last."""
    stream = stream or sys.stderr
    paint = painter(stream)
    took = [("time", seconds_text(now - begin))] if now > begin > 0 else []
    for name, value in [*took, *facts_of_watch(sight), *facts]:
        print(f"{paint(f'{name:15}', BOLD)} {printable(value)}", file=stream)
    rates = Rates(lambda: begin)
    for table in sight.watch.inspector.tables():
        _print_table(table, sight, rates, now, stream, paint)


def _print_table(table: Table, sight: Sight, rates: Rates, now: float, stream: IO[str], paint: Painter) -> None:
    rows = rates.average(table, chosen_rows(table, sight.choice), now)
    if not rows:
        return
    titles = [column.title for column in table.columns]
    if table.sort:
        column = titles.index(table.sort)
        rows = sorted_rows(rows, column, descending=table.columns[column].kind is not ColumnKind.TEXT)
    else:
        rows = sorted_rows(rows, 0, descending=False)
    header, *lines = grid(table.columns, rows[:MOST_ROWS], None)
    print(f"\n{table.name}\n{paint(header.rstrip(), BOLD)}", file=stream)
    for line in lines:
        print(line.rstrip(), file=stream)
    if len(rows) > MOST_ROWS:
        print(f"and {cell_text(ColumnKind.NUMBER, len(rows) - MOST_ROWS)} more", file=stream)
