"""One command for several servers, and several replies as one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.redis.merge import (
    SHARD_BITS,
    SPLIT_STEP,
    compose_cursor,
    gather_values,
    merge,
    merge_info,
    split,
    split_cursor,
)
from l4proxy.protocols.redis.values import Failure, Set, Simple, Verbatim

OK = Simple(b"OK")


@given(st.lists(st.tuples(st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=30))
def test_values_come_back_in_their_places(keys: list[tuple[bytes, int]]) -> None:
    parts = split([b"MGET", *(key for key, _ in keys)], 1, [place for _, place in keys])
    assert sum(len(part.arguments) - 1 for part in parts.values()) == len(keys)
    replies = [[(place, key) for key in part.arguments[1:]] for place, part in parts.items()]
    assert gather_values(list(parts.values()), replies) == [(place, key) for key, place in keys]


def test_keys_keep_what_belongs_to_them() -> None:
    parts = split([b"mset", b"a", b"1", b"b", b"2", b"c", b"3"], SPLIT_STEP["MSET"], ["x", "y", "x"])
    assert parts["x"].arguments == [b"mset", b"a", b"1", b"c", b"3"]
    assert parts["y"].arguments == [b"mset", b"b", b"2"]


def test_an_error_stands_in_each_of_its_places() -> None:
    parts = split([b"MGET", b"a", b"b", b"c"], 1, [1, 2, 1])
    down = Failure(b"ERR no")
    assert gather_values(list(parts.values()), [down, [b"2"]]) == [down, b"2", down]


@pytest.mark.parametrize(
    ("policy", "replies", "merged"),
    [
        ("agg_sum", [1, 2, 3], 6),
        ("agg_min", [4, 2], 2),
        ("agg_max", [4, 2], 4),
        ("agg_logical_and", [[1, 0, 1], [1, 1, 1]], [1, 0, 1]),
        ("agg_logical_or", [[1, 0], [0, 0]], [1, 0]),
        ("all_succeeded", [OK, OK], OK),
        ("one_succeeded", [Failure(b"NOTBUSY no script"), OK], OK),
        ("one_succeeded", [Failure(b"NOTBUSY a"), Failure(b"NOTBUSY b")], Failure(b"NOTBUSY b")),
        ("", [[b"a"], [], [b"b", b"c"]], [b"a", b"b", b"c"]),
        ("", [Set([b"a"]), Set([b"b"])], Set([b"a", b"b"])),
        ("all_succeeded", [OK, Failure(b"MISCONF no")], Failure(b"MISCONF no")),
        ("agg_sum", [Failure(b"ERR a"), Failure(b"ERR b"), 1], Failure(b"ERR finished with 2 errors")),
    ],
)
def test_replies_become_one(policy: str, replies: list[Any], merged: Any) -> None:
    found = merge(policy, replies)
    assert (found, type(found)) == (merged, type(merged))


@given(st.integers(0, (1 << SHARD_BITS) - 1), st.integers(0, 1 << 48))
def test_cursors(shard: int, cursor: int) -> None:
    assert split_cursor(compose_cursor(shard, cursor)) == (shard, cursor)


def test_the_first_cursor_is_the_beginning_of_the_first_shard() -> None:
    assert compose_cursor(0, 0) == 0


def test_info_counts_together() -> None:
    server = b"# Server\r\nredis_version:7.0.15\r\nconnected_clients:%d\r\n\r\n# Keyspace\r\n"
    one = server % 3 + b"db0:keys=5,expires=1,avg_ttl=7\r\n"
    two = server % 4 + b"db1:keys=1,expires=0,avg_ttl=0\r\n"
    merged = merge_info([one, two])
    assert merged == server % 7 + b"db0:keys=5,expires=1,avg_ttl=0\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n"
    assert isinstance(merge_info([Verbatim(one), Verbatim(two)]), Verbatim)
    down = Failure(b"ERR no")
    assert merge_info([down, down]) == down
    assert merge_info([down, one]) == one.replace(b"avg_ttl=7", b"avg_ttl=0")
