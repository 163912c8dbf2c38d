"""Which exchanges are shown: ``--client``, ``--errors``, ``--slow``, and what the inspector's selectors ask for."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from l4proxy.exchange import Exchange, Notice
from l4proxy.inspector import Inspector
from l4proxy.table import Cell, Row, Table

__all__ = ["Choice"]

Patterns = Mapping[str, Sequence[str]]
"""Globs by the name of their option."""


class Choice:
    """What of the exchanges, and which rows of tables, are to be shown. Of the patterns of one option any has to fit,
    of the options all."""

    def __init__(
        self, inspector: type[Inspector[Any]], patterns: Patterns, *, errors: bool = False, slow: float | None = None
    ) -> None:
        self._fits = {name: _matcher(globs) for name, globs in patterns.items() if globs}
        self._errors = errors
        self._slow = slow
        selectors = {selector.name: selector.texts for selector in inspector.selectors}
        self._kind_word = inspector.kind_word
        self._texts: dict[str, Callable[[Any], Iterable[str]]] = {
            "client": _client, self._kind_word: _kind, **selectors,
        }  # fmt: skip
        self._of_notices = {"client": _client} if "client" not in selectors else {}

    @property
    def is_all(self) -> bool:
        return not self._fits and not self._errors and self._slow is None

    def __call__(self, exchange: Exchange) -> bool:
        if self._errors and not exchange.error:
            return False
        if self._slow is not None and (exchange.seconds is None or exchange.seconds < self._slow):
            return False
        texts = self._of_notices if isinstance(exchange, Notice) else self._texts
        return all(name in texts and any(map(fits, texts[name](exchange))) for name, fits in self._fits.items())

    def rows(self, table: Table) -> list[Row]:
        """The rows of a table that fit in those columns that have the name of an option."""
        chosen = [
            (at, self._fits[column.title]) for at, column in enumerate(table.columns) if column.title in self._fits
        ]
        return [row for row in table.rows() if all(fits(_text(row[at])) for at, fits in chosen)]


def _matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    pattern = re.compile("|".join(map(fnmatch.translate, globs)))
    return lambda text: pattern.match(text) is not None


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell)


def _client(exchange: Exchange) -> Iterable[str]:
    return str(exchange.link.client), exchange.link.client.host


def _kind(exchange: Exchange) -> Iterable[str]:
    return (exchange.kind,)
