"""The statistics: of all sessions, and of each statement, whose number is bounded by the server's label budget."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from l4proxy.stats import SECONDS, Stats, counter, histogram, labelled_counter

from l4proxy_postgres.fingerprint import fingerprint

if TYPE_CHECKING:
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.table import Row

__all__ = ["PostgresStats", "Statement", "StatementStats", "Statements"]

MOST_KEYS = 2000
"""Statements whose fingerprint is remembered."""
LONGEST_KEY = 1000
"""Bytes. Longer statements are seldom sent twice, and would make it a lot of memory."""

_NOT_PLAIN = re.compile(rb"[\"\\$\x80-\xff]|--|/\*")
_STRING = re.compile(rb"'[^']*'")
_NUMBER = re.compile(rb"\b\d+\b")


class PostgresStats(Stats, subsystem="postgres"):
    """PostgreSQL sessions."""

    sessions_total = counter("Sessions that told who they are.")
    cancel_requests_total = counter("Requests to cancel what another session does.")
    statement_seconds = histogram("From a statement to its answer, on the client's side.", buckets=SECONDS)
    rows_total = counter("Rows that commands returned or changed.")
    commands_total = labelled_counter("SQL commands that succeeded.", label="command")
    errors_total = labelled_counter("Errors that the server sent.", label="sqlstate")
    copy_received_bytes_total = counter("COPY data from clients, in bytes.")
    copy_sent_bytes_total = counter("COPY data to clients, in bytes.")


class StatementStats(Stats, subsystem="postgres_statement", labels=("statement",)):
    """One statement, whatever the values in it."""

    calls_total = counter("Times it was answered.")
    errors_total = counter("Times the answer was an error.")
    rows_total = counter("Rows it returned or changed.")
    seconds_total = counter("Time until the answers, together.", number=float)


class Statement:
    """A fingerprint and its statistics."""

    __slots__ = ("_stats", "command", "text")

    def __init__(self, text: str, stats: StatementStats) -> None:
        self.text = text
        self.command = text.partition(" ")[0].upper()
        self._stats = stats

    def count(self, seconds: float, rows: int, *, failed: bool) -> None:
        stats = self._stats
        stats.calls_total += 1
        stats.errors_total += failed
        stats.rows_total += rows
        stats.seconds_total += seconds


class Statements:
    """Finds the ``Statement`` of a text."""

    def __init__(self, registry: StatsRegistry) -> None:
        self._registry = registry
        self._known: dict[bytes | None, Statement] = {}
        self._groups: dict[str, StatementStats] = {}
        """As many as the registry's budget allows."""

    def rows(self) -> Iterable[Row]:
        """For a table: a statement, its calls twice (one of them becomes a rate), mean and total time, rows, errors."""
        for text, stats in self._groups.items():
            calls, seconds = stats.calls_total, stats.seconds_total
            yield text, calls, calls, seconds / calls if calls else None, seconds, stats.rows_total, stats.errors_total

    def find(self, text: bytes | None) -> Statement:
        """``text`` as it was sent, as far as it was looked at; None when it is not known."""
        key = _key(text)
        statement = self._known.get(key)
        if statement is None:
            shown = "(unknown)" if text is None else fingerprint(text.decode(errors="replace")) or "(empty)"
            stats = self._registry.group(StatementStats, statement=shown)
            self._groups[stats.label_values[0]] = stats
            statement = Statement(shown, stats)
            if key is None or len(key) <= LONGEST_KEY:
                if len(self._known) >= MOST_KEYS:
                    self._known.clear()
                self._known[key] = statement
        return statement


def _key(text: bytes | None) -> bytes | None:
    """What texts of one fingerprint mostly have in common, quickly: it costs a tenth of that.

    Where there are no comments, quoted names, escapes and dollars, every quote begins or ends a literal, and texts that
    are equal without their literals have one fingerprint. Any other text is its own key.
    """
    if text is None or _NOT_PLAIN.search(text):
        return text
    return _NUMBER.sub(b"0", _STRING.sub(b"''", text))
