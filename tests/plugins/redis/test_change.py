"""Who a client is: ``SELECT``, ``AUTH``, ``HELLO``."""

from __future__ import annotations

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Map, Push, Simple
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")


def test_select_shares_with_those_of_the_same_database(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    for client in (one, two):
        client.end.send(encode_command(b"SELECT", b"3") + encode_command(b"GET", b"a"))
        redis_memory.serve()
        assert client.replies() == [OK, b"3  GET a"]
    assert len(redis_memory.servers) == 1
    one.end.send(encode_command(b"SELECT", b"99") + encode_command(b"SELECT", b"x") + encode_command(b"GET", b"a"))
    redis_memory.serve()
    wrong, _, still = one.replies()
    assert wrong == Failure(b"ERR DB index is out of range")
    assert still == b"3  GET a"


def test_auth_makes_it_somebody_else(redis_memory: RedisMemory) -> None:
    redis_memory.password = b"secret"
    one = redis_memory.start()
    one.send(b"GET", b"a")
    one.send(b"AUTH", b"wrong")
    one.send(b"AUTH", b"bob", b"secret")
    one.send(b"GET", b"a")
    redis_memory.serve()
    no, wrong, ok, value = one.replies()
    assert no.prefix == "NOAUTH"
    assert wrong.prefix == "WRONGPASS"
    assert (ok, value) == (OK, b"0 bob GET a")
    two = redis_memory.another()
    two.send(b"GET", b"a")
    redis_memory.serve()
    assert two.replies()[0].prefix == "NOAUTH"


def test_hello_with_everything(redis_memory: RedisMemory) -> None:
    redis_memory.password = b"secret"
    client = redis_memory.start()
    client.send(b"HELLO", b"3", b"AUTH", b"bob", b"secret", b"SETNAME", b"worker")
    client.send(b"CLIENT", b"GETNAME")
    client.send(b"GET", b"a")
    redis_memory.serve()
    hello, name, value = client.replies()
    assert hello[0] == (b"proto", 3)
    assert (name, value) == (b"worker", b"0 bob GET a")
    assert not any(b"SETNAME" in words for words in redis_memory.servers[-1].commands)
    client.send(b"BLPOP", b"a", b"0")
    redis_memory.serve()
    own = redis_memory.servers[-1]
    assert own.commands[-2:] == [[b"CLIENT", b"SETNAME", b"worker"], [b"BLPOP", b"a", b"0"]]


def test_the_proxy_may_log_in_itself(redis_memory: RedisMemory) -> None:
    redis_memory.password = b"secret"
    client = redis_memory.start(username="bob", password="secret", database=2)
    client.send(b"GET", b"a")
    client.send(b"AUTH", b"secret")
    redis_memory.serve()
    value, refused = client.replies()
    assert value == b"2 bob GET a"
    assert refused.startswith(b"ERR AUTH <password> called without any password configured")


def test_a_wrong_password_of_the_proxys_own_is_told(redis_memory: RedisMemory) -> None:
    redis_memory.password = b"secret"
    client = redis_memory.start(password="wrong")
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies()[0].prefix == "WRONGPASS"


HELLO = [
    (b"server", b"redis"), (b"version", b"5.0.1"), (b"proto", 3), (b"id", 0), (b"mode", b"standalone"),
    (b"role", b"master"), (b"modules", []),
]  # fmt: skip


def test_resp3_on_a_server_that_knows_none(redis_memory: RedisMemory) -> None:
    redis_memory.knows_resp3 = False
    redis_memory.password = b"secret"
    client = redis_memory.start()
    client.send(b"HELLO", b"3", b"AUTH", b"bob", b"wrong")
    client.send(b"HELLO", b"3", b"AUTH", b"bob", b"secret")
    client.end.send(encode_command(b"HGETALL", b"a") * 2)
    redis_memory.serve()
    refused, hello, *values = client.replies()
    assert refused.prefix == "WRONGPASS"
    assert hello == HELLO
    assert values == [Map([(b"field", b"value")])] * 2
    client.send(b"HELLO", b"3", b"AUTH", b"bob", b"secret")
    client.send(b"SUBSCRIBE", b"a")
    redis_memory.serve()
    assert client.replies() == [HELLO, Push([b"subscribe", b"a", 1])]
    redis_memory.servers[-1].push(b"message", b"a", b"x")
    redis_memory.servers[-1].say()
    assert client.replies() == [Push([b"message", b"a", b"x"])]


@pytest.mark.parametrize("spoken", ["resp2", "resp3"])
def test_servers_may_be_spoken_to_in_one_version(spoken: str, redis_memory: RedisMemory) -> None:
    one = redis_memory.start(protocol=spoken)
    two = redis_memory.another()
    two.send(b"HELLO", b"3")
    for client in (one, two):
        client.send(b"MULTI")
        redis_memory.serve()
        client.send(b"HELLO", b"2")
        client.send(b"GET", b"a")
        client.send(b"EXEC")
        redis_memory.serve()
    assert one.replies()[1].startswith(b"ERR HELLO is not possible")
    assert two.replies()[0] == (HELLO if spoken == "resp2" else [(b"proto", 3)])
    versions = {words[1] for server in redis_memory.servers for words in server.commands if words[0] == b"HELLO"}
    assert versions == ({b"3"} if spoken == "resp3" else set())


def test_who_a_client_is_may_change_twice_at_once(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"WATCH", b"a")  # it has a connection of its own
    redis_memory.serve()
    client.send(b"HELLO", b"3")
    client.send(b"SELECT", b"2")
    redis_memory.serve()
    client.send(b"UNWATCH")
    redis_memory.serve()
    client.send(b"HGETALL", b"a")
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies()[-2:] == [Map([(b"field", b"value")]), b"2  GET a"]
