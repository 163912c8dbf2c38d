from __future__ import annotations

from l4proxy.plugins.redis_block import RedisBlock
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure
from l4proxy.testing import use
from redis_memory import Client, RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]


def ask(client: Client, memory: RedisMemory, *lines: str) -> list[bytes]:
    client.end.send(b"".join(encode_command(*line.encode().split()) for line in lines))
    memory.serve()
    return client.replies()


def test_what_is_dangerous_is_blocked_without_being_asked(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisBlock))
    lines = ("FLUSHALL", "flushdb async", "CONFIG GET a", "DEBUG SLEEP 1", "KEYS *", "SHUTDOWN", "MONITOR", "ACL LIST")
    for line, reply in zip(lines, ask(client, redis_memory, *lines), strict=True):
        assert isinstance(reply, Failure)
        assert reply.startswith(b"NOPERM " + line.upper().split()[0].encode())
    assert not redis_memory.look()
    assert ask(client, redis_memory, "GET a", "ACL WHOAMI") == [b"0  GET a", b"0  ACL WHOAMI"]
    assert redis_memory.statistic("l4proxy_redis_block_blocked_total", command="FLUSHALL") == 1


def test_each_is_a_switch(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisBlock, keys=False, commands=["getset", "CLIENT|KILL"], allow=["config|get"]))
    lines = "KEYS *|GETSET a b|CLIENT LIST|CLIENT KILL a|CONFIG GET a|CONFIG SET a b"
    replies = ask(client, redis_memory, *lines.split("|"))
    assert [isinstance(reply, Failure) for reply in replies] == [False, True, False, True, False, True]


def test_what_changes_a_cluster_or_all_clients_is_blocked_and_what_tells_is_not(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisBlock, allow=["CONFIG|GET"]))
    blocked = "CLUSTER RESET HARD|cluster meet a 1|CLUSTER SETSLOT 1 NODE a|CLIENT KILL ID 1|CLIENT PAUSE 1|SHUTDOWN"
    told = "CLUSTER SLOTS|CLUSTER INFO|CLUSTER KEYSLOT a|CLIENT LIST|CONFIG GET a|ACL WHOAMI|ACL CAT"
    replies = ask(client, redis_memory, *blocked.split("|"))
    assert [reply.startswith(b"NOPERM ") for reply in replies] == [True] * 6
    assert replies[1] == b"NOPERM CLUSTER MEET is blocked by this proxy (block: cluster)"
    assert not any(isinstance(reply, Failure) for reply in ask(client, redis_memory, *told.split("|")))


def test_what_is_harmless_can_be_blocked_by_its_name(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisBlock, users=False, commands=["ACL|WHOAMI"]))
    refused, cat = ask(client, redis_memory, "ACL WHOAMI", "ACL CAT")
    assert refused == b"NOPERM ACL WHOAMI is blocked by this proxy (block: commands)"
    assert cat == b"0  ACL CAT"


def test_scripts_pass_unless_they_are_blocked(redis_memory: RedisMemory) -> None:
    lines = ("EVAL a 0", "EVALSHA b 0", "FCALL c 0", "SCRIPT LOAD d")
    for scripts in (False, True):
        client = redis_memory.start(use(RedisBlock, scripts=scripts))
        assert [isinstance(reply, Failure) for reply in ask(client, redis_memory, *lines)] == [scripts] * 4


def test_in_a_transaction(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisBlock))
    *_, refused, queued, aborted = ask(client, redis_memory, "MULTI", "INCR a", "FLUSHALL", "INCR b", "EXEC")
    assert refused.startswith(b"NOPERM")
    assert queued == b"QUEUED"
    assert aborted.startswith(b"EXECABORT")
