from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from l4proxy.admin.workers import by_worker, merge_named, missing, same_or_each
from l4proxy.admin_target import AdminTarget, Answer


def cluster(connections: int, failed: dict[str, int], *endpoints: dict[str, Any], problem: str = "") -> dict[str, Any]:
    return {
        "name": "db",
        "problem": problem,
        "connections": connections,
        "connect_failed_total": failed,
        "endpoints": list(endpoints),
    }


def endpoint(name: str, connections: int, weight: int = 3) -> dict[str, Any]:
    return {"name": name, "connections": connections, "weight": weight}


def test_rows_of_one_name_add_up() -> None:
    one = cluster(1, {"refused": 1}, endpoint("a", 1))
    other = cluster(2, {"refused": 2, "timeout": 1}, endpoint("a", 1), endpoint("b", 1), problem="no DNS")
    (merged,) = merge_named([[one], [other]])
    assert merged == cluster(3, {"refused": 3, "timeout": 1}, endpoint("a", 2), endpoint("b", 1), problem="no DNS")
    assert one["connections"] == 1, "the answers are not changed"


def test_rows_that_one_worker_has_are_kept() -> None:
    assert [row["name"] for row in merge_named([[endpoint("a", 1)], [endpoint("b", 1)]])] == ["a", "b"]
    assert merge_named([]) == []


def test_what_all_agree_on_is_said_once() -> None:
    assert same_or_each([Answer(0, [1]), Answer(1, [1])]) == [1]
    assert same_or_each([Answer(0, [1]), Answer(1, [2])]) == {"worker 0": [1], "worker 1": [2]}
    assert same_or_each([]) is None


def test_answers_with_their_numbers() -> None:
    assert by_worker([Answer(3, {"pid": 7})]) == [{"worker": 3, "pid": 7}]


def test_workers_that_do_not_answer_are_missed() -> None:
    target = cast(AdminTarget, SimpleNamespace(workers=2))
    assert missing(target, [Answer(0, 1)]) == ["# 1 of 2 workers did not answer\n"]
    assert missing(target, [Answer(0, 1), Answer(1, 1)]) == []
