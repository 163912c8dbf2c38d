"""The tables of filters: what those that watch know of the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from l4proxy.table import ColumnKind

if TYPE_CHECKING:
    from l4proxy.chain import FilterUse
    from l4proxy.server import Server
    from l4proxy.table import Row, Table

__all__ = ["tables"]


def tables(server: Server, filter: str = "", table: str = "", limit: int = 10) -> list[dict[str, Any]]:
    """Those of the filter and of the name that are given, or all; of each the first ``limit`` rows, in its order.

    Rates are left out: nobody knows here how much a total has grown."""
    found: list[dict[str, Any]] = []
    for use, one in _tables(server, filter):
        if not table or one.name == table:
            described = _table(use, one, limit)
            if described not in found:  # several uses may share what they know
                found.append(described)
    return found


def _tables(server: Server, filter: str) -> Iterator[tuple[FilterUse, Table]]:
    for listener in server.listeners:
        for chain in listener.chains:
            for use in chain.filters:
                if not filter or use.name == filter:
                    yield from ((use, one) for one in use.cls.tables(use.shared))


def _table(use: FilterUse, table: Table, limit: int) -> dict[str, Any]:
    shown = [at for at, column in enumerate(table.columns) if column.kind is not ColumnKind.RATE]
    rows = _sorted(table)
    return {
        "filter": use.name,
        "table": table.name,
        "columns": [table.columns[at].title for at in shown],
        "kinds": [table.columns[at].kind.value.replace("byte_rate", "bytes") for at in shown],
        "rows": [[row[at] for at in shown] for row in rows[:limit]],
        "rows_total": len(rows),
    }


def _sorted(table: Table) -> list[Row]:
    rows = list(table.rows())
    titles = [column.title for column in table.columns]
    if table.sort:
        at = titles.index(table.sort)
        rows.sort(key=lambda row: value if isinstance(value := row[at], int | float) else 0, reverse=True)
    else:
        rows.sort(key=lambda row: tuple(map(str, row[: table.keys])))
    return rows
