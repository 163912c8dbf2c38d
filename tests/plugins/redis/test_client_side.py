"""When a client is read, and how long it is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.filter import NoConfig
from l4proxy.plugins.redis.message import RedisFilter, RedisResponse
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Simple
from l4proxy.testing import use
from redis_memory import RedisMemory, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")


class Watches(RedisFilter[NoConfig]):
    """Has every command pass through the message filters, which hold only so many."""

    name = "watches"

    def on_response(self, response: RedisResponse) -> None:
        pass


@pytest.mark.parametrize(
    ("filters", "options"),
    [((), {}), ((use(Watches),), {}), ((), {"routes": [{"prefix": "other:", "cluster": "other"}]})],
    ids=["plain", "filtered", "routed"],
)
@pytest.mark.parametrize("behind", [(b"SELECT", b"1"), (b"ECHO", b"x" * 1000), (b"BLPOP", b"b", b"0")])
def test_it_is_cancelled_also_when_the_client_is_not_read(
    behind: tuple[bytes, ...], filters: tuple[Any, ...], options: dict[str, Any], redis_memory: RedisMemory
) -> None:
    """It has sent more than is kept of what cannot be done yet, and then it ends: nobody sees that end."""
    client = redis_memory.start(*filters, **options)
    client.send(b"BLPOP", b"a", b"0")
    redis_memory.serve()
    blocked = next(server for server in redis_memory.servers if server.blocked)
    client.end.send(encode_command(*behind) * 4000)
    client.harness.advance(4)
    client.end.eof()
    client.harness.advance(7)
    assert blocked.end.closed
    assert client.end.got_eof
    assert client.harness.closed is not None
    assert client.harness.closed.detail == "eof"


def test_who_is_not_read_and_stays_gets_its_replies(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"BLPOP", b"a", b"0")
    redis_memory.serve()
    blocked = next(server for server in redis_memory.servers if server.blocked)
    for _ in range(30):
        client.end.send(encode_command(b"SELECT", b"1") * 100)
    client.harness.advance(60)
    blocked.blocked = False
    blocked.reply([b"a", b"x"])
    redis_memory.serve()
    assert client.replies() == [[b"a", b"x"], *[OK] * 3000]


def test_a_client_that_sends_too_far_ahead_is_not_read(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(max_pipeline=10)
    for number in range(40):
        client.send(b"GET", b"%d" % number)
    (server,) = redis_memory.look()
    server.work()
    assert len(server.commands) <= 12
    redis_memory.serve()
    assert len(client.replies()) == 40


def test_a_client_that_does_not_read_is_not_read(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.stop_reading()
    for _ in range(100):
        client.send(b"ECHO", b"x" * 10_000)
        redis_memory.serve()
    asked = sum(len(server.commands) for server in redis_memory.servers)
    assert asked < 20
    client.end.read_again()
    redis_memory.serve()
    assert client.replies() == [b"x" * 10_000] * 100


def test_a_slow_reader_holds_up_a_connection_for_a_while_only(redis_memory: RedisMemory) -> None:
    slow, other = redis_memory.start(reply_buffer=100_000, slow_reader_timeout="5s"), redis_memory.another()
    slow.end.stop_reading()
    slow.send(b"GET", b"a")
    other.send(b"GET", b"b")
    (server,) = redis_memory.look()
    server.end.send(b"$3000000\r\n", *[b"x" * 100_000] * 10)
    assert len(server.end.sock.arrived) > 5  # it is read no more
    other.send(b"GET", b"c")  # goes elsewhere when the reply to b is there
    slow.harness.advance(10)
    assert slow.end.got_reset
    server.end.send(*[b"x" * 100_000] * 20, b"\r\n", b"$1\r\nb\r\n")
    assert not server.end.sock.arrived
    assert other.replies()[0] == b"b"
    assert redis_memory.statistic("l4proxy_redis_proxy_slow_readers_total", name="") == 1


@pytest.mark.parametrize("others_wait", [True, False])
def test_taking_a_little_is_not_enough_where_others_wait(others_wait: bool, redis_memory: RedisMemory) -> None:
    slow, other = redis_memory.start(slow_reader_timeout="5s"), redis_memory.another()
    slow.end.stop_reading()
    slow.send(b"GET", b"a")
    if others_wait:
        other.send(b"GET", b"b")
    (server,) = redis_memory.look()
    server.end.send(b"$3000000\r\n", *[b"x" * 100_000] * 20)
    assert server.end.sock.arrived  # it is read no more
    for _ in range(20):
        slow.end.stop_reading(room=10_000)
        slow.harness.advance(1)
    assert slow.end.got_reset == others_wait
    if others_wait:
        server.end.send(*[b"x" * 100_000] * 10, b"\r\n", b"$1\r\nb\r\n")
        assert other.replies() == [b"b"]


def test_who_has_ended_its_side_is_given_its_replies_while_any_come(redis_memory: RedisMemory) -> None:
    """As with ``printf | nc``. But most who do so and get nothing for long are gone."""
    client, other = redis_memory.start(half_close_timeout="5s"), redis_memory.another()
    client.end.send(encode_command(b"GET", b"a") + encode_command(b"ECHO", b"b") + encode_command(b"SELECT", b"1"))
    client.end.eof()
    other.send(b"GET", b"c")
    (server,) = redis_memory.look()
    server.work()
    client.harness.advance(4)
    server.say(len(b"$8\r\n0  GET a\r\n"))
    client.harness.advance(4)
    assert client.replies() == [b"0  GET a"]
    assert not client.end.got_eof
    client.harness.advance(7)
    assert client.end.got_reset  # it can see that replies are missing
    assert client.harness.closed is not None
    assert client.harness.closed.detail == "half_close_timeout"
    server.say()
    assert other.replies() == [b"0  GET c"]


def test_who_has_ended_its_side_and_reads_slowly_is_there(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(half_close_timeout="5s")
    client.end.stop_reading()
    client.end.send(encode_command(b"ECHO", b"x" * 100_000) * 2 + encode_command(b"ECHO", b"y"))
    client.end.eof()
    (server,) = redis_memory.look()
    server.work()
    server.say(150_000)
    client.harness.advance(60)
    client.end.read_again()
    client.harness.advance(4)
    server.say()
    assert client.replies() == [b"x" * 100_000, b"x" * 100_000, b"y"]
    assert client.end.got_eof
