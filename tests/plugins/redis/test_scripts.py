from __future__ import annotations

from l4proxy.protocols.redis.values import Failure
from redis_memory import FakeServer, RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]


def test_a_missing_script_is_loaded_again(redis_memory: RedisMemory) -> None:
    def evalsha(server: FakeServer, words: list[bytes]) -> None:
        known = any(one[:2] == [b"SCRIPT", b"LOAD"] for one in server.commands)
        server.reply(b"ran" if known else Failure(b"NOSCRIPT No matching script. Please use EVAL."))

    FakeServer._evalsha = evalsha  # type: ignore[attr-defined]
    client = redis_memory.start()
    client.send(b"EVAL", b"return 1", b"0")
    redis_memory.serve()
    client.send(b"EVALSHA", b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", b"0")
    redis_memory.serve()
    assert client.replies()[1:] == [b"ran"]
    assert redis_memory.servers[0].commands[2] == [b"SCRIPT", b"LOAD", b"return 1"]
    client.send(b"EVALSHA", b"0" * 40, b"0")
    redis_memory.serve()
    del FakeServer._evalsha  # type: ignore[attr-defined]
