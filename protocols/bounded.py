"""Tables of what is remembered, so that it need not be found out again, and that no peer can make grow."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["remember"]

K = TypeVar("K")
V = TypeVar("V")


def remember(table: dict[K, V], key: K, value: V, limit: int) -> None:
    """Put it into a table; when that has ``limit`` entries already, all of them are forgotten."""
    if len(table) >= limit:
        table.clear()
    table[key] = value
