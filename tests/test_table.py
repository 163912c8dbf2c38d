from __future__ import annotations

from typing import Any

import pytest

from l4proxy.table import Column, ColumnKind, Table

COLUMNS = (Column("topic"), Column("records", ColumnKind.NUMBER))


@pytest.mark.parametrize(("options", "problem"), [
    ({"columns": (Column("a"), Column("a"))}, "two columns have one title"),
    ({"keys": 0}, "0 of its 2 columns cannot be its keys"),
    ({"keys": 3}, "3 of its 2 columns cannot be its keys"),
    ({"sort": "bytes"}, "it has no column 'bytes' to sort by"),
])  # fmt: skip
def test_a_table_that_cannot_be_drawn(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"table 'topics': {problem}"):
        Table("topics", **{"columns": COLUMNS, "rows": list, **options})


def test_rows_are_made_when_they_are_asked_for() -> None:
    rows = [("a", 1)]
    table = Table("topics", COLUMNS, lambda: iter(rows), keys=1, sort="records")
    rows.append(("b", None))  # type: ignore[arg-type]
    assert list(table.rows()) == [("a", 1), ("b", None)]
