"""Statistics as plain data: what a worker sends to its supervisor, and what is rendered.

A snapshot maps a metric's full name to its family. It holds only dicts, lists, strings and numbers, so it survives JSON
and pickle unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NotRequired, TypedDict

__all__ = [
    "OTHER",
    "Family",
    "HistogramValue",
    "Kind",
    "Merge",
    "Sample",
    "Snapshot",
    "increase",
    "merge",
    "without_gauges",
]

OTHER = "other"
"""The label of all series beyond a label budget."""

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min", "latest"]
"""How the values of workers become one. ``latest``: that which was seen last (``Sample.seen_at``)."""


class HistogramValue(TypedDict):
    """``counts`` are per bucket (not cumulative), with one more than there are bounds."""

    counts: list[int]
    sum: float


class Sample(TypedDict):
    """One series: the values of the family's labels, in their order, what was measured, and when that was seen, where
    it matters."""

    labels: list[str]
    value: float | HistogramValue
    seen_at: NotRequired[float]


class Family(TypedDict):
    """All series of one metric. ``bounds`` are the upper bounds of a histogram's buckets, empty for the other types.
    ``difference`` names two gauges whose values it is the difference of, where it is that."""

    kind: Kind
    help: str
    labels: list[str]
    merge: Merge
    bounds: list[float]
    difference: NotRequired[list[str]]
    samples: list[Sample]


Snapshot = dict[str, Family]


def _add(one: float, other: float) -> float:
    return one + other


_COMBINE: dict[str, Callable[[float, float], float]] = {"sum": _add, "max": max, "min": min}


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Combine the snapshots of several workers into one: series with equal labels become one series. Differences of
    gauges are those of what has become of these: one worker may know the one, another the other.

    Raises ValueError when two snapshots disagree about a metric (its kind, labels or buckets).
    """
    merged: Snapshot = {}
    series: dict[str, dict[tuple[str, ...], Sample]] = {}
    for snapshot in snapshots:
        for name, family in snapshot.items():
            into = merged.setdefault(name, {**family, "samples": []})
            if any(into[key] != family[key] for key in ("kind", "labels", "bounds")):
                raise ValueError(f"{name}: the snapshots are of different versions (kind, labels or buckets differ)")
            known = series.setdefault(name, {})
            for sample in family["samples"]:
                key = tuple(sample["labels"])
                known[key] = _combine(known[key], sample, into["merge"]) if key in known else sample
    for name, known in series.items():
        merged[name]["samples"] = list(known.values())
    for family in merged.values():
        if "difference" in family:
            minuend, subtrahend = (merged.get(name) for name in family["difference"])
            if minuend is not None and subtrahend is not None:
                family["samples"] = list(_differences(minuend, subtrahend))
    return merged


def _differences(minuend: Family, subtrahend: Family) -> Iterator[Sample]:
    """Of each series of ``subtrahend``, from that of ``minuend`` that has the same labels as far as it has them. No
    series where one of the two is not known (negative, or shared as ``other``)."""
    known = {tuple(sample["labels"]): sample["value"] for sample in minuend["samples"]}
    places = [subtrahend["labels"].index(label) for label in minuend["labels"]]
    for sample in subtrahend["samples"]:
        labels, less = sample["labels"], sample["value"]
        value = known.get(tuple(labels[place] for place in places))
        assert not isinstance(value, dict)
        assert not isinstance(less, dict)
        if value is not None and min(value, less) >= 0 and any(label != OTHER for label in labels):
            yield {"labels": labels, "value": max(value - less, 0)}


def _combine(one: Sample, other: Sample, how: Merge) -> Sample:
    if how == "latest":
        return max(one, other, key=lambda sample: sample.get("seen_at", 0))
    left, right = one["value"], other["value"]
    value: float | HistogramValue
    if isinstance(left, dict) and isinstance(right, dict):
        counts = [a + b for a, b in zip(left["counts"], right["counts"], strict=True)]
        value = {"counts": counts, "sum": left["sum"] + right["sum"]}
    else:
        assert not isinstance(left, dict)
        assert not isinstance(right, dict)
        value = _COMBINE[how](left, right)
    return {"labels": one["labels"], "value": value}


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """What stays true of a worker that is gone: what it counted."""
    return {name: family for name, family in snapshot.items() if family["kind"] != "gauge"}


def increase(snapshot: Snapshot, previous: Snapshot) -> Snapshot:
    """Counters and histograms as what they grew by since ``previous``; gauges as they are.

    A series that was not there, or that was higher because it began anew, has grown by all of its value.
    """
    return {
        name: family if family["kind"] == "gauge" else {**family, "samples": _grown(family, previous.get(name))}
        for name, family in snapshot.items()
    }


def _grown(family: Family, previous: Family | None) -> list[Sample]:
    known = previous["samples"] if previous is not None and previous["bounds"] == family["bounds"] else []
    before = {tuple(sample["labels"]): sample["value"] for sample in known}
    return [
        {"labels": sample["labels"], "value": _difference(sample["value"], before.get(tuple(sample["labels"])))}
        for sample in family["samples"]
    ]


def _difference(now: float | HistogramValue, before: float | HistogramValue | None) -> float | HistogramValue:
    if isinstance(now, dict):
        if not isinstance(before, dict) or any(b > a for a, b in zip(now["counts"], before["counts"], strict=True)):
            return now
        counts = [a - b for a, b in zip(now["counts"], before["counts"], strict=True)]
        return {"counts": counts, "sum": now["sum"] - before["sum"]}
    return now - before if isinstance(before, int | float) and before <= now else now
