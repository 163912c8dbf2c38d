"""Tables of a live view, as an inspector declares them: columns, rows on demand, and where a row leads.

::

    Table(
        "topics",
        (Column("topic"), Column("records/s", ColumnKind.RATE), Column("produced", ColumnKind.BYTES)),
        rows=lambda: ((topic.name, topic.records, topic.bytes) for topic in self.topics.values()),
        into="partitions",
    )

The view sorts, filters, shortens and paints. Numbers come as they are: it is the view that knows the time between two
drawings, and makes rates of totals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

__all__ = ["Cell", "Column", "ColumnKind", "Row", "Table"]

Cell = str | int | float | None
Row = tuple[Cell, ...]
"""A value for each column, None where there is none."""


class ColumnKind(Enum):
    """What stands in a column, and so how it is shown."""

    TEXT = "text"
    NUMBER = "number"
    """A number that is one as it stands: a lag, a count."""
    BYTES = "bytes"
    SECONDS = "seconds"
    RATIO = "ratio"
    """From 0 to 1; shown as a percentage."""
    TIME = "time"
    """Seconds since the epoch."""
    RATE = "rate"
    """A total, of which is shown by how much it grows in a second."""
    BYTE_RATE = "byte_rate"
    """The same for a total of bytes."""


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    """In lower case; together with the table's name it is unique."""
    kind: ColumnKind = ColumnKind.TEXT


@dataclass(frozen=True, slots=True)
class Table:
    """What one screen of a live view shows.

    ``rows()`` is called each time the table is drawn, about once a second; it may make them up then. The first ``keys``
    columns tell rows apart. ``into`` names the table that a row opens: of that table those rows are shown that are
    equal to the opened row in its key columns, found by their titles. ``sort`` is the title of the column that the
    table is sorted by at first, largest first; empty: by its keys.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Callable[[], Iterable[Row]]
    keys: int = 1
    into: str = ""
    sort: str = ""

    def __post_init__(self) -> None:
        titles = [column.title for column in self.columns]
        if len(set(titles)) != len(titles):
            raise ValueError(f"table {self.name!r}: two columns have one title")
        if not 0 < self.keys <= len(titles):
            raise ValueError(f"table {self.name!r}: {self.keys} of its {len(titles)} columns cannot be its keys")
        if self.sort and self.sort not in titles:
            raise ValueError(f"table {self.name!r}: it has no column {self.sort!r} to sort by")
