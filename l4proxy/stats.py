"""Statistics: plain attributes on objects that are fetched once, rendered on demand.

A class names the metrics that belong together, and the labels they share::

    class ListenerStats(Stats, subsystem="listener", labels=("listener",)):
        connections_total = counter("Connections accepted.")
        connections_active = gauge("Connections open now.")
        connection_seconds = histogram("How long connections lasted.", buckets=SECONDS)
        closed_total = labelled_counter("Connections closed, by reason.", label="reason")

    stats = registry.group(ListenerStats, listener="web")   # once; the same labels give the same object
    stats.connections_total += 1                            # an int in a slot
    stats.connection_seconds.record(0.25)
    stats.closed_total.add("idle_timeout")

A metric's full name is ``l4proxy_<subsystem>_<attribute>``. The names follow Prometheus: counters end in ``_total``,
units are base units and stand in the name (``_seconds``, ``_bytes``); a class that breaks this cannot be created.

Label values often come from clients, so they are **budgeted**: the first ``label_budget`` sets of labels of each class,
and values of each labelled counter, have series of their own; all further ones share those called ``other``, and are
counted in ``l4proxy_stats_label_overflow_total``. A class whose labels are many by nature (a topic's partitions) asks
for more than the user's budget with ``budget=5000`` behind ``labels``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, cast, overload

from l4proxy.histograms import BYTES, SECONDS, Histogram
from l4proxy.snapshot import OTHER

if TYPE_CHECKING:
    from l4proxy.snapshot import Kind, Merge
    from l4proxy.stats_registry import StatsRegistry

__all__ = [
    "BYTES",
    "LABEL_BUDGET",
    "OTHER",
    "SECONDS",
    "Histogram",
    "LabelledCounter",
    "Metric",
    "Stats",
    "counter",
    "gauge",
    "histogram",
    "labelled_counter",
]

LABEL_BUDGET = 200


class LabelledCounter:
    """A counter with one more label, whose values turn up while the proxy runs (a reason, a command, a topic).

    ``values`` maps each label value to its count, to be read and not written.
    """

    __slots__ = ("_budget", "_on_overflow", "values")

    def __init__(self, budget: int = LABEL_BUDGET, on_overflow: Callable[[], None] = lambda: None) -> None:
        self.values: dict[str, int] = {}
        self._budget = budget
        self._on_overflow = on_overflow

    def change_budget(self, budget: int) -> None:
        """Values that have turned up keep their series."""
        self._budget = budget

    def add(self, value: str, amount: int = 1) -> None:
        values = self.values
        if value in values:
            values[value] += amount
        elif len(values) < self._budget:
            values[value] = amount
        else:
            self._on_overflow()
            values[OTHER] = values.get(OTHER, 0) + amount

    def __getitem__(self, value: str) -> int:
        """The count of ``value``: 0 when it has not turned up."""
        return self.values.get(value, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a ``Stats`` class says about one of its attributes."""

    kind: Kind
    help: str
    number: type[int | float] = int
    merge: Merge = "sum"
    bounds: Sequence[float] = ()
    label: str = ""
    difference: tuple[str, str] | None = None

    def initial(self, registry: StatsRegistry) -> Any:
        if self.bounds:
            return Histogram(self.bounds)
        if self.label:
            return LabelledCounter(registry.label_budget, registry.count_overflow)
        return self.number()


# These four return a Metric, and ``Stats`` replaces it by a slot that holds what they are declared to return: a type
# checker sees the attribute of the finished object, as it does with ``dataclasses.field``.


@overload
def counter(help: str) -> int: ...
@overload
def counter(help: str, *, number: type[float]) -> float: ...
def counter(help: str, *, number: type[float] = int) -> float:
    """Something that only grows. ``number=float`` for seconds spent."""
    return cast(float, Metric("counter", help, number))


@overload
def gauge(help: str, *, merge: Merge = "sum", difference: tuple[str, str] | None = None) -> int: ...
@overload
def gauge(help: str, *, number: type[float], merge: Merge = "sum") -> float: ...
def gauge(
    help: str, *, number: type[float] = int, merge: Merge = "sum", difference: tuple[str, str] | None = None
) -> float:
    """Something that goes up and down. ``merge`` says how the values of workers become one; for ``latest``, set
    ``seen_at`` of the group. ``difference``: the full names of the two gauges that it is the difference of, the second
    of which has its labels and the first some of them; with several workers it is worked out from what these become."""
    return cast(float, Metric("gauge", help, number, merge, difference=difference))


def histogram(help: str, *, buckets: Sequence[float]) -> Histogram:
    """A distribution. ``buckets`` are the upper bounds, ascending: ``SECONDS``, ``BYTES`` or your own."""
    if not buckets or any(a >= b for a, b in pairwise(buckets)):
        raise ValueError("a histogram needs buckets, in ascending order")
    return cast(Histogram, Metric("histogram", help, bounds=buckets))


def labelled_counter(help: str, *, label: str) -> LabelledCounter:
    """A counter with one more label, for values that are not known beforehand."""
    return cast(LabelledCounter, Metric("counter", help, label=label))


class _StatsType(type):
    """Turns a class body's metrics into slots, after checking their names."""

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
        *,
        subsystem: str = "",
        labels: Sequence[str] = (),
        budget: int = 0,
    ) -> _StatsType:
        own = {attribute: value for attribute, value in body.items() if isinstance(value, Metric)}
        metrics = {**(bases[0].metrics if bases else {}), **own}  # type: ignore[attr-defined]
        if bases:
            _check_names(name, subsystem, labels, metrics)
        slots = [*own, *body.get("__slots__", ())]
        body = {key: value for key, value in body.items() if key not in own}
        body |= {"__slots__": slots, "subsystem": subsystem, "label_names": tuple(labels), "label_budget": budget}
        body["metrics"] = metrics
        return super().__new__(mcs, name, bases, body)


_WORD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_BASE_UNITS = {
    **dict.fromkeys(("ms", "us", "ns", "milliseconds", "microseconds", "minutes", "hours"), "seconds"),
    **dict.fromkeys(("kb", "mb", "gb", "kib", "mib", "gib", "bits"), "bytes"),
    "percent": "ratio",
}
_UNITS_OF_BUCKETS: dict[tuple[float, ...], str] = {SECONDS: "seconds", BYTES: "bytes"}
_RESERVED = {"bucket", "sum", "count"}


def _check_names(name: str, subsystem: str, labels: Sequence[str], metrics: dict[str, Metric]) -> None:
    """Raises TypeError where the class ``name`` breaks Prometheus' rules of naming."""
    for word in (subsystem, *labels, *metrics, *(metric.label for metric in metrics.values() if metric.label)):
        if not _WORD.fullmatch(word):
            raise TypeError(f"{name}: {word!r} is not a name (subsystem, labels and metrics are in snake_case)")
    for attribute, metric in metrics.items():
        stem = attribute.removesuffix("_total")
        last = stem.rpartition("_")[2]
        if (stem != attribute) != (metric.kind == "counter"):
            raise TypeError(f"{name}.{attribute}: counters end in '_total', and nothing else does")
        if last in _BASE_UNITS:
            raise TypeError(f"{name}.{attribute}: use the base unit, {_BASE_UNITS[last]!r}")
        if last in _RESERVED:
            raise TypeError(f"{name}.{attribute}: '_{last}' is a suffix that histograms have when rendered")
        unit = _UNITS_OF_BUCKETS.get(tuple(metric.bounds), last)
        if last != unit:
            raise TypeError(f"{name}.{attribute}: the name ends in the unit, '_{unit}'")
        if metric.label in ("le", *labels):
            raise TypeError(f"{name}.{attribute}: the label {metric.label!r} is taken")


class Stats(metaclass=_StatsType):
    """Base of every group of metrics. Made by ``StatsRegistry.group``; ``label_values`` tells groups apart."""

    __slots__ = ("label_values", "seen_at")

    subsystem: ClassVar[str]
    label_names: ClassVar[tuple[str, ...]]
    label_budget: ClassVar[int]
    metrics: ClassVar[dict[str, Metric]]

    def __init__(self, label_values: tuple[str, ...], registry: StatsRegistry) -> None:
        self.label_values = label_values
        self.seen_at = 0.0
        """When what it says was seen, in seconds since the epoch: for gauges that merge as the ``latest``."""
        for attribute, metric in self.metrics.items():
            setattr(self, attribute, metric.initial(registry))

    @classmethod
    def full_name(cls, attribute: str) -> str:
        return f"l4proxy_{cls.subsystem}_{attribute}"
