from __future__ import annotations

import types

import pytest

from l4proxy.stats import BYTES, SECONDS, LabelledCounter, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry


class DoorStats(Stats, subsystem="door", labels=("house", "door")):
    opened_total = counter("Times opened.")
    open = gauge("Open now.")
    open_seconds_total = counter("Time spent open.", number=float)
    visit_seconds = histogram("How long visitors stay.", buckets=SECONDS)
    parcel_bytes = histogram("How large parcels are.", buckets=BYTES)
    refused_total = labelled_counter("Visitors turned away.", label="reason")


def test_metrics_are_plain_attributes() -> None:
    stats = StatsRegistry().group(DoorStats, house="1", door="front")
    stats.opened_total += 1
    stats.open -= 1
    stats.visit_seconds.record(0.2)
    stats.refused_total.add("salesman")
    assert (stats.opened_total, stats.open, stats.visit_seconds.count) == (1, -1, 1)
    assert dict(stats.refused_total.values) == {"salesman": 1}
    assert type(stats.open_seconds_total) is float


def test_a_misspelt_metric_is_an_error_and_not_a_new_attribute() -> None:
    stats = StatsRegistry().group(DoorStats, house="1", door="front")
    with pytest.raises(AttributeError):
        stats.openned = 1  # type: ignore[attr-defined]
    assert not hasattr(stats, "__dict__")


def test_a_class_knows_its_metrics() -> None:
    assert DoorStats.full_name("opened_total") == "l4proxy_door_opened_total"
    assert DoorStats.label_names == ("house", "door")
    assert DoorStats.metrics["opened_total"].help == "Times opened."


def test_a_class_adds_to_the_metrics_of_its_base() -> None:
    class GateStats(DoorStats, subsystem="gate", labels=("house", "gate")):
        cars_total = counter("Cars.")

    stats = StatsRegistry().group(GateStats, house="1", gate="north")
    stats.cars_total += 1
    stats.opened_total += 1
    stats.visit_seconds.record(1)
    assert list(GateStats.metrics) == [*DoorStats.metrics, "cars_total"]
    assert GateStats.full_name("opened_total") == "l4proxy_gate_opened_total"
    assert "cars_total" not in DoorStats.metrics


def test_a_labelled_counter_reads_like_a_mapping() -> None:
    closed = LabelledCounter()
    closed.add("eof")
    closed.add("eof", 2)
    closed.add("reset")
    assert closed["eof"] == 3
    assert closed["never"] == 0
    assert list(closed) == ["eof", "reset"]
    assert len(closed) == 2


def test_a_labelled_counter_keeps_to_its_budget() -> None:
    overflows: list[None] = []
    topics = LabelledCounter(2, lambda: overflows.append(None))
    for topic in ("a", "b", "c", "d", "a", "c"):
        topics.add(topic)
    assert topics.values == {"a": 2, "b": 1, "other": 3}
    assert len(overflows) == 3


@pytest.mark.parametrize(
    ("attribute", "metric", "message"),
    [
        ("opened", counter("x"), "counters end in '_total'"),
        ("open_total", gauge("x"), "counters end in '_total'"),
        ("visit_total", histogram("x", buckets=(1, 2)), "counters end in '_total'"),
        ("refused", labelled_counter("x", label="reason"), "counters end in '_total'"),
        ("visit_ms", histogram("x", buckets=(1, 2)), "use the base unit, 'seconds'"),
        ("sent_kb_total", counter("x"), "use the base unit, 'bytes'"),
        ("cpu_percent", gauge("x"), "use the base unit, 'ratio'"),
        ("visit_bytes", histogram("x", buckets=SECONDS), "the name ends in the unit, '_seconds'"),
        ("visit", histogram("x", buckets=BYTES), "the name ends in the unit, '_bytes'"),
        ("door_count", gauge("x"), "a suffix that histograms have"),
        ("Opened_total", counter("x"), "'Opened_total' is not a name"),
        ("refused_total", labelled_counter("x", label="le"), "the label 'le' is taken"),
        ("refused_total", labelled_counter("x", label="house"), "the label 'house' is taken"),
        ("refused_total", labelled_counter("x", label="the reason"), "'the reason' is not a name"),
    ],
)
def test_a_badly_named_metric_is_refused_with_the_class(attribute: str, metric: object, message: str) -> None:
    names = {"subsystem": "bad", "labels": ("house",)}
    with pytest.raises(TypeError, match=message):
        types.new_class("Bad", (Stats,), names, lambda body: body.update({attribute: metric}))


def test_a_class_needs_a_subsystem() -> None:
    with pytest.raises(TypeError, match="'' is not a name"):

        class Nameless(Stats):
            pass


@pytest.mark.parametrize("buckets", [(), (1, 1), (2, 1)])
def test_buckets_ascend(buckets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        histogram("x", buckets=buckets)
