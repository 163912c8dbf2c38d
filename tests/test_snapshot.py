from __future__ import annotations

import json
import pickle
from itertools import permutations

import pytest

from l4proxy.snapshot import Snapshot, increase, merge, without_gauges
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry


class PoolStats(Stats, subsystem="pool", labels=("cluster",)):
    requests_total = counter("Requests.")
    busy = gauge("Connections in use.")
    slowest_seconds = gauge("The slowest.", number=float, merge="max")
    first_seconds = gauge("The first.", number=float, merge="min")
    wait_seconds = histogram("Waits.", buckets=SECONDS)
    errors_total = labelled_counter("Errors.", label="kind")


def worker(requests: int, *, cluster: str = "db", error: str = "refused") -> Snapshot:
    registry = StatsRegistry()
    stats = registry.group(PoolStats, cluster=cluster)
    stats.requests_total += requests
    stats.busy = stats.slowest_seconds = stats.first_seconds = requests
    for _ in range(requests):
        stats.wait_seconds.record(0.5)
    stats.errors_total.add(error, requests)
    return registry.snapshot()


def values(snapshot: Snapshot, metric: str) -> dict[tuple[str, ...], object]:
    return {tuple(sample["labels"]): sample["value"] for sample in snapshot[f"l4proxy_pool_{metric}"]["samples"]}


def test_workers_add_up() -> None:
    merged = merge([worker(1), worker(2), worker(4)])
    assert values(merged, "requests_total") == {("db",): 7}
    assert values(merged, "busy") == {("db",): 7}
    assert values(merged, "slowest_seconds") == {("db",): 4}
    assert values(merged, "first_seconds") == {("db",): 1}
    assert values(merged, "errors_total") == {("db", "refused"): 7}
    (waits,) = values(merged, "wait_seconds").values()
    assert isinstance(waits, dict)
    assert sum(waits["counts"]) == 7
    assert waits["sum"] == 3.5


class LagStats(Stats, subsystem="lag", labels=("group", "topic")):
    committed = gauge("Where a group is.", merge="latest")


class EndStats(Stats, subsystem="lag", labels=("topic",)):
    end = gauge("Where a topic ends.", merge="max")


class DifferenceStats(Stats, subsystem="lag", labels=("group", "topic")):
    behind = gauge("By how much.", merge="max", difference=("l4proxy_lag_end", "l4proxy_lag_committed"))


def lagging(committed: int | None, seen_at: float, end: int | None, *, topic: str = "t") -> Snapshot:
    registry = StatsRegistry()
    if committed is not None:
        stats = registry.group(LagStats, group="g", topic=topic)
        stats.committed, stats.seen_at = committed, seen_at
    if end is not None:
        registry.group(EndStats, topic=topic).end = end
    behind = registry.group(DifferenceStats, group="g", topic=topic)
    if committed is None or end is None:
        registry.discard(behind)
    else:
        behind.behind = end - committed
    return registry.snapshot()


def gauges(*snapshots: Snapshot) -> dict[str, object]:
    merged = merge(snapshots)
    return {
        name.removeprefix("l4proxy_lag_"): sample["value"]
        for name, family in merged.items()
        for sample in family["samples"]
        if name.startswith("l4proxy_lag_")
    }


def test_what_was_seen_last_counts() -> None:
    for snapshots in permutations([lagging(9, 1.0, None), lagging(4, 3.0, None), lagging(8, 2.0, None)]):
        assert gauges(*snapshots) == {"committed": 4}


def test_a_difference_is_that_of_what_all_workers_know() -> None:
    one, two, three = lagging(9, 1.0, 10), lagging(4, 3.0, None), lagging(None, 0, 30)
    for snapshots in permutations([one, two, three]):
        assert gauges(*snapshots) == {"committed": 4, "end": 30, "behind": 26}
        assert gauges(merge(snapshots[:2]), snapshots[2]) == gauges(*snapshots)
    assert gauges(two, two) == {"committed": 4}
    assert gauges(lagging(40, 9.0, None), three)["behind"] == 0
    assert gauges(lagging(-1, 9.0, None), three) == {"committed": -1, "end": 30}
    assert "behind" not in gauges(two, lagging(None, 0, 5, topic="u"))


def test_series_that_only_one_worker_has_are_kept() -> None:
    merged = merge([worker(1, cluster="a", error="x"), worker(2, cluster="b", error="y")])
    assert values(merged, "requests_total") == {("a",): 1, ("b",): 2}
    assert values(merged, "errors_total") == {("a", "x"): 1, ("b", "y"): 2}


def test_the_merged_snapshots_are_not_changed() -> None:
    one, two = worker(1), worker(2)
    before = pickle.dumps((one, two))
    merge([one, two])
    assert pickle.dumps((one, two)) == before


def test_a_snapshot_survives_json_and_pickle() -> None:
    snapshot = worker(3)
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == {}


def test_another_versions_buckets_are_refused() -> None:
    old, new = worker(1), worker(1)
    old["l4proxy_pool_wait_seconds"]["bounds"] = [1.0]
    with pytest.raises(ValueError, match=r"l4proxy_pool_wait_seconds: the snapshots are of different versions"):
        merge([old, new])


def test_of_a_worker_that_is_gone_the_counts_stay() -> None:
    merged = merge([worker(1), without_gauges(worker(2))])
    assert values(merged, "requests_total") == {("db",): 3}
    assert values(merged, "busy") == {("db",): 1}
    (waits,) = values(merged, "wait_seconds").values()
    assert isinstance(waits, dict)
    assert sum(waits["counts"]) == 3


def test_an_increase_is_what_came_since() -> None:
    grown = increase(worker(7), worker(3))
    assert values(grown, "requests_total") == {("db",): 4}
    assert values(grown, "busy") == {("db",): 7}
    assert values(grown, "errors_total") == {("db", "refused"): 4}
    (waits,) = values(grown, "wait_seconds").values()
    assert isinstance(waits, dict)
    assert sum(waits["counts"]) == 4
    assert waits["sum"] == 2.0


def test_what_is_new_or_began_anew_has_grown_by_all_of_it() -> None:
    assert increase(worker(3), {}) == worker(3)
    assert values(increase(worker(3), worker(5)), "requests_total") == {("db",): 3}
    assert values(increase(worker(3), worker(5)), "wait_seconds") == values(worker(3), "wait_seconds")
    assert values(increase(worker(3), worker(1, error="reset")), "errors_total") == {("db", "refused"): 3}
    other_buckets = worker(1)
    other_buckets["l4proxy_pool_wait_seconds"]["bounds"] = [1.0]
    assert values(increase(worker(3), other_buckets), "wait_seconds") == values(worker(3), "wait_seconds")
