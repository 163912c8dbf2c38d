from __future__ import annotations

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Simple
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")


def test_xread_without_block_is_plain(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"XREAD", b"STREAMS", b"block", b"0")
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 1
    client.send(b"XREAD", b"BLOCK", b"0", b"STREAMS", b"a", b"0")
    redis_memory.serve()
    assert len(redis_memory.servers) == 2


@pytest.mark.parametrize("name", [b"RESET", b"MULTI", b"SUBSCRIBE"])
def test_a_wrong_number_of_arguments_is_for_the_server_to_refuse(name: bytes, redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    words = [name] if name == b"SUBSCRIBE" else [name, b"x"]
    client.send(*words)
    client.send(b"GET", b"a")
    redis_memory.look()[-1].work()
    assert [words, [b"GET", b"a"]] == redis_memory.servers[-1].commands
    assert len(redis_memory.servers) == 1


def test_quit_comes_behind_all_replies(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"GET", b"a") * 2 + encode_command(b"QUIT") + encode_command(b"GET", b"b"))
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"] * 2 + [OK]
    assert client.end.got_eof
    assert str(client.harness.closed).startswith("client:quit")


def test_replication_is_refused(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"PSYNC", b"?", b"-1")
    (reply,) = client.replies()
    assert reply.startswith(b"ERR PSYNC is not served by this proxy")
    assert not redis_memory.look()
