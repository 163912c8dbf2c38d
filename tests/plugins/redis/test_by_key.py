"""Pipelines over several servers: in order, whole, and each with its own reply, whatever happens."""

from __future__ import annotations

import gc
import random
from typing import Any

import pytest

from l4proxy.plugins.redis.batch import Batch, Share
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Map
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


def woven(keys: list[bytes]) -> tuple[bytes, list[Any]]:
    """Commands that differ, and what is right to be answered."""
    data, expected = b"", list[Any]()
    for at, key in enumerate(keys):
        for words in [(b"SET", key, b"value"), (b"GET", key), (b"SET", key, b"x", b"EX", b"%d" % at), (b"STRLEN", key)]:
            data += encode_command(*words)
            wrong = words[0] == b"STRLEN" and key.endswith(b"!")
            expected.append(Failure(b"WRONGTYPE " + key) if wrong else b" ".join([b"0", b"", *words]))
    return data, expected


@pytest.mark.parametrize("count", [1, 4, 32, 33, 300])
def test_commands_that_differ_are_divided_in_order(count: int, redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = [b"key:%d" % number for number in range(count)]
    data, expected = woven(keys)
    client.end.send(data)
    redis_memory.serve()
    assert client.replies() == expected
    asked = [words for server in redis_memory.look() for words in server.commands]
    for key in keys:
        assert [words[0] for words in asked if words[1] == key] == [b"SET", b"GET", b"SET", b"STRLEN"]


def test_commands_that_differ_share_a_turn(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    data, expected = woven([b"key:%d" % number for number in range(8)])
    gc.collect()
    client.end.send(data)
    assert len([thing for thing in gc.get_objects() if isinstance(thing, Batch)]) == 1
    redis_memory.serve()
    assert client.replies() == expected


def test_what_has_not_one_key_goes_by_itself(redis_memory: RedisMemory) -> None:
    """What is in front of it and behind it is not overtaken."""
    client = start(redis_memory)
    data, expected = woven([b"key:%d" % number for number in range(5)])
    others = encode_command(b"MGET", b"a", b"b") + encode_command(b"PING") + encode_command(b"GET", b"x" * 500)
    client.end.send(data + others + data + encode_command(b"NO", b"SUCH") + data[:-3])
    client.end.send(data[-3:])
    redis_memory.serve()
    alone = [[b"a", b"b"], b"0  PING", b"0  GET " + b"x" * 500]
    refused = Failure(b"ERR unknown command 'NO': this proxy cannot tell its keys (see custom_commands)")
    assert client.replies() == [*expected, *alone, *expected, refused, *expected]


def test_a_transaction_between_commands_that_differ(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    data, expected = woven([b"{a}%d" % number for number in range(3)])
    block = encode_command(b"MULTI") + encode_command(b"SET", b"{a}", b"1") + encode_command(b"EXEC")
    client.end.send(data + block + data)
    redis_memory.serve()
    assert client.replies() == [*expected, b"OK", b"QUEUED", [b"0  SET {a} 1"], *expected]


@pytest.mark.parametrize(
    "bad", [b"*2\r\n$4\r\nPOST\r\n$1\r\n/\r\n", b"*1\r\n$1\r\nkey\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n*"]
)
def test_bad_input_behind_commands_that_differ(bad: bytes, redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    data, expected = woven([b"key:%d" % number for number in range(3)])
    client.end.send(data + bad)
    client.end.send(data)
    redis_memory.serve()
    assert client.replies()[: len(expected)] == expected
    assert client.end.got_eof


def test_replies_to_commands_that_differ_are_translated(redis_memory: RedisMemory) -> None:
    redis_memory.knows_resp3 = False
    client = start(redis_memory)
    client.send(b"HELLO", b"3")
    redis_memory.serve()
    client.replies()
    pair = encode_command(b"HGETALL", b"a") + encode_command(b"SET", b"b", b"1")
    client.end.send(pair + encode_command(b"HGETALL", b"c") + encode_command(b"STRLEN", b"d!"))
    redis_memory.serve()
    fields = Map([(b"field", b"value")])
    assert client.replies() == [fields, b"0  SET b 1", fields, Failure(b"WRONGTYPE d!")]


@pytest.mark.parametrize("wrong", [[], [0], [3, 4], list(range(20))])
@pytest.mark.parametrize("size", [1, 50, None])
def test_commands_that_differ_are_counted_by_name(
    wrong: list[int], size: int | None, redis_memory: RedisMemory
) -> None:
    """Also where some of them fail, and the batch is broken up."""
    client = start(redis_memory)
    keys = [b"key:%d" % number + b"!" * (number in wrong) for number in range(20)]
    data, expected = woven(keys)
    client.end.send(data)
    servers = redis_memory.look()
    for server in servers:
        server.work()
    answered = sum(len(server.replies) for server in servers)
    while any(server.replies for server in servers):
        for server in servers:
            server.say(size)
    replies = client.replies()
    assert replies == expected
    names = ["SET", "GET", "STRLEN"]

    endpoints = [f"192.0.2.{number}:1" for number in (1, 2, 3)]

    def of_commands(metric: str) -> list[Any]:
        count = redis_memory.statistic
        return [count(f"l4proxy_redis_command_{metric}", cluster="c", command=name) for name in names]

    def of_endpoints(metric: str) -> list[Any]:
        count = redis_memory.statistic
        return [count(f"l4proxy_redis_endpoint_{metric}", cluster="c", endpoint=name) for name in endpoints]

    assert of_commands("commands_total") == [2 * len(keys), len(keys), len(keys)]
    assert sum(of_endpoints("commands_total")) == 4 * len(keys)
    assert sum(of_commands("request_bytes_total")) == sum(of_endpoints("request_bytes_total")) == len(data)
    assert sum(of_commands("reply_bytes_total")) == sum(of_endpoints("reply_bytes_total")) == answered
    assert [sum(one["counts"]) for one in of_commands("seconds")] == of_commands("commands_total")
    assert [sum(one["counts"]) for one in of_endpoints("seconds")] == of_endpoints("commands_total")
    errors = redis_memory.statistic(
        "l4proxy_redis_command_errors_total", cluster="c", command="STRLEN", error="WRONGTYPE"
    )
    assert errors == len(wrong)


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


MANY = [(b"GET",), (b"SET", b""), (b"SET", b"", b"EX", b"10"), (b"INCRBY", b""), (b"get",), (b"HSET", b"", b"value")]


def script(chance: random.Random) -> tuple[bytes, list[Any]]:
    """Pipelines of all kinds, one behind the other, and what is right to be answered."""
    data, expected = b"", list[Any]()
    for _ in range(chance.randint(1, 6)):
        keys = [b"key:%d" % chance.randrange(1000) for _ in range(chance.choice([1, 2, 5, 30, 200]))]
        match chance.randrange(6):
            case 0:
                data += pipeline(b"GET", keys)
                expected += own_words(b"GET", keys)
            case 1:
                value = b"v" * chance.choice([1, 60, 130, 20_000 if len(keys) < 6 else 130])
                data += pipeline(b"SET", keys, value)
                expected += own_words(b"SET", keys, value)
            case 2:
                keys = [key + chance.choice([b"!", b"", b"", b"", b""]) for key in keys]
                data += pipeline(b"STRLEN", keys)
                expected += [
                    Failure(b"WRONGTYPE " + key) if key.endswith(b"!") else own_words(b"STRLEN", [key])[0]
                    for key in keys
                ]
            case 3:
                data += encode_command(b"MGET", *keys)
                expected.append(keys)
            case _:
                for key in keys:
                    words = chance.choice(MANY)
                    value = b"v" * chance.choice([0, 1, 60, 130])
                    data += encode_command(words[0], key, *([value] if len(words) > 1 else []), *words[2:])
                    expected.append(
                        b" ".join([b"0", b"", words[0], key, *([value] if len(words) > 1 else []), *words[2:]])
                    )
    return data, expected


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_every_command_gets_its_reply(seed: int, faults: bool, redis_memory: RedisMemory) -> None:
    chance = random.Random(seed)
    clients = [start(redis_memory), redis_memory.another(), redis_memory.another()]
    scripts = [script(chance) for _ in clients]
    unsent = [data for data, _ in scripts]
    while any(unsent):
        at = chance.choice([at for at, data in enumerate(unsent) if data])
        size = chance.choice([30, 1000, 100_000])
        clients[at].end.send(unsent[at][:size])
        unsent[at] = unsent[at][size:]
        for server in redis_memory.look():
            if server.end.closed or chance.random() < 0.3:
                continue
            server.work()
            server.say(chance.choice([0, 1, 50, 5000, None]))
            if faults and chance.random() < 0.05:
                chance.choice([server.end.eof, server.end.reset])()
    redis_memory.serve()
    for client, (_, expected) in zip(clients, scripts, strict=True):
        replies = client.replies()
        if client.end.closed and faults:  # a long reply was cut off
            assert len(replies) <= len(expected)
        else:
            assert len(replies) == len(expected)
            assert not client.unfinished
        for reply, right in zip(replies, expected, strict=False):
            lost = b"upstream failure" in (b" ".join(reply) if isinstance(reply, list) else reply)
            assert reply == right or (faults and lost)
