from __future__ import annotations

import pytest

from l4proxy import ConfigError
from l4proxy.plugins.redis_fault import RedisFault
from l4proxy.protocols.redis.values import Failure
from l4proxy.testing import use
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]


def test_errors(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisFault, error="LOADING on purpose", commands=["get"]))
    client.send(b"GET", b"a")
    client.send(b"SET", b"a", b"1")
    redis_memory.serve()
    assert client.replies() == [Failure(b"LOADING on purpose"), b"0  SET a 1"]
    assert redis_memory.statistic("l4proxy_redis_fault_errors_total") == 1


def test_delays(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisFault, delay="1s", commands=["GET"]))
    client.send(b"GET", b"a")
    client.send(b"SET", b"a", b"1")
    redis_memory.serve()
    assert client.replies() == []
    assert redis_memory.statistic("l4proxy_redis_fault_active") == 1
    client.harness.advance(2)
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", b"0  SET a 1"]
    assert redis_memory.statistic("l4proxy_redis_fault_active") == 0


def test_a_client_that_leaves_is_not_held(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisFault, delay="1s"))
    client.send(b"GET", b"a")
    client.end.reset()
    assert redis_memory.statistic("l4proxy_redis_fault_active") == 0


def test_at_most_so_many_are_held(redis_memory: RedisMemory) -> None:
    one = redis_memory.start(use(RedisFault, delay="1s", max_active=1))
    two = redis_memory.another()
    one.send(b"GET", b"a")
    two.send(b"GET", b"b")
    redis_memory.serve()
    assert two.replies() == [b"0  GET b"]


@pytest.mark.parametrize(
    ("options", "problem"), [({}, "delay: write delay"), ({"error": "a\nb"}, "error: is one line")]
)
def test_what_is_refused(options: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(RedisFault, **options)
