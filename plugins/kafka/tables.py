"""What a live view shows of Kafka: topics, partitions, groups and their lag, members, clients, APIs, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from l4proxy.plugins.kafka.stats import ApiStats
from l4proxy.table import Column, ColumnKind, Row, Table

if TYPE_CHECKING:
    from l4proxy.plugins.kafka.view import View

__all__ = ["tables"]

NUMBER, RATE, BYTE_RATE = ColumnKind.NUMBER, ColumnKind.RATE, ColumnKind.BYTE_RATE
SECONDS, TIME = ColumnKind.SECONDS, ColumnKind.TIME


def tables(view: View) -> list[Table]:
    records = (
        Column("produced/s", RATE),
        Column("produced", BYTE_RATE),
        Column("fetched/s", RATE),
        Column("fetched", BYTE_RATE),
    )
    return [
        Table(
            "topics",
            (Column("topic"), Column("partitions", NUMBER), *records, Column("batch", NUMBER), Column("lag", NUMBER)),
            lambda: _topics(view),
            into="partitions",
            sort="produced",
        ),
        Table(
            "partitions",
            (Column("topic"), Column("partition", NUMBER), Column("leader", NUMBER), Column("end", NUMBER), *records),
            lambda: _partitions(view),
            keys=2,
        ),
        Table(
            "groups",
            (
                Column("group"), Column("members", NUMBER), Column("generation", NUMBER), Column("state"),
                Column("rebalances", NUMBER), Column("partitions", NUMBER), Column("lag", NUMBER), Column("seen", TIME),
            ),
            lambda: _groups(view),
            into="lag",
            sort="lag",
        ),
        Table(
            "lag",
            (Column("group"), Column("topic"), Column("partition", NUMBER), Column("committed", NUMBER),
             Column("end", NUMBER), Column("lag", NUMBER)),
            lambda: _lag(view),
            keys=3,
            sort="lag",
        ),
        Table(
            "members",
            (Column("group"), Column("member"), Column("client"), Column("host"), Column("seen", TIME)),
            lambda: _members(view),
            keys=2,
        ),
        Table(
            "clients",
            (
                Column("client"), Column("host"), Column("software"), Column("principal"),
                Column("connections", NUMBER), Column("requests/s", RATE), Column("produced/s", RATE),
                Column("fetched/s", RATE), Column("errors", NUMBER), Column("throttled", NUMBER), Column("seen", TIME),
            ),
            lambda: _clients(view),
            sort="requests/s",
        ),
        Table(
            "apis",
            (
                Column("api"), Column("versions"), Column("requests/s", RATE), Column("sent", BYTE_RATE),
                Column("received", BYTE_RATE), Column("p50", SECONDS), Column("p99", SECONDS), Column("errors", NUMBER),
            ),
            lambda: _apis(view),
            sort="requests/s",
        ),
        Table("errors", (Column("api"), Column("error"), Column("count", NUMBER)), lambda: _errors(view), keys=2,
              sort="count"),
    ]  # fmt: skip


def _topics(view: View) -> Iterator[Row]:
    lags: dict[str, int] = {}
    for group in view.groups:
        for offset in group.offsets.values():
            name = offset.partition.topic.name
            lags[name] = lags.get(name, 0) + (offset.lag or 0)
    for topic in view.topics:
        counted = [partition.stats for partition in topic.partitions.values()]
        produced = sum(stats.produced_records_total for stats in counted)
        batches = sum(stats.produced_batches_total for stats in counted)
        yield (
            topic.name,
            max(len(topic.layout), len(topic.partitions)),
            produced,
            sum(stats.produced_bytes_total for stats in counted),
            sum(stats.fetched_records_total for stats in counted),
            sum(stats.fetched_bytes_total for stats in counted),
            round(produced / batches, 1) if batches else None,
            lags.get(topic.name),
        )


def _partitions(view: View) -> Iterator[Row]:
    for topic in view.topics:
        for index, partition in sorted(topic.partitions.items()):
            stats = partition.stats
            yield (
                topic.name,
                index,
                topic.leaders.get(index),
                partition.end if partition.end >= 0 else None,
                stats.produced_records_total,
                stats.produced_bytes_total,
                stats.fetched_records_total,
                stats.fetched_bytes_total,
            )


def _groups(view: View) -> Iterator[Row]:
    for group in view.groups:
        yield (
            group.name,
            len(group.members),
            group.generation if group.generation >= 0 else None,
            group.reason or ("stable" if group.members else "empty"),
            sum(group.stats.rebalances_total.values.values()),
            len(group.offsets),
            group.lag,
            group.seen,
        )


def _lag(view: View) -> Iterator[Row]:
    for group in view.groups:
        for partition, offset in group.offsets.items():
            end = partition.end if partition.end >= 0 else None
            yield group.name, partition.topic.name, partition.index, offset.committed, end, offset.lag


def _members(view: View) -> Iterator[Row]:
    for group in view.groups:
        for member_id, member in group.members.items():
            name = member_id.decode(errors="backslashreplace")
            yield group.name, name, member.client_id, member.host, member.seen


def _clients(view: View) -> Iterator[Row]:
    view.fold()
    for client in view.clients:
        stats = client.stats
        yield (
            client.name,
            client.host,
            client.software,
            client.principal,
            client.connections,
            stats.requests_total,
            stats.produced_records_total,
            stats.fetched_records_total,
            stats.errors_total,
            stats.throttled_total,
            client.seen,
        )


def _apis(view: View) -> Iterator[Row]:
    view.fold()
    versions: dict[str, list[int]] = {}
    requests: dict[str, int] = {}
    groups: dict[str, ApiStats] = {}
    for plan in view.plans.values():
        versions.setdefault(plan.name, []).append(plan.version)
        requests[plan.name] = requests.get(plan.name, 0) + plan.requests_total
        groups[plan.name] = plan.stats
    for name, stats in groups.items():
        seconds = stats.request_seconds
        yield (
            name,
            " ".join(map(str, sorted(versions[name]))),
            requests[name],
            stats.request_bytes_total,
            stats.response_bytes_total,
            seconds.quantile(0.5),
            seconds.quantile(0.99),
            sum(stats.errors_total.values.values()),
        )


def _errors(view: View) -> Iterator[Row]:
    groups = {plan.name: plan.stats for plan in view.plans.values()}
    for name, stats in groups.items():
        for error, count in stats.errors_total.values.items():
            yield name, error, count
