"""What a client is promised: its commands in order, exactly one reply to each, in order, never another client's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.filter import NoConfig
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Simple
from l4proxy.testing import use
from redis_memory import Client, RedisMemory, is_upstream_error, memory_cluster, redis_memory

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")


def test_clients_share_a_connection(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    one.send(b"GET", b"a")
    two.send(b"GET", b"b")
    one.send(b"GET", b"c")
    redis_memory.serve()
    assert one.replies() == [b"0  GET a", b"0  GET c"]
    assert two.replies() == [b"0  GET b"]
    assert len(redis_memory.servers) == 1


def test_what_is_sent_within_a_turn_leaves_together(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"GET", b"a") * 16 + encode_command(b"ECHO", b"b"))
    (server,) = redis_memory.look()
    server.work()
    assert len(server.commands) == 17
    server.say()
    assert client.replies() == [b"0  GET a"] * 16 + [b"b"]


class Script:
    """What a client will send, and what is right to be answered."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self.chance = chance
        self.name = b"client%d" % number
        self.database = b"0"
        self.data = b""
        self.expected: list[Any] = []
        for step in range(chance.randint(1, 12)):
            self._step(b"%b.%d" % (self.name, step))

    def _step(self, word: bytes) -> None:
        kind = self.chance.randrange(10)
        if kind < 4:
            self._add([b"GET", word], b"%b  GET %b" % (self.database, word))
        elif kind < 6:
            for _ in range(self.chance.randint(2, 20)):
                self._add([b"GET", word], b"%b  GET %b" % (self.database, word))
        elif kind == 6:
            self._add([b"ECHO", word * 3000], word * 3000)
        elif kind == 7:
            self.database = b"%d" % self.chance.randrange(4)
            self._add([b"SELECT", self.database], OK)
        elif kind == 8:
            self._add([b"MULTI"], OK)
            self._add([b"INCR", word], Simple(b"QUEUED"))
            self._add([b"EXEC"], [b"%b  INCR %b" % (self.database, word)])
        else:
            self._add([b"CLIENT", b"SETNAME", self.name], OK)

    def _add(self, command: list[bytes], reply: Any) -> None:
        self.data += encode_command(*command)
        self.expected.append(reply)


def play(memory: RedisMemory, seed: int, *, faults: bool) -> list[tuple[Client, Script]]:
    chance = random.Random(seed)
    first = memory.start(connections=chance.randint(1, 2))
    clients = [first, *(memory.another() for _ in range(chance.randint(0, 3)))]
    cast = [(client, Script(chance, number)) for number, client in enumerate(clients)]
    memory.talk(chance, {client: script.data for client, script in cast}, faults=0.05 if faults else 0)
    return cast


@pytest.mark.parametrize("seed", range(60))
def test_every_command_gets_its_reply(seed: int, redis_memory: RedisMemory) -> None:
    for client, script in play(redis_memory, seed, faults=False):
        assert client.replies() == script.expected
        assert not client.unfinished


@pytest.mark.parametrize("seed", range(150))
def test_a_lost_server_is_an_error_and_never_a_wrong_reply(seed: int, redis_memory: RedisMemory) -> None:
    """A reply is the right one or an error of the proxy's. Only where a reply, or what the server knew of the client,
    is lost in the middle, the connection ends."""
    for client, script in play(redis_memory, seed, faults=True):
        replies = client.replies()
        for reply, expected in zip(replies, script.expected, strict=False):
            if is_upstream_error(reply):
                continue
            if isinstance(expected, bytes) and b"  " in expected and not isinstance(reply, Failure):
                # A SELECT may have failed, so that what follows is done in the database before it.
                assert reply.partition(b"  ")[2] == expected.partition(b"  ")[2]
                continue
            if isinstance(expected, list) or reply == Failure(b"ERR EXEC without MULTI"):
                continue  # MULTI itself was lost
            if expected == Simple(b"QUEUED"):
                continue
            assert reply == expected
        if client.end.closed or client.end.got_eof:
            assert len(replies) <= len(script.expected)
        else:
            assert len(replies) == len(script.expected)
            assert not client.unfinished


def test_an_error_for_each_waiting_command(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    one.end.send(encode_command(b"GET", b"a") * 3)
    two.send(b"GET", b"b")
    (server,) = redis_memory.look()
    server.work()
    server.say(len(b"$8\r\n0  GET a\r\n") + 3)
    server.end.reset()
    first, *others = one.replies()
    assert first == b"0  GET a"
    assert len(others) == 2
    assert all(map(is_upstream_error, [*others, *two.replies()]))
    one.send(b"GET", b"c")
    redis_memory.serve()
    assert one.replies() == [b"0  GET c"]
    assert redis_memory.statistic("l4proxy_redis_endpoint_failed_total", cluster="c", endpoint="192.0.2.1:1") == 3


class Sees(RedisFilter[NoConfig]):
    name = "sees"

    def on_request(self, request: RedisRequest) -> RedisRequest:
        return request

    def on_response(self, response: RedisResponse) -> RedisResponse:
        return response


SEVERAL = {"endpoints": ["192.0.2.1:1", "192.0.2.2:1"], "load_balancer": "ring_hash"}


@pytest.mark.parametrize("words", [[b"GET", b"a"], [b"BLPOP", b"a", b"0"], [b"SELECT", b"1"], [b"MGET", b"a", b"b"]])
@pytest.mark.parametrize("cluster", [{}, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("filters", [[], [use(Sees)]], ids=["plain", "filtered"])
def test_a_client_is_disconnected_instead_of_an_error(
    words: list[bytes], cluster: dict[str, Any], filters: list[Any], redis_memory: RedisMemory
) -> None:
    """As the server that is lost would do it, or one that refuses; who waits for none is left alone."""
    client = redis_memory.start(*filters, cluster=cluster, on_failure="disconnect")
    other = redis_memory.another()
    for one in (client, other):
        one.send(b"ECHO", b"x")
        redis_memory.serve()
    client.send(*words)
    for server in redis_memory.look():
        server.work()
        server.end.reset()
    assert client.replies() == [b"x"]
    assert client.end.got_eof
    assert other.replies() == [b"x"]
    assert not other.end.got_eof
    redis_memory.cluster.answer = 111
    other.send(*words)
    assert other.replies() == []
    assert other.end.got_eof


def test_a_server_that_refuses(redis_memory: RedisMemory) -> None:
    redis_memory.cluster.answer = 111
    client = redis_memory.start()
    client.end.send(encode_command(b"GET", b"a") * 2 + encode_command(b"SELECT", b"1") + encode_command(b"BLPOP", b"a"))
    replies = client.replies()
    assert len(replies) == 4
    assert all(map(is_upstream_error, replies))
    redis_memory.cluster.answer = "accept"
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert client.replies() == [b"0  GET b"]


def test_a_reply_that_was_not_asked_for_ends_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"GET", b"a")
    redis_memory.serve()
    (server,) = redis_memory.servers
    server.end.send(b"+OK\r\n")
    assert server.end.closed
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", b"0  GET b"]


def test_the_log_is_not_filled_with_what_a_server_does_wrong(
    redis_memory: RedisMemory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l4proxy.logging_setup._last_said", {})
    client = redis_memory.start()

    def break_connections(*commands: bytes) -> None:
        for number in range(100):
            client.send(*commands)
            redis_memory.look()[-1].end.send(b"$99999999999\r\n" if number % 2 else b"HTTP/1.1 400 Bad Request\r\n\r\n")
            assert len(client.replies()) == 1

    break_connections(b"GET", b"a")
    (line,) = caplog.messages
    assert line.startswith("endpoint 192.0.2.1:1 broke the protocol: ")
    assert line.endswith(" (1 times)")
    monkeypatch.setattr("l4proxy.plugins.redis.connection.LOG_PAUSE", 0.0)
    break_connections(b"BLPOP", b"a", b"0")
    assert caplog.messages[1].endswith(" (100 times)")
    assert caplog.messages[2].endswith(" (1 times)")


def test_a_server_that_talks_nonsense(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"GET", b"a") + encode_command(b"SET", b"a", b"b"))
    redis_memory.look()[0].end.send(b"$2\r\nab\r\nHTTP/1.1 400 Bad Request\r\n\r\n")
    assert client.replies() == [b"ab", Failure(b"ERR upstream protocol error")]
    assert not client.end.closed


def test_a_push_on_a_shared_connection_is_for_nobody(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"HELLO", b"3")
    redis_memory.serve()
    client.replies()
    server = redis_memory.servers[-1]
    client.send(b"GET", b"a")
    server.work()
    for data in (b">2\r\n+inval", b"idate\r\n*0\r\n", bytes(server.replies), b">1\r\n+x\r\n"):
        server.end.send(data)
    assert client.replies() == [b"0  GET a"]
    assert not server.end.closed


def test_a_long_reply_is_passed_on_as_it_comes(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"ECHO", b"x" * 200_000)
    (server,) = [server for server in redis_memory.look() if server.end.sock.taken]
    server.work()
    server.say(100_000)
    assert len(client.end.received) > 90_000
    server.say()
    assert client.replies() == [b"x" * 200_000]


def test_a_long_reply_that_breaks_off_breaks_the_client_off(redis_memory: RedisMemory) -> None:
    client, other = redis_memory.start(), redis_memory.another()
    client.send(b"GET", b"a")
    other.send(b"GET", b"b")
    (server,) = redis_memory.look()
    server.end.send(b"$200000\r\n", b"x" * 100_000)
    server.end.eof()
    assert client.end.got_reset
    assert is_upstream_error(other.replies()[0])


def test_a_whole_transaction_shares_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(b"".join(encode_command(*words) for words in ([b"MULTI"], [b"INCR", b"a"], [b"EXEC"])))
    redis_memory.serve()
    assert client.replies() == [OK, Simple(b"QUEUED"), [b"0  INCR a"]]
    assert len(redis_memory.servers) == 1


# How it ends


def test_a_client_that_ends_its_side_gets_its_replies(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"GET", b"a")
    client.end.eof()
    assert not client.end.got_eof
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]
    assert client.end.got_eof


def test_bad_input_is_answered_behind_what_came_before(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"GET", b"a") + b"*1\r\n:1\r\n" + encode_command(b"GET", b"b"))
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", Failure(b"ERR Protocol error: expected '$', got ':'")]
    assert client.end.got_eof
    assert redis_memory.statistic("l4proxy_redis_proxy_protocol_errors_total", name="", error="expected_dollar") == 1


def test_a_browser_is_told_nothing(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n*1\r\n$8\r\nFLUSHALL\r\n")
    assert client.end.received == b""
    assert client.end.got_eof
    assert not redis_memory.look()


def test_a_drain_ends_clients_when_they_have_their_replies(redis_memory: RedisMemory) -> None:
    idle, busy = redis_memory.start(), redis_memory.another()
    busy.send(b"GET", b"a")
    for client in (idle, busy):
        client.harness.connection.drain()
        client.harness.run()
    assert idle.end.got_eof
    assert not busy.end.got_eof
    redis_memory.serve()
    assert busy.replies() == [b"0  GET a"]
    assert busy.end.got_eof


# Limits


def test_too_many_waiting_commands_are_answered_with_an_error(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(max_waiting=2)
    for word in (b"a", b"b", b"c", b"d"):
        client.send(b"GET", word)
    assert client.replies() == []  # in its place in the queue
    redis_memory.serve()
    one, two, three, four = client.replies()
    assert (one, two) == (b"0  GET a", b"0  GET b")
    assert three == four == Failure(b"ERR upstream overflow: too many commands wait for replies")


def test_a_server_that_does_not_answer_in_time(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(op_timeout="2s")
    client.send(b"GET", b"a")
    client.harness.advance(1)
    assert client.replies() == []
    client.harness.advance(3)
    assert client.replies() == [Failure(b"ERR upstream failure: no reply in time")]
    client.send(b"BLPOP", b"a", b"0")
    redis_memory.serve()
    client.harness.advance(30)
    assert client.replies() == []


def test_idle_connections_are_closed(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(idle_timeout="10s")
    client.send(b"GET", b"a")
    client.send(b"WATCH", b"a")
    client.send(b"UNWATCH")
    redis_memory.serve()
    assert [server.end.closed for server in redis_memory.servers] == [False, False]
    client.end.eof()
    client.harness.advance(20)
    assert [server.end.closed for server in redis_memory.servers] == [True, True]
