"""What is known of one Redis, and how tables show it."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from l4proxy.filter import Peer
from l4proxy.inspector import Link
from l4proxy.plugins.redis_watch import view as view_module
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.conversation import RedisConversation
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.plugins.redis_watch.stats import PrefixStats, WatchedClientStats
from l4proxy.protocols.redis.request import encode_command
from l4proxy.stats_registry import StatsRegistry
from l4proxy.table import Row

OK = b"+OK\r\n"


class Watching:
    """An inspector and one connection, in a time of its own."""

    def __init__(self, **options: Any) -> None:
        self.registry = StatsRegistry()
        self.inspector = RedisInspector(RedisWatchConfig(**options), self.registry)
        self.view = self.inspector.view
        self.at = 1000.0
        self.conversation = self.connect()

    def connect(self, host: str = "192.0.2.1") -> RedisConversation:
        return self.inspector.conversation(Link(1, Peer(host, 4711), Peer("192.0.2.2", 6379)))

    def say(self, *words: str, reply: bytes = OK, took: float = 0.001) -> None:
        self.conversation.client_data(encode_command(*(word.encode() for word in words)), self.at)
        self.at += took
        self.conversation.server_data(reply, self.at)

    def rows(self, table: str) -> list[Row]:
        self.registry.collect()
        return next(list(one.rows()) for one in self.inspector.tables() if one.name == table)


def test_hot_keys_are_those_of_the_last_windows() -> None:
    watching = Watching(hot_window=60)
    for _ in range(30):
        watching.say("GET", "old", reply=b"$-1\r\n")
    watching.at += 60
    for _ in range(20):
        watching.say("GET", "new", reply=b"$-1\r\n")
    watching.say("MGET", "new", "old", "other", reply=b"*0\r\n")
    rows = {row[0]: (row[1], round(float(row[3] or 0), 2)) for row in watching.rows("hot keys")}
    assert rows == {"old": (31, 0.58), "new": (21, 0.4), "other": (1, 0.02)}
    watching.at += 60
    watching.say("GET", "new")
    assert {row[0]: row[1] for row in watching.rows("hot keys")} == {"old": 1, "new": 22, "other": 1}
    watching.at += 600
    watching.say("GET", "new")
    assert [row[:2] for row in watching.rows("hot keys")] == [("new", 1)]


def test_big_keys() -> None:
    watching = Watching(big_from=1000)
    watching.say("SET", "small", "x" * 100)
    watching.say("SET", "written", "x" * 2000)
    watching.say("GET", "read", reply=b"$5000\r\n" + b"x" * 5000 + b"\r\n")
    watching.say("MGET", "read", "small", reply=b"*1\r\n$9000\r\n" + b"x" * 9000 + b"\r\n")
    assert [row[:3] for row in watching.rows("big keys")] == [("written", 2035, "SET"), ("read", 5009, "GET")]


def test_prefixes() -> None:
    watching = Watching()
    watching.say("SET", "user:1", "a")
    watching.say("GET", "user:2", reply=b"$-1\r\n")
    watching.say("DEL", "user:1", "cart:1", "plain")
    rows = {row[0]: row[1] for row in watching.rows("prefixes")}
    assert rows == {"user": 3, "cart": 1, "(none)": 1}
    by_prefix = watching.registry.snapshot()["l4proxy_redis_watch_prefix_reply_bytes_total"]["samples"]
    assert {sample["labels"][1]: sample["value"] for sample in by_prefix} == {"user": 10, "cart": 0, "(none)": 0}
    assert Watching(prefix_end="").rows("prefixes") == []


def test_prefixes_beyond_the_budget_are_one(monkeypatch: Any) -> None:
    monkeypatch.setattr(PrefixStats, "label_budget", 0)
    monkeypatch.setattr(view_module, "PREFIXES", 3)
    watching = Watching()
    watching.registry.change_label_budget(3)
    for number in range(10):
        watching.say("GET", f"p{number}:1")
    rows = {row[0]: row[1] for row in watching.rows("prefixes")}
    assert rows == {"p0": 1, "p1": 1, "p2": 1, "other": 7}


@pytest.mark.parametrize("times", [1, 5])
def test_where_there_are_very_many_commands_some_stand_for_all(times: int) -> None:
    """20,000 a second, in pipelines or not; three in four about user:1."""
    watching = Watching(keys_per_second=500)
    watching.view._chance = random.Random(times).random
    for number in range(100_000 // times):
        key = b"user:1" if number % 4 else b"cart:%d" % number
        watching.conversation.client_data(encode_command(b"GET", key) * times, watching.at)
        watching.at += times / 20_000
        watching.conversation.server_data(b"$1\r\nx\r\n" * times, watching.at)
    for at in range(20):
        watching.say("SET", f"big:{at % 10}", "x" * 50_000)
    assert 32 <= watching.view._stride <= 48
    rows = {row[0]: row[1] for row in watching.rows("prefixes")}
    assert rows["user"] == pytest.approx(75_000, rel=0.05)
    assert rows["cart"] == pytest.approx(25_000, rel=0.1)
    assert max(watching.rows("hot keys"), key=lambda row: row[1] or 0)[0] == "user:1"
    assert len(watching.rows("big keys")) == 10
    assert watching.rows("commands")[0][1] == 100_000
    (big,) = (stats for stats in watching.view.prefix_stats() if stats.label_values[1] == "big")
    assert big.request_bytes_total == 20 * len(encode_command(b"SET", b"big:1", b"x" * 50_000)), "all of them are seen"


def test_slow_commands() -> None:
    watching = Watching(slow_log=0.1, slow_log_length=2)
    watching.say("KEYS", "*", took=0.2)
    watching.say("GET", "a", took=0.05)
    watching.say("BLPOP", "queue", "0", took=5.0)
    watching.say("XREAD", "BLOCK", "0", "STREAMS", "s", "$", took=5.0)
    watching.say("XREAD", "STREAMS", "s", "0", took=0.5)
    watching.say("CONFIG", "SET", "requirepass", "secret", took=0.3)
    slow = [(row[0], row[5]) for row in watching.rows("slow")]
    assert slow == [(2, "XREAD STREAMS s 0"), (3, "CONFIG SET requirepass (redacted)")]
    assert not Watching(slow_log=0.0).rows("slow")


def test_clients() -> None:
    watching = Watching(forget_after=100.0)
    other = watching.connect("192.0.2.7")
    watching.say("GET", "a")
    watching.say("CLIENT", "SETNAME", "app")
    watching.say("GET", "a", reply=b"-ERR no\r\n")
    rows = {row[0]: row[2:6] for row in watching.rows("clients")}
    # SETNAME itself is the new name's.
    assert rows == {"192.0.2.1": (0, 1, 1, 0), "192.0.2.7": (1, 0, 0, 0), "app": (1, 2, 2, 1)}
    watching.connect("192.0.2.8").close(watching.at)
    assert len(watching.rows("clients")) == 3, "who has asked nothing and is gone was never there"
    other.close(watching.at)
    watching.at += 101
    watching.say("PING")
    assert [row[0] for row in watching.rows("clients")] == ["app"]


def test_clients_beyond_the_budget_are_one(monkeypatch: Any) -> None:
    monkeypatch.setattr(WatchedClientStats, "label_budget", 0)
    watching = Watching(slow_log=0.1)
    watching.registry.change_label_budget(3)
    for number in range(10):
        watching.say("CLIENT", "SETNAME", f"c{number}")
        watching.say("GET", "a", took=0.2)
    rows = {row[0]: row[3] for row in watching.rows("clients")}
    assert rows == {"c0": 2, "c1": 2, "c2": 2, "other": 14}
    assert [row[3] for row in watching.rows("slow")] == [f"c{number}" for number in range(10)]


def test_commands_endpoints_and_errors() -> None:
    watching = Watching()
    watching.say("GET", "a", reply=b"-WRONGTYPE no\r\n")
    watching.say("GET", "a")
    assert [row[:4] for row in watching.rows("commands")] == [("GET", 2, 2, 1)]
    assert [row[:4] for row in watching.rows("endpoints")] == [("192.0.2.2:6379", 2, 2, 1)]
    assert watching.rows("errors") == [("GET", "WRONGTYPE", 1)]


def test_gauges() -> None:
    watching = Watching()
    watching.say("HELLO", "3", reply=b"%0\r\n")
    watching.conversation.client_data(encode_command(b"BLPOP", b"a", b"0"), 1.0)
    watching.connect()
    watching.registry.collect()
    stats = watching.view.stats
    assert (stats.in_flight, stats.connections_resp2, stats.connections_resp3) == (1, 1, 1)
    watching.conversation.close(2.0)
    watching.registry.collect()
    assert (stats.in_flight, stats.unanswered_total, stats.connections_resp3) == (0, 1, 0)


def test_observers_of_one_name_share_what_they_know() -> None:
    registry = StatsRegistry()
    config = RedisWatchConfig(name="eu")
    one, other = RedisInspector(config, registry), RedisInspector(config, registry)
    assert one.view is other.view
    assert RedisInspector(dataclasses.replace(config, name="us"), registry).view is not one.view
    changed = RedisInspector(dataclasses.replace(config, hot_keys=5), registry)
    assert changed.view is one.view
    assert one.view.config.hot_keys == 5
