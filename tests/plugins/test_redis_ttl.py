from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy import ConfigError
from l4proxy.config.types import Use
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.plugins.redis_ttl import RedisTtl
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Simple, decode
from l4proxy.testing import StartProxy, use
from redis_memory import RedisMemory, memory_cluster, redis_memory
from services.needs import needs
from services.redis import RedisServer

__all__ = ["memory_cluster", "redis_memory"]

RULES = [{"prefix": "s:", "default": "1m", "max": "1h"}, {"prefix": "s:free:"}, {"prefix": "m:", "max": "10s"}]


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("SET s:a v", "SET s:a v PX 60000"),
        ("SET s:a v NX", "SET s:a v NX PX 60000"),
        ("SET s:a v EX 60", "SET s:a v EX 60"),
        ("SET s:a v ex 7200", "SET s:a v ex 3600"),
        ("SET s:a v PX 7200000 XX", "SET s:a v PX 3600000 XX"),
        ("SET s:a v EXAT 9999999999", "SET s:a v EXAT 1003600"),
        ("SET s:a v KEEPTTL", "SET s:a v KEEPTTL"),
        ("SET s:free:a v", "SET s:free:a v"),
        ("SET m:a v", "SET m:a v PX 10000"),
        ("SET other v", "SET other v"),
        ("SETEX s:a 7200 v", "SETEX s:a 3600 v"),
        ("PSETEX s:a 7200000 v", "PSETEX s:a 3600000 v"),
        ("SETNX s:a v", "SET s:a v NX PX 60000"),
        ("GETSET s:a v", "SET s:a v GET PX 60000"),
        ("GETEX s:a EX 7200", "GETEX s:a EX 3600"),
        ("GETEX s:a", "GETEX s:a"),
        ("EXPIRE s:a 7200", "EXPIRE s:a 3600"),
        ("PEXPIRE s:a 7200000 NX", "PEXPIRE s:a 3600000 NX"),
        ("EXPIREAT s:a 9999999999", "EXPIREAT s:a 1003600"),
        ("PEXPIREAT s:a 9999999999999", "PEXPIREAT s:a 1003600000"),
        ("EXPIRE s:a x", "EXPIRE s:a x"),
        ("EXPIRE s:a 1_000_000", "EXPIRE s:a 1_000_000"),
        pytest.param("EXPIRE s:a " + "9" * 400, "EXPIRE s:a " + "9" * 400, id="a very large number"),
        ("SET s:a", "SET s:a"),
        ("PERSIST other", "PERSIST other"),
        ("GETEX other PERSIST", "GETEX other PERSIST"),
    ],
)
def test_commands(line: str, sent: str, redis_memory: RedisMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    client = redis_memory.start(use(RedisTtl, rules=RULES))
    client.send(*line.encode().split())
    redis_memory.serve()
    assert redis_memory.servers[0].commands == [sent.encode().split()]


@pytest.mark.parametrize("line", ["PERSIST s:a", "GETEX s:a PERSIST"])
def test_a_key_may_not_live_for_ever(line: str, redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisTtl, rules=RULES))
    client.send(*line.encode().split())
    redis_memory.serve()
    assert client.replies() == [b"ERR this key may not live for ever (ttl)"]
    assert redis_memory.statistic("l4proxy_redis_ttl_refused_total") == 1


def test_jitter(redis_memory: RedisMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", random.Random(1).random)
    client = redis_memory.start(use(RedisTtl, rules=[{"default": "100s", "jitter": 10}]))
    for _ in range(200):
        client.send(b"SET", b"a", b"v")
    redis_memory.serve()
    times = [int(words[-1]) for words in redis_memory.servers[0].commands]
    assert min(times) >= 90_000
    assert max(times) <= 100_000
    assert len(set(times)) > 100


@needs("redis-server")
def test_replies_stay_what_they_are(proxy: StartProxy, redis: RedisServer) -> None:
    cls, config, _ = use(RedisTtl, rules=[{"prefix": "test_ttl:", "default": "1m"}])
    filters: Any = [Use(cls.name, config, cls=cls)]
    running = proxy(RedisProxy, cluster="cache", clusters={"cache": redis.address}, filters=filters)
    with redis.connect(running.address[1]) as client:
        client.ask("DEL", "test_ttl:a", "test_ttl:b")
        assert client.ask("SETNX", "test_ttl:a", "1") == 1
        assert client.ask("SETNX", "test_ttl:a", "2") == 0
        assert client.ask("GETSET", "test_ttl:a", "3") == b"1"
        assert client.ask("GETSET", "test_ttl:b", "3") is None
        for key in ("test_ttl:a", "test_ttl:b"):
            assert 55 <= client.ask("TTL", key) <= 60
        client.ask("DEL", "test_ttl:a", "test_ttl:b")
        for end, expected in (("DISCARD", Simple(b"OK")), ("EXEC", [Simple(b"OK"), None, 1, Simple(b"OK"), 0])):
            commands = ["MULTI", "SET other 1", "GET test_ttl:a", "SETNX test_ttl:a 1", "SET other 2",
                        "SETNX test_ttl:a 2", end]  # fmt: skip
            client.send(b"".join(encode_command(*command.encode().split()) for command in commands))
            assert [decode(client.reply())[0] for _ in commands][-1] == expected
        assert 55 <= client.ask("TTL", "test_ttl:a") <= 60
        client.ask("DEL", "other", "test_ttl:a")


@pytest.mark.parametrize(
    ("rules", "problem"),
    [([], "rules: at least one"), ([{"default": "2s", "max": "1s"}], "default: is longer than max")],
)
def test_what_is_refused(rules: list[dict[str, str]], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(RedisTtl, rules=rules)
