"""Pipelines over several servers: in order, whole, and each with its own reply, whatever happens."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from l4proxy.plugins.redis.batch import Batch, Share
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure
from redis_memory import Client, RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

THREE = {"endpoints": ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"], "load_balancer": "maglev"}


def start(memory: RedisMemory, **options: Any) -> Client:
    return memory.start(cluster=THREE, **options)


def pipeline(name: bytes, keys: list[bytes], *more: bytes) -> bytes:
    return b"".join(encode_command(name, key, *more) for key in keys)


def own_words(name: bytes, keys: list[bytes], *more: bytes) -> list[Any]:
    """What the fake server answers."""
    return [b" ".join([b"0", b"", name, key, *more]) for key in keys]


@pytest.mark.parametrize("count", [2, 3, 16, 127, 128, 129, 1000])
def test_a_pipeline_is_divided_and_its_replies_put_together(count: int, redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(count)]
    client.end.send(pipeline(b"GET", keys) + pipeline(b"SET", keys, b"some value"))
    redis_memory.serve()
    assert client.replies() == own_words(b"GET", keys) + own_words(b"SET", keys, b"some value")
    asked = [[words for words in server.commands if words[0] == b"GET"] for server in redis_memory.look()]
    assert sorted(words[1] for commands in asked for words in commands) == sorted(keys)
    for commands in asked:
        numbers = [int(words[1][4:]) for words in commands]
        assert numbers == sorted(numbers)


def test_one_server_after_the_other(redis_memory: RedisMemory) -> None:
    """No reply comes before those that are in front of it."""
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(30)]
    client.end.send(pipeline(b"GET", keys))
    client.send(b"GET", b"last")
    first, second, third = redis_memory.look()
    third.serve()
    first.serve()
    assert client.replies() == []
    second.work()
    second.say(10)
    assert client.replies() == []
    second.say()
    assert client.replies() == own_words(b"GET", [*keys, b"last"])


@pytest.mark.parametrize("names", [[b"STRLEN"], [b"STRLEN", b"GET"]])
@pytest.mark.parametrize("error", [b"", b"!"])
def test_nothing_is_left_to_the_collector(error: bytes, names: list[bytes], redis_memory: RedisMemory) -> None:
    """What a pipeline was made of is freed with its last reply."""
    client = start(redis_memory)
    gc.disable()
    try:
        keys = [b"key:%d" % number for number in range(31)] + [b"last" + error]
        client.end.send(b"".join(encode_command(name, key) for key in keys for name in names))
        redis_memory.serve()
        assert len(client.replies()) == 32 * len(names)
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Batch | Share)]
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [1, 7, 45, 200])
def test_replies_that_come_in_pieces(size: int, redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number + b"x" * (number % 5 * 40) for number in range(60)]
    client.end.send(pipeline(b"GET", keys))
    client.send(b"GET", b"last")
    servers = redis_memory.look()
    for server in servers:
        server.work()
    while any(server.replies for server in servers):
        for server in servers:
            server.say(size)
    assert client.replies() == own_words(b"GET", [*keys, b"last"])


@pytest.mark.parametrize("size", [5000, 20_000, 60_000, 1_000_000])
def test_a_long_reply_ends_where_short_ones_follow(size: int, redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    lengths = [3, 50_000, 1, 2, 20_000, 17_000, 5]
    client.end.send(
        b"".join(encode_command(b"GETRANGE", b"{a}%d" % n, b"1", b"%d" % n) for n in lengths)
        + pipeline(b"GET", [b"{a}", b"key"])
    )
    (server, *others) = redis_memory.look()
    for other in others:
        other.serve()
    server.work()
    while server.replies:
        server.say(size)
    redis_memory.serve()
    assert client.replies() == [*(b"x" * n for n in lengths), *own_words(b"GET", [b"{a}", b"key"])]


def test_commands_that_differ_share_a_turn(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(16)]
    data = b"".join(encode_command(name, key) for key in keys for name in (b"GET", b"STRLEN"))
    gc.collect()
    client.end.send(data)
    assert len([thing for thing in gc.get_objects() if isinstance(thing, Batch)]) == 1
    redis_memory.serve()
    assert client.replies() == [
        words for key in keys for words in own_words(b"GET", [key]) + own_words(b"STRLEN", [key])
    ]


@pytest.mark.parametrize("knows_resp3", [False, True])
def test_arguments_that_look_like_commands(knows_resp3: bool, redis_memory: RedisMemory) -> None:
    redis_memory.knows_resp3 = knows_resp3
    client = start(redis_memory)
    client.send(b"HELLO", b"3")
    redis_memory.serve()
    client.replies()
    commands = [(b"SETNX", b"{a}*3", b"SETNX"), (b"SETNX", b"{a}", b"value"), (b"SETNX", b"{a}key", b"*3")] * 2
    client.end.send(b"".join(encode_command(*words) for words in commands))
    redis_memory.serve()
    assert client.replies() == [b" ".join([b"0", b"", *words]) for words in commands]


def test_braces_decide(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"{user}:%d" % number for number in range(50)]
    client.end.send(pipeline(b"GET", keys))
    redis_memory.serve()
    assert client.replies() == own_words(b"GET", keys)
    assert sorted(len(server.commands) for server in redis_memory.look()) == [50]


@pytest.mark.parametrize("position", [0, 1, 15, 31])
def test_an_error_is_the_reply_to_one_command(position: int, redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(32)]
    keys[position] += b"!"
    client.end.send(pipeline(b"STRLEN", keys))
    redis_memory.serve()
    expected = own_words(b"STRLEN", keys)
    expected[position] = Failure(b"WRONGTYPE " + keys[position])
    assert client.replies() == expected


def test_what_looks_like_an_error_inside_of_a_value_is_none(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(8)]
    client.end.send(pipeline(b"SET", keys, b"\n-ERR +x"))
    redis_memory.serve()
    assert client.replies() == own_words(b"SET", keys, b"\n-ERR +x")


def test_a_client_that_goes_takes_no_reply_from_others(redis_memory: RedisMemory) -> None:
    client = start(redis_memory, connections=1)
    other = redis_memory.another()
    keys = [b"key:%d" % number for number in range(20)]
    client.end.send(pipeline(b"STRLEN", [*keys, b"wrong!"]))
    other.end.send(pipeline(b"GET", keys))
    redis_memory.look()[0].serve()
    client.end.reset()
    redis_memory.serve()
    assert other.replies() == own_words(b"GET", keys)


def test_a_lost_server_is_an_error_to_its_commands_alone(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(40)]
    client.end.send(pipeline(b"INCR", keys))
    lost, *others = redis_memory.look()
    for server in redis_memory.look():
        server.work()
    gone = {words[1] for words in lost.commands}
    lost.end.reset()
    for server in others:
        server.say()
    replies = client.replies()
    assert len(replies) == len(keys)
    for key, reply, expected in zip(keys, replies, own_words(b"INCR", keys), strict=True):
        if key in gone:
            assert isinstance(reply, Failure)
            assert reply.startswith(b"ERR upstream failure")
        else:
            assert reply == expected
