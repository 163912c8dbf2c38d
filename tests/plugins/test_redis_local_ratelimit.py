from __future__ import annotations

from typing import Any

import pytest

from l4proxy import ConfigError
from l4proxy.plugins.redis_local_ratelimit import RedisLocalRatelimit
from l4proxy.protocols.redis.values import Failure
from l4proxy.testing import use
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)


def passed(memory: RedisMemory, options: dict[str, Any], *lines: str) -> list[bool]:
    client = memory.start(use(RedisLocalRatelimit, **options))
    for line in lines:
        client.send(*line.encode().split())
    memory.serve()
    return [not isinstance(reply, Failure) for reply in client.replies()]


@pytest.mark.parametrize(
    ("options", "lines", "expected"),
    [
        ({}, ["GET a", "GET b", "GET c"], [True, True, False]),
        ({"commands": ["get"]}, ["GET a", "SET a 1", "GET b", "SET a 1", "GET c"], [True, True, True, True, False]),
        ({"per": "command"}, ["GET a", "GET a", "SET a 1", "GET a", "SET a 1"], [True, True, True, False, True]),
        ({"per": "key_prefix"}, ["GET a:1", "GET a:2", "GET b:1", "GET a:3"], [True, True, True, False]),
        (
            {"prefix": "a"},
            ["GET a", "GET b", "GET a", "GET b", "GET b", "GET a"],
            [True, True, True, True, True, False],
        ),
        ({"per": "source"}, ["GET a", "GET b", "GET c"], [True, True, False]),
        ({"per": "user"}, ["GET a", "GET b", "GET c"], [True, True, False]),
    ],
)
def test_limits(options: dict[str, Any], lines: list[str], expected: list[bool], redis_memory: RedisMemory) -> None:
    assert passed(redis_memory, {"max_tokens": 2, **options}, *lines) == expected
    refused = redis_memory.statistic("l4proxy_local_ratelimit_rate_limited_total", name="redis")
    assert refused == expected.count(False)


def test_a_prefix_ends_somewhere() -> None:
    with pytest.raises(ConfigError, match="delimiter: a prefix has to end somewhere"):
        use(RedisLocalRatelimit, max_tokens=1, per="key_prefix", delimiter="")
