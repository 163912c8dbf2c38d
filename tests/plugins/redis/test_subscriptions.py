"""Subscriptions that have a connection to themselves: in RESP3, where the client's commands go elsewhere."""

from __future__ import annotations

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Push, Simple
from redis_memory import Client, FakeServer, RedisMemory, is_upstream_error, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")
THREE = {"endpoints": ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"], "load_balancer": "maglev"}
A = Push([b"subscribe", b"a", 1])


def start(memory: RedisMemory, client: Client) -> FakeServer:
    """Subscribe in RESP3; return the server's side of the connection."""
    client.send(b"HELLO", b"3")
    memory.serve()
    client.send(b"SUBSCRIBE", b"a")
    memory.serve()
    assert client.replies()[1:] == [A]
    return listening(memory)


def listening(memory: RedisMemory) -> FakeServer:
    (server,) = (one for one in memory.look() if one.channels)
    return server


def answering(memory: RedisMemory, client: Client, *commands: list[bytes]) -> FakeServer:
    """Send commands for the key ``k``, and return the server's side of the connection that has the replies ready."""
    client.send(b"GET", b"k")
    memory.serve()
    client.replies()
    client.end.send(b"".join(encode_command(*words) for words in commands))
    for server in memory.look():
        server.work()
    (server,) = (one for one in memory.servers if one.replies)
    return server


def tell(server: FakeServer, text: bytes) -> Push:
    server.push(b"message", b"a", text)
    server.say()
    return Push([b"message", b"a", text])


def test_they_stay_whatever_else_needs_a_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE)
    server = start(redis_memory, client)
    client.send(b"WATCH", b"k")
    redis_memory.serve()
    client.send(b"SUBSCRIBE", b"b")
    redis_memory.serve()
    told = tell(server, b"x")
    for words in ([b"MULTI"], [b"SET", b"k", b"1"], [b"EXEC"], [b"UNSUBSCRIBE"], [b"GET", b"k"]):
        client.send(*words)
        redis_memory.serve()
    assert client.replies() == [
        b"0  WATCH k", Push([b"subscribe", b"b", 2]), told, OK, Simple(b"QUEUED"), [b"0  SET k 1"],
        Push([b"unsubscribe", b"a", 1]), Push([b"unsubscribe", b"b", 0]), b"0  GET k",
    ]  # fmt: skip
    assert not any(one.channels for one in redis_memory.servers)


def test_they_end_with_the_client(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE)
    server = start(redis_memory, client)
    client.send(b"BLPOP", b"k", b"0")
    redis_memory.serve()
    client.end.eof()
    assert client.end.got_eof
    assert server.end.closed


def test_they_end_with_reset(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE)
    server = start(redis_memory, client)
    client.send(b"RESET")
    client.send(b"GET", b"k")
    redis_memory.serve()
    assert client.replies() == [Simple(b"RESET"), b"0  GET k"]
    assert server.end.closed


def test_no_message_comes_in_the_middle_of_a_reply(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE)
    server = start(redis_memory, client)
    long = b"x" * 100_000
    other = answering(redis_memory, client, [b"SET", b"k", long], [b"GET", b"k"])
    other.say(50_000)
    assert client.replies() == []
    assert len(client.unfinished) > 10_000
    told = [tell(server, b"1"), tell(server, b"2")]
    other.say(30_000)
    assert client.replies() == []
    other.say()
    assert client.replies() == [b"0  SET k " + long, b"0  GET k", *told]


def test_a_long_message_is_whole(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE)
    server = start(redis_memory, client)
    other = answering(redis_memory, client, [b"GET", b"k"])
    server.push(b"message", b"a", b"x" * 100_000)
    server.say(50_000)
    other.say()
    assert client.replies() == [b"0  GET k"]
    server.say()
    assert client.replies() == [Push([b"message", b"a", b"x" * 100_000])]


def test_messages_are_held_within_bounds(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE, reply_buffer=100_000)
    server = start(redis_memory, client)
    long = b"x" * 60_000
    other = answering(redis_memory, client, [b"SET", b"k", long])
    other.say(50_000)
    told = [tell(server, b"%d" % number * 30_000) for number in range(9)]
    assert server.end.sock.arrived  # it is read no more
    other.say()
    redis_memory.serve()
    assert client.replies() == [b"0  SET k " + long, *told]


def test_a_client_is_disconnected_whose_subscriptions_are_lost(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=THREE)
    server = start(redis_memory, client)
    client.send(b"SUBSCRIBE", b"b")
    server.end.eof()
    (error,) = client.replies()
    assert is_upstream_error(error)
    assert client.end.got_eof


def test_a_server_may_know_no_resp3(redis_memory: RedisMemory) -> None:
    redis_memory.knows_resp3 = False
    client = redis_memory.start()
    server = start(redis_memory, client)
    client.send(b"GET", b"k")
    client.send(b"PING")
    redis_memory.serve()
    told = tell(server, b"x")
    client.send(b"HELLO", b"2")
    client.send(b"UNSUBSCRIBE", b"a")
    client.send(b"GET", b"k")
    redis_memory.serve()
    assert client.replies() == [
        b"0  GET k", b"0  PING", told,
        Failure(b"ERR HELLO is not possible while the server knows something of this connection"),
        Push([b"unsubscribe", b"a", 0]), b"0  GET k",
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_a_server_may_end_a_subscription(redis_memory: RedisMemory, protocol: bytes) -> None:
    """As it does with those to channels whose slot goes to another one."""
    client = redis_memory.start(cluster=THREE)
    client.send(b"HELLO", protocol)
    redis_memory.serve()
    client.send(b"SUBSCRIBE", b"a")
    redis_memory.serve()
    server = listening(redis_memory)
    server.push(b"unsubscribe", b"a", b"0")
    server.channels.clear()
    redis_memory.serve()
    client.send(b"GET", b"k")
    redis_memory.serve()
    assert client.replies()[2:] == [
        Push([b"unsubscribe", b"a", b"0"]) if protocol == b"3" else [b"unsubscribe", b"a", b"0"], b"0  GET k",
    ]  # fmt: skip
    assert [b"GET", b"k"] not in server.commands
