"""Pipelines of commands that differ: in order, whole, and each counted as what it is, on one server and on several."""

from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Map
from plugins.redis.test_by_key import own_words, pipeline
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

Cluster = dict[str, Any]
ENDPOINTS = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]


@pytest.fixture(params=["one", "three"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return (
        {"endpoints": ENDPOINTS[:1]} if request.param == "one" else {"endpoints": ENDPOINTS, "load_balancer": "maglev"}
    )


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
def test_in_order(count: int, cluster: Cluster, redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=cluster)
    keys = [b"key:%d" % number for number in range(count)]
    data, expected = woven(keys)
    client.end.send(data)
    redis_memory.serve()
    assert client.replies() == expected
    asked = [words for server in redis_memory.look() for words in server.commands]
    for key in keys:
        assert [words[0] for words in asked if words[1] == key] == [b"SET", b"GET", b"SET", b"STRLEN"]


def test_what_has_not_one_key_goes_by_itself(cluster: Cluster, redis_memory: RedisMemory) -> None:
    """What is in front of it and behind it is not overtaken."""
    client = redis_memory.start(cluster=cluster)
    data, expected = woven([b"key:%d" % number for number in range(5)])
    others = encode_command(b"MGET", b"a", b"b") + encode_command(b"PING") + encode_command(b"GET", b"x" * 500)
    client.end.send(data + others + data + encode_command(b"NO", b"SUCH") + data[:-3])
    client.end.send(data[-3:])
    redis_memory.serve()
    alone = [[b"a", b"b"], b"0  PING", b"0  GET " + b"x" * 500]
    unknown: Any = b"0  NO SUCH"
    if len(cluster["endpoints"]) > 1:
        unknown = Failure(b"ERR unknown command 'NO': this proxy cannot tell its keys (see custom_commands)")
    assert client.replies() == [*expected, *alone, *expected, unknown, *expected]


def test_a_transaction_between_them(cluster: Cluster, redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=cluster)
    data, expected = woven([b"{a}%d" % number for number in range(3)])
    block = encode_command(b"MULTI") + encode_command(b"SET", b"{a}", b"1") + encode_command(b"EXEC")
    client.end.send(data + block + data)
    redis_memory.serve()
    assert client.replies() == [*expected, b"OK", b"QUEUED", [b"0  SET {a} 1"], *expected]


@pytest.mark.parametrize(
    "bad", [b"*2\r\n$4\r\nPOST\r\n$1\r\n/\r\n", b"*1\r\n$1\r\nkey\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n*"]
)
def test_bad_input_behind_them(bad: bytes, cluster: Cluster, redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=cluster)
    data, expected = woven([b"key:%d" % number for number in range(3)])
    client.end.send(data + bad)
    client.end.send(data)
    redis_memory.serve()
    assert client.replies()[: len(expected)] == expected
    assert client.end.got_eof


def test_replies_are_translated(cluster: Cluster, redis_memory: RedisMemory) -> None:
    redis_memory.knows_resp3 = False
    client = redis_memory.start(cluster=cluster)
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
def test_each_is_counted_by_name(
    wrong: list[int], size: int | None, cluster: Cluster, redis_memory: RedisMemory
) -> None:
    """Also where some of them fail, and the batch is broken up."""
    client = redis_memory.start(cluster=cluster)
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

    def of_commands(metric: str) -> list[Any]:
        count = redis_memory.statistic
        return [count(f"l4proxy_redis_command_{metric}", cluster="c", command=name) for name in names]

    def of_endpoints(metric: str) -> list[Any]:
        count = redis_memory.statistic
        return [count(f"l4proxy_redis_endpoint_{metric}", cluster="c", endpoint=name) for name in cluster["endpoints"]]

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
def test_every_command_gets_its_reply(seed: int, faults: bool, cluster: Cluster, redis_memory: RedisMemory) -> None:
    chance = random.Random(seed)
    clients = [redis_memory.start(cluster=cluster), redis_memory.another(), redis_memory.another()]
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
