"""From the answers of several workers to one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget, Answer

__all__ = ["by_worker", "merge_named", "missing", "same_or_each"]

SUMMED = frozenset({
    "active", "bytes_received_total", "bytes_sent_total", "connect_failed_total", "connecting", "connections",
    "connections_total", "max_connections", "max_pending", "pending", "refused_total", "retries_total",
})  # fmt: skip
"""What adds up over workers in the descriptions of listeners, clusters and endpoints."""


def merge_named(tables: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of several workers, one for each name: numbers are added up, of all else the first that says anything
    stands."""
    merged: dict[str, dict[str, Any]] = {}
    for table in tables:
        for row in table:
            known = merged.get(row["name"])
            merged[row["name"]] = row if known is None else _merge_rows(known, row)
    return list(merged.values())


def _merge_rows(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: _merge_values(name, value, other.get(name)) for name, value in one.items()}


def _merge_values(name: str, one: Any, other: Any) -> Any:
    if name == "endpoints" and other is not None:
        return merge_named([one, other])
    if name not in SUMMED or other is None:
        return one or other
    if isinstance(one, dict):
        return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
    return one + other


def same_or_each(answers: list[Answer]) -> Any:
    """The answer that all have given, or every worker's where they differ: a reload may have failed in one."""
    if all(answer.value == answers[0].value for answer in answers):
        return answers[0].value if answers else None
    return {f"worker {answer.worker}": answer.value for answer in answers}


def by_worker(answers: list[Answer]) -> list[dict[str, Any]]:
    """Every worker's answer, with its number in it."""
    return [{"worker": answer.worker, **answer.value} for answer in answers]


def missing(target: AdminTarget, answers: list[Answer]) -> list[str]:
    """A line that says so where not all workers have answered."""
    absent = target.workers - len(answers)
    return [f"# {absent} of {target.workers} workers did not answer\n"] if absent > 0 else []
