"""Looking at many chunks together finds what looking at each of them finds."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from l4proxy.config.types import Duration, Size
from l4proxy.filter import Peer
from l4proxy.inspector import Link
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.conversation import RedisConversation
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.plugins.redis_watch.together import look_at_all
from l4proxy.protocols.redis.request import encode_command
from l4proxy.stats_registry import StatsRegistry

CONFIG = RedisWatchConfig(hot_keys=100, big_from=Size(1024), slow_log=Duration(0.5))
EXCHANGES: list[tuple[bytes, bytes]] = [
    (encode_command(b"GET", b"user:1"), b"$5\r\nvalue\r\n"),
    (encode_command(b"get", b"user:2"), b"$-1\r\n"),
    (encode_command(b"SET", b"user:3", b"x" * 64), b"+OK\r\n"),
    (encode_command(b"SET", b"user:3", b"a\r\nb"), b"+OK\r\n"),
    (encode_command(b"SET", b"big:1", b"x" * 1500), b"+OK\r\n"),
    (encode_command(b"GET", b"big:1"), b"$1500\r\n" + b"x" * 1500 + b"\r\n"),
    (encode_command(b"GET", b"big:2"), b"$9000\r\n" + b"x" * 9000 + b"\r\n"),
    (encode_command(b"GET", b"list:1"), b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    (encode_command(b"MGET", b"a", b"b"), b"*2\r\n$-1\r\n$1\r\nx\r\n"),
    (encode_command(b"GET", b"a") * 3, b"$1\r\n1\r\n$1\r\n2\r\n-ERR no\r\n"),
    (encode_command(b"MULTI") + encode_command(b"INCR", b"n") + encode_command(b"EXEC"),
     b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"),
    (encode_command(b"CLIENT", b"REPLY", b"SKIP"), b""),
    (encode_command(b"PING"), b"+PONG\r\n"),
    (b"PING\r\n", b"+PONG\r\n"),
    (encode_command(b"SUBSCRIBE", b"c"), b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
    (encode_command(b"UNSUBSCRIBE", b"c"), b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"),
    (encode_command(b"LONGERTHANTEN", b"a"), b"-ERR unknown command\r\n"),
]  # fmt: skip


class Seer:
    def __init__(self, conversation: RedisConversation) -> None:
        self.conversation = conversation

    def failed(self, error: Exception) -> None:
        raise error

    def look(self, from_client: bool, data: bytes, at: float) -> None:
        (self.conversation.client_data if from_client else self.conversation.server_data)(data, at)


def begin(count: int) -> tuple[RedisInspector, list[Seer]]:
    inspector = RedisInspector(CONFIG, StatsRegistry())
    inspector.view._chance = random.Random(1).random
    links = [Link(number, Peer("192.0.2.1", number, ""), server=Peer("192.0.2.9", 1, "")) for number in range(count)]
    return inspector, [Seer(inspector.conversation(link)) for link in links]


def traffic(chance: random.Random, count: int) -> list[tuple[int, bool, bytes, float]]:
    """What each connection says, in pieces and woven with the others."""
    pieces: list[list[tuple[int, bool, bytes, float]]] = []
    for number in range(count):
        mine: list[tuple[int, bool, bytes, float]] = []
        skips = False
        for _ in range(30):
            asked, answered = chance.choice(EXCHANGES)
            if skips:
                asked, answered = EXCHANGES[0][0], b""
            skips = asked.endswith(b"SKIP\r\n") and not skips
            for from_client, data in ((True, asked), (False, answered)):
                while data:
                    size = chance.choice([len(data), len(data), len(data), 1, 5, 50])
                    mine.append((number, from_client, data[:size], 0.0))
                    data = data[size:]
        pieces.append(mine)
    woven, at = list[tuple[int, bool, bytes, float]](), 1000.0
    while any(pieces):
        number, from_client, data, _ = chance.choice([mine for mine in pieces if mine]).pop(0)
        at += chance.choice([0.0001, 0.001, 0.01, 0.7])
        woven.append((number, from_client, data, at))
    return woven


def found(inspector: RedisInspector, seers: list[Seer]) -> Any:
    view = inspector.view
    view.collect()
    seen = [(one.conversation.commands, one.conversation.errors, one.conversation.in_flight) for one in seers]
    return view.registry.snapshot(), seen, view.hottest().keys(), list(view.big), list(view.slow)


@pytest.mark.parametrize("seed", range(20))
def test_it_makes_no_difference(seed: int) -> None:
    chance = random.Random(seed)
    chunks = traffic(chance, 5)
    one, ones = begin(5)
    for number, from_client, data, at in chunks:
        ones[number].look(from_client, data, at)
    other, others = begin(5)
    while chunks:
        size = chance.randint(1, 40)
        look_at_all([(cast(Any, others[number]), *rest) for number, *rest in chunks[:size]], other.view)
        del chunks[:size]
    assert found(one, ones) == found(other, others)
    assert sum(seer.conversation.commands for seer in ones) > 100
