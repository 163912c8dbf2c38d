"""What a live view shows of Redis: commands, keys, prefixes, clients, endpoints, errors, slow commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from l4proxy.histograms import Histogram
from l4proxy.table import Cell, Column, ColumnKind, Row, Table

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.view import View

__all__ = ["tables"]

NUMBER, RATE, BYTE_RATE, BYTES = ColumnKind.NUMBER, ColumnKind.RATE, ColumnKind.BYTE_RATE, ColumnKind.BYTES
SECONDS, TIME, RATIO = ColumnKind.SECONDS, ColumnKind.TIME, ColumnKind.RATIO

_TIMES = (Column("p50", SECONDS), Column("p99", SECONDS))
_TRAFFIC = (Column("in", BYTE_RATE), Column("out", BYTE_RATE))


def tables(view: View) -> list[Table]:
    rates = (Column("commands", NUMBER), Column("commands/s", RATE), Column("errors", NUMBER))
    return [
        Table("commands", (Column("command"), *rates, *_TIMES, *_TRAFFIC), lambda: _commands(view), into="errors",
              sort="commands/s"),
        Table("hot keys", (Column("key"), Column("uses", NUMBER), Column("uses/s", NUMBER), Column("share", RATIO),
                           Column("unsure", NUMBER)), lambda: _hot_keys(view), sort="uses"),
        Table("big keys", (Column("key"), Column("size", BYTES), Column("command"), Column("seen", TIME)),
              lambda: _big_keys(view), sort="size"),
        Table("prefixes", (Column("prefix"), Column("keys", NUMBER), Column("keys/s", RATE), *_TRAFFIC),
              lambda: _prefixes(view), sort="keys/s"),
        Table("clients", (Column("client"), Column("host"), Column("connections", NUMBER), *rates, *_TRAFFIC,
                          Column("seen", TIME)), lambda: _clients(view), sort="commands/s"),
        Table("endpoints", (Column("endpoint"), *rates, *_TIMES, *_TRAFFIC), lambda: _endpoints(view),
              sort="commands/s"),
        Table("errors", (Column("command"), Column("error"), Column("count", NUMBER)), lambda: _errors(view), keys=2,
              sort="count"),
        Table("slow", (Column("number", NUMBER), Column("at", TIME), Column("took", SECONDS), Column("client"),
                       Column("address"), Column("slow command")), lambda: view.slow, sort="number"),
    ]  # fmt: skip


def _times(seconds: Histogram) -> tuple[Cell, Cell]:
    return seconds.quantile(0.5), seconds.quantile(0.99)


def _commands(view: View) -> Iterator[Row]:
    for name, plan in view.plans.items():
        stats = plan.stats
        count, errors = stats.commands_total, sum(stats.errors_total.values.values())
        bytes_in, bytes_out = stats.request_bytes_total, stats.reply_bytes_total
        yield name, count, count, errors, *_times(stats.seconds), bytes_in, bytes_out


def _hot_keys(view: View) -> Iterator[Row]:
    hottest, seconds, uses = view.hottest(), view.hot_seconds, view.hot_uses
    for key, tally in hottest.items():
        yield _text(key), tally.count, tally.count / seconds, tally.count / max(uses, 1), tally.unsure


def _big_keys(view: View) -> Iterator[Row]:
    for key, found in view.big:
        yield _text(key), found.size, found.command, found.at


def _prefixes(view: View) -> Iterator[Row]:
    for stats in view.prefix_stats():
        keys = stats.keys_total
        yield stats.label_values[1], keys, keys, stats.request_bytes_total, stats.reply_bytes_total


def _clients(view: View) -> Iterator[Row]:
    view.fold()
    for client in view.clients.values():
        stats = client.stats
        counts = stats.commands_total, stats.commands_total, stats.errors_total
        traffic = stats.request_bytes_total, stats.reply_bytes_total
        yield client.name, client.host, client.connections, *counts, *traffic, client.seen


def _endpoints(view: View) -> Iterator[Row]:
    view.fold()
    for address, stats in view.endpoints.items():
        count, errors = stats.commands_total, sum(stats.errors_total.values.values())
        yield address, count, count, errors, *_times(stats.seconds), stats.request_bytes_total, stats.reply_bytes_total


def _errors(view: View) -> Iterator[Row]:
    for name, plan in view.plans.items():
        for error, count in plan.stats.errors_total.values.items():
            yield name, error, count


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
