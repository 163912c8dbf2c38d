from __future__ import annotations

import logging

import pytest

from l4proxy.snapshot import Snapshot
from l4proxy.stats import Stats, counter, labelled_counter
from l4proxy.stats_registry import StatsRegistry


class TopicStats(Stats, subsystem="topic", labels=("topic",)):
    records_total = counter("Records.")
    errors_total = labelled_counter("Errors.", label="code")


class PlainStats(Stats, subsystem="plain"):
    things_total = counter("Things.")


def values(snapshot: Snapshot, name: str) -> dict[tuple[str, ...], object]:
    return {tuple(sample["labels"]): sample["value"] for sample in snapshot[name]["samples"]}


def test_the_same_labels_give_the_same_group() -> None:
    registry = StatsRegistry()
    orders = registry.group(TopicStats, topic="orders")
    assert registry.group(TopicStats, topic="orders") is orders
    assert registry.group(TopicStats, topic="users") is not orders
    assert registry.group(PlainStats) is registry.group(PlainStats)


def test_other_labels_than_the_class_has_are_refused() -> None:
    registry = StatsRegistry()
    for labels in ({}, {"topc": "x"}, {"topic": "x", "more": "y"}):
        with pytest.raises(TypeError, match=r"TopicStats has the labels \('topic',\)"):
            registry.group(TopicStats, **labels)


def test_groups_beyond_the_budget_share_other() -> None:
    registry = StatsRegistry(label_budget=2)
    for topic in ("a", "b", "c", "d"):
        registry.group(TopicStats, topic=topic).records_total += 1
    assert registry.group(TopicStats, topic="c") is registry.group(TopicStats, topic="z")
    snapshot = registry.snapshot()
    assert values(snapshot, "l4proxy_topic_records_total") == {("a",): 1, ("b",): 1, ("other",): 2}
    assert values(snapshot, "l4proxy_stats_label_overflow_total") == {(): 4}


def test_labelled_counters_have_the_registrys_budget() -> None:
    registry = StatsRegistry(label_budget=1)
    errors = registry.group(TopicStats, topic="a").errors_total
    errors.add("1")
    errors.add("2")
    snapshot = registry.snapshot()
    assert values(snapshot, "l4proxy_topic_errors_total") == {("a", "1"): 1, ("a", "other"): 1}
    assert values(snapshot, "l4proxy_stats_label_overflow_total") == {(): 1}


def test_a_discarded_group_is_shown_no_more_and_makes_room() -> None:
    registry = StatsRegistry(label_budget=1)
    first = registry.group(TopicStats, topic="a")
    shared = registry.group(TopicStats, topic="b")
    registry.discard(first)
    registry.discard(shared)
    registry.discard(first)
    registry.group(TopicStats, topic="c")
    assert set(values(registry.snapshot(), "l4proxy_topic_records_total")) == {("other",), ("c",)}


def test_two_classes_cannot_define_one_metric() -> None:
    class Again(Stats, subsystem="topic", labels=("topic",)):
        records_total = counter("Records, too.")

    registry = StatsRegistry()
    registry.group(TopicStats, topic="a")
    with pytest.raises(ValueError, match=r"Again defines l4proxy_topic_records_total, which .*TopicStats has already"):
        registry.group(Again, topic="a")


def test_collectors_run_before_each_snapshot_until_taken_off() -> None:
    registry = StatsRegistry()
    stats = registry.group(PlainStats)

    def collect() -> None:
        stats.things_total += 1

    remove = registry.on_collect(collect)
    registry.snapshot()
    assert values(registry.snapshot(), "l4proxy_plain_things_total") == {(): 2}
    remove()
    assert values(registry.snapshot(), "l4proxy_plain_things_total") == {(): 2}


def test_a_collector_that_fails_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    registry = StatsRegistry()

    def fail() -> None:
        raise RuntimeError("no disk")

    registry.on_collect(fail)
    with caplog.at_level(logging.ERROR):
        snapshot = registry.snapshot()
    assert values(snapshot, "l4proxy_stats_collect_errors_total") == {(): 1}
    assert "no disk" in caplog.text


def test_a_snapshot_is_a_copy() -> None:
    registry = StatsRegistry()
    stats = registry.group(TopicStats, topic="a")
    snapshot = registry.snapshot()
    stats.records_total += 1
    stats.errors_total.add("1")
    assert values(snapshot, "l4proxy_topic_records_total") == {("a",): 0}
    assert values(snapshot, "l4proxy_topic_errors_total") == {}


def test_another_budget_holds_for_what_turns_up_later() -> None:
    registry = StatsRegistry(label_budget=1)
    errors = registry.group(TopicStats, topic="a").errors_total
    errors.add("1")
    registry.change_label_budget(2)
    errors.add("2")
    assert registry.group(TopicStats, topic="b") is not registry.group(TopicStats, topic="c")
    registry.change_label_budget(1)
    errors.add("3")
    assert errors.values == {"1": 1, "2": 1, "other": 1}


def test_what_is_declared_is_there_before_its_first_group() -> None:
    class DeclaredStats(Stats, subsystem="declared", labels=("one",)):
        things_total = counter("Things.")

    registry = StatsRegistry()
    registry.declare(DeclaredStats)
    assert registry.snapshot()["l4proxy_declared_things_total"]["samples"] == []
    registry.group(DeclaredStats, one="a").things_total += 1
    registry.declare(DeclaredStats)
    assert [sample["value"] for sample in registry.snapshot()["l4proxy_declared_things_total"]["samples"]] == [1]
