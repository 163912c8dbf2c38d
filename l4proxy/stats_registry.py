"""Where a server's statistics live: makes the groups, holds them, copies them as plain data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable
from typing import TypeVar, cast

from l4proxy.histograms import Histogram
from l4proxy.snapshot import Family, HistogramValue, Sample, Snapshot
from l4proxy.stats import LABEL_BUDGET, OTHER, LabelledCounter, Metric, Stats, counter

__all__ = ["RegistryStats", "StatsRegistry"]

S = TypeVar("S", bound=Stats)
T = TypeVar("T")
log = logging.getLogger(__name__)


class RegistryStats(Stats, subsystem="stats"):
    """The statistics of statistics."""

    label_overflow_total = counter("Values counted under 'other' because their label's budget was used up.")
    collect_errors_total = counter("Collectors that failed; their metrics show old values.")


class StatsRegistry:
    """All groups of one server. Not thread-safe: it belongs to the server's event loop."""

    def __init__(self, label_budget: int = LABEL_BUDGET) -> None:
        self.label_budget = label_budget
        self._groups: dict[type[Stats], dict[tuple[str, ...], Stats]] = {}
        self._owners: dict[str, type[Stats]] = {}
        self._collectors: list[Callable[[], None]] = []
        self._shared: dict[Hashable, object] = {}
        self.own = self.group(RegistryStats)

    def group(self, cls: type[S], /, **labels: str) -> S:
        """Return the group of ``cls`` with these labels, a new one the first time. For start-up and for what turns up
        while the proxy runs, not for every message.

        Raises TypeError for other labels than the class has, ValueError when two classes define one metric.
        """
        if len(labels) != len(cls.label_names) or not all(name in labels for name in cls.label_names):
            raise TypeError(f"{cls.__name__} has the labels {cls.label_names}, not {tuple(labels)}")
        groups = self.declare(cls)
        values = tuple(labels[name] for name in cls.label_names)
        others = (OTHER,) * len(values)
        budget = max(self.label_budget, cls.label_budget)
        if values not in groups and len(groups) - (others in groups) >= budget:
            self.count_overflow()
            values = others
        group = groups.get(values)
        if group is None:
            group = groups[values] = cls(values, self)
        return cast(S, group)

    def declare(self, cls: type[Stats]) -> dict[tuple[str, ...], Stats]:
        """Show the metrics of ``cls`` even while there is no group of it: for differences of which this process knows
        a part. Returns its groups."""
        groups = self._groups.get(cls)
        if groups is None:
            self._claim_names(cls)
            groups = self._groups[cls] = {}
        return groups

    def discard(self, group: Stats) -> None:
        """Show ``group`` no more (its endpoint was removed). The one shared as ``other`` stays."""
        groups = self._groups.get(type(group), {})
        shared = all(value == OTHER for value in group.label_values)
        if not shared and groups.get(group.label_values) is group:
            del groups[group.label_values]

    def change_label_budget(self, label_budget: int) -> None:
        """From now on so many sets of labels have series of their own; those that have them keep them."""
        self.label_budget = label_budget
        for groups in self._groups.values():
            for group in groups.values():
                for attribute, metric in group.metrics.items():
                    if metric.label:
                        getattr(group, attribute).change_budget(label_budget)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What all who count here under ``key`` share, made by ``make()`` for the first of them. It lives as long as
        the statistics do, so longer than a configuration: for what several uses of a plugin know together."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    def on_collect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` before each snapshot, to fold in live values. Returns the function that takes it off."""
        self._collectors.append(callback)
        return lambda: self._collectors.remove(callback)

    def count_overflow(self) -> None:
        self.own.label_overflow_total += 1

    def collect(self) -> None:
        """Bring every group up to date, for who reads groups; ``snapshot`` does it, too."""
        for collect in list(self._collectors):
            try:
                collect()
            except Exception:
                log.exception("a collector of statistics failed")
                self.own.collect_errors_total += 1

    def snapshot(self) -> Snapshot:
        """Collect, and copy everything as plain data."""
        self.collect()
        return {
            cls.full_name(attribute): _family(cls, attribute, metric, groups.values())
            for cls, groups in self._groups.items()
            for attribute, metric in cls.metrics.items()
        }

    def _claim_names(self, cls: type[Stats]) -> None:
        for attribute in cls.metrics:
            owner = self._owners.setdefault(cls.full_name(attribute), cls)
            if owner is not cls:
                raise ValueError(
                    f"{cls.__module__}.{cls.__name__} defines {cls.full_name(attribute)}, "
                    f"which {owner.__module__}.{owner.__name__} has already"
                )


def _family(cls: type[Stats], attribute: str, metric: Metric, groups: Collection[Stats]) -> Family:
    family: Family = {
        "kind": metric.kind,
        "help": metric.help,
        "labels": [*cls.label_names, *([metric.label] if metric.label else [])],
        "merge": metric.merge,
        "bounds": list(metric.bounds),
        "samples": [sample for group in groups for sample in _samples(group.label_values, getattr(group, attribute))],
    }
    if metric.merge == "latest":
        for group, sample in zip(groups, family["samples"], strict=True):
            sample["seen_at"] = group.seen_at
    if metric.difference:
        family["difference"] = list(metric.difference)
    return family


def _samples(labels: tuple[str, ...], value: float | Histogram | LabelledCounter) -> list[Sample]:
    if isinstance(value, LabelledCounter):
        return [{"labels": [*labels, label], "value": count} for label, count in value.values.copy().items()]
    if isinstance(value, Histogram):
        copied: HistogramValue = {"counts": value.counts.copy(), "sum": value.sum}
        return [{"labels": [*labels], "value": copied}]
    return [{"labels": [*labels], "value": value}]
