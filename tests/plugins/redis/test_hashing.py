"""Keys divided among real servers that know nothing of each other."""

from __future__ import annotations

import random

import pytest

from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.protocols.redis.values import Failure, Simple
from l4proxy.testing import StartProxy
from redis_fuzz import ask_both, commands
from services.needs import needs
from services.redis import RedisServer

OK = Simple(b"OK")
NOT_OF_KEYS = frozenset({
    "ACL", "AUTH", "CLIENT", "COMMAND", "CONFIG", "DBSIZE", "DEBUG", "DISCARD", "EVALSHA", "EXEC", "FCALL", "FUNCTION",
    "HELLO", "KEYS", "MULTI", "NOSUCHCOMMAND", "PUBSUB", "READONLY", "RESET", "ROLE", "SCRIPT", "SELECT", "SWAPDB",
    "UNWATCH", "WAIT", "WATCH",
})  # fmt: skip
"""Commands that are about a connection or a whole server."""
pytestmark = needs("redis-server")


@pytest.fixture(params=["ring_hash", "maglev"])
def port(request: pytest.FixtureRequest, proxy: StartProxy, redis_three: list[RedisServer]) -> int:
    for server in redis_three:
        server.command("flushall")
    endpoints = [server.address for server in redis_three]
    clusters = {"cache": {"endpoints": endpoints, "load_balancer": request.param}}
    return proxy(RedisProxy, cluster="cache", clusters=clusters).address[1]


def test_keys_are_divided_and_found_again(port: int, redis_three: list[RedisServer]) -> None:
    keys = [b"key:%d" % number for number in range(300)]
    with redis_three[0].connect(port) as client:
        assert client.ask("MSET", *(part for key in keys for part in (key, key))) == OK
        assert client.ask("MGET", *keys) == keys
        assert client.ask("DBSIZE") == 300
        counts = [int(server.command("dbsize")) for server in redis_three]
        assert sum(counts) == 300
        assert min(counts) > 30
        assert sorted(client.ask("KEYS", "*")) == sorted(keys)
        assert client.ask("RANDOMKEY") in keys
        seen, cursor = [], b"0"
        while True:
            cursor, some = client.ask("SCAN", cursor, "COUNT", "20")
            seen += some
            if cursor == b"0":
                break
        assert sorted(seen) == sorted(keys)
        assert client.ask("EXISTS", *keys, "no") == 300
        assert client.ask("TOUCH", *keys[:7]) == 7
        assert client.ask("DEL", *keys[:10]) == 10
        assert client.ask("UNLINK", *keys[:20]) == 10
        assert b"db0:keys=280" in client.ask("INFO", "keyspace")
        assert client.ask("FLUSHALL") == OK
    assert [server.command("dbsize") for server in redis_three] == ["0", "0", "0"]


def test_what_stands_in_braces_decides(port: int, redis_three: list[RedisServer]) -> None:
    with redis_three[0].connect(port) as client:
        for number in range(20):
            client.ask("SET", f"{{user:7}}:{number}", "x")
        assert sorted(int(server.command("dbsize")) for server in redis_three) == [0, 0, 20]
        assert client.ask("RENAME", "{user:7}:1", "{user:7}:new") == OK
        many = [word for number in range(40) for word in (f"key{number}", "x")]
        assert client.ask("MSETNX", *many).prefix == "CROSSSLOT"
        assert client.ask("MULTI") == OK
        assert client.ask("PING") == Simple(b"QUEUED")
        assert client.ask("INCR", "{user:7}:n") == Simple(b"QUEUED")
        assert client.ask("EXEC") == [Simple(b"PONG"), 1]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_replies_are_a_servers(
    protocol: int, port: int, redis_three: list[RedisServer], redis_twins: tuple[RedisServer, RedisServer]
) -> None:
    """The same commands straight to one server, and divided among three. All keys of one command belong together."""
    chance = random.Random(protocol)
    source = commands(protocol, without=NOT_OF_KEYS)
    with redis_twins[0].connect() as direct, redis_three[0].connect(port) as client:
        for connection in (direct, client):
            connection.ask("FLUSHALL")
            connection.ask("HELLO", b"%d" % protocol)
        for _ in range(300):
            pipeline = []
            for _ in range(chance.choice([1, 2, 5, 20])):
                tag = b"{%d}" % chance.randrange(8)
                pipeline.append([tag + word if word[:3] == b"key" else word for word in next(source)])
            ask_both(direct, client, pipeline, chance)


def test_a_server_that_is_down_takes_only_its_keys(proxy: StartProxy, redis_three: list[RedisServer]) -> None:
    endpoints = [redis_three[0].address, redis_three[1].address, "127.0.0.1:1"]
    clusters = {"cache": {"endpoints": endpoints, "load_balancer": "maglev"}}
    port = proxy(RedisProxy, cluster="cache", clusters=clusters).address[1]
    with redis_three[0].connect(port) as client:
        replies = [client.ask("SET", f"k{number}", "x") for number in range(60)]
        failed = [reply for reply in replies if isinstance(reply, Failure)]
        assert 5 < len(failed) < 40
        assert set(failed) == {Failure(b"ERR upstream failure: connect refused")}
        values = client.ask("MGET", *(b"k%d" % number for number in range(60)))
        assert [isinstance(value, Failure) for value in values] == [isinstance(reply, Failure) for reply in replies]
