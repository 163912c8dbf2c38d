"""Tables that are remembered, up to a limit."""

from __future__ import annotations

from l4proxy.protocols.bounded import remember


def test_a_table_that_is_full_is_forgotten() -> None:
    table: dict[str, int] = {}
    for at, key in enumerate("abc"):
        remember(table, key, at, 2)
    assert table == {"c": 2}
