from __future__ import annotations

import pytest

from l4proxy import ConfigError
from l4proxy.plugins.redis_block import RedisBlock
from l4proxy.plugins.redis_rename import RedisRename
from l4proxy.plugins.redis_ttl import RedisTtl
from l4proxy.testing import use
from redis_memory import RedisMemory, memory_cluster, redis_memory
from services.needs import needs
from services.redis import RedisServer

__all__ = ["memory_cluster", "redis_memory"]


def test_names(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(
        use(RedisRename, commands={"OPS-FLUSH": "FLUSHALL", "FlushAll": "", "MYMULTI": "MULTI"})
    )
    for line in ("ops-flush", "FLUSHALL a b", "GET a", "MYMULTI", "GET b", "EXEC"):
        client.send(*line.encode().split())
        redis_memory.serve()
    replies = client.replies()
    assert replies[0] == b"0  FLUSHALL"
    assert replies[1] == b"ERR unknown command 'FLUSHALL', with args beginning with: 'a' 'b' "
    assert replies[2:] == [b"0  GET a", b"OK", b"QUEUED", [b"0  GET b"]]


def test_filters_behind_see_the_new_name(redis_memory: RedisMemory) -> None:
    rename = use(RedisRename, commands={"FORGET": "EXPIRE", "WIPE": "FLUSHALL", "CONFIG": "b840fc02"})
    block, ttl = use(RedisBlock), use(RedisTtl, rules=[{"max": "10s"}])
    behind = redis_memory.start(rename, block, ttl)
    behind.send(b"FORGET", b"a", b"100")
    behind.send(b"WIPE")
    behind.send(b"CONFIG", b"GET", b"a")
    redis_memory.serve()
    flush = b"NOPERM FLUSHALL is blocked by this proxy (block: flush)"
    config = b"NOPERM B840FC02 is blocked by this proxy (block: config)"
    assert behind.replies() == [b"0  EXPIRE a 10", flush, config]


def test_filters_in_front_see_the_old_name(redis_memory: RedisMemory) -> None:
    rename = use(RedisRename, commands={"WIPE": "FLUSHALL"})
    client = redis_memory.start(use(RedisBlock), rename)
    client.send(b"WIPE")
    client.send(b"FLUSHALL")
    redis_memory.serve()
    assert client.replies() == [b"0  FLUSHALL", b"NOPERM FLUSHALL is blocked by this proxy (block: flush)"]


@needs("redis-server")
def test_the_server_says_the_same_of_a_command_that_it_does_not_have(redis: RedisServer) -> None:
    from l4proxy.plugins.redis.replies import unknown_command

    for words in ([b"NOSUCH"], [b"nosuch", b"a", b"b"], [b"x" * 300, b"y" * 100, b"z" * 100], [b"NOSUCH", b""]):
        with redis.connect() as connection:
            assert connection.ask(*words) == unknown_command(words).encode()


def test_what_is_no_name() -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a command"):
        use(RedisRename, commands={"a b": "c"})
