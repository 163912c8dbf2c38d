"""What is wrong with what a client or a server sends: an error where one can be sent, a counter, a closed connection;
never a hang, memory without bounds, or a reply that is another command's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure
from redis_memory import Client, RedisMemory, memory_cluster, redis_memory
from resp_cases import BAD_REPLIES, BAD_REQUESTS

__all__ = ["memory_cluster", "redis_memory"]

DIVIDED = {"endpoints": ["192.0.2.1:1", "192.0.2.2:1"], "load_balancer": "maglev"}
LOST = Failure(b"ERR upstream failure: the connection was lost before the reply")
UNREADABLE = Failure(b"ERR upstream protocol error")


@pytest.fixture(params=[None, DIVIDED], ids=["one", "divided"])
def client(request: pytest.FixtureRequest, redis_memory: RedisMemory) -> Client:
    return redis_memory.start(cluster=request.param)


def errors(memory: RedisMemory, code: str) -> int:
    return int(memory.statistic("l4proxy_redis_proxy_protocol_errors_total", name="", error=code))


@pytest.mark.parametrize(("data", "code"), BAD_REQUESTS)
def test_bad_requests(data: bytes, code: str, client: Client, redis_memory: RedisMemory) -> None:
    """What came before is answered; what comes behind is not looked at."""
    client.send(b"GET", b"a")
    client.end.send(data + b"\r\n" + encode_command(b"SET", b"behind", b"1"))
    client.end.send(encode_command(b"SET", b"behind", b"2"))
    redis_memory.serve()
    first, *rest = client.replies()
    assert first == b"0  GET a"
    assert len(rest) == (0 if code == "cross_protocol" else 1)
    assert all(error.startswith(b"ERR Protocol error: ") for error in rest)
    assert client.end.got_eof
    assert errors(redis_memory, code) == 1
    assert not any(words[:2] == [b"SET", b"behind"] for server in redis_memory.servers for words in server.commands)


@pytest.mark.parametrize("data", [b"*2000000000\r\n", b"*1048576\r\n$1\r\n", b"*2\r\n$3\r\nGET\r\n$536870912\r\n"])
def test_lying_counts_cost_nothing(data: bytes, client: Client, redis_memory: RedisMemory) -> None:
    client.end.send(data)
    held = len(client.harness.filters[0]._session._splitter._rest)  # type: ignore[attr-defined]
    assert held <= len(data)
    client.end.reset()


def test_an_inline_flood(client: Client, redis_memory: RedisMemory) -> None:
    """A line without an end."""
    for _ in range(20):
        client.end.send(b"x" * 10_000)
    (error,) = client.replies()
    assert error == Failure(b"ERR Protocol error: too big inline request")
    assert client.end.got_eof


def test_a_flood_of_nothing(client: Client, redis_memory: RedisMemory) -> None:
    client.end.send(b"\r\n" * 10_000 + b"*0\r\n" * 10_000 + encode_command(b"GET", b"a"))
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]


@pytest.mark.parametrize(
    "data", [b"GET a", b"*2\r\n$3\r\nGET\r\n$1\r\n", b"*2\r\n$3\r\nGET\r\n$100000\r\n" + b"x" * 70_000]
)
def test_half_a_command_for_ever(data: bytes, client: Client, redis_memory: RedisMemory) -> None:
    client.end.send(data[:-1])
    redis_memory.serve()
    client.harness.advance(40)
    client.end.send(data[-1:])
    client.harness.advance(40)
    assert (client.replies(), client.end.got_eof) == ([], False)
    client.harness.advance(90)
    assert client.replies() == [Failure(b"ERR Protocol error: a command was not completed in time")]
    assert client.end.got_eof
    assert errors(redis_memory, "half_command") == 1
    assert all(server.end.closed for server in redis_memory.servers)


def test_a_command_that_takes_long_and_comes(client: Client, redis_memory: RedisMemory) -> None:
    command = encode_command(b"ECHO", b"x" * 1000)
    for at in range(0, len(command), 100):
        client.end.send(command[at : at + 100])
        redis_memory.serve()
        client.harness.advance(40)
    assert client.replies() == [b"x" * 1000]


def test_a_command_that_is_too_long_to_be_held(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=DIVIDED, max_held=100_000)
    command = encode_command(b"SET", b"a", b"x" * 500_000)
    client.send(b"GET", b"a")
    for at in range(0, len(command), 30_000):
        client.end.send(command[at : at + 30_000])
    assert client.replies() == []
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", Failure(b"ERR the command is longer than this proxy holds (max_held)")]
    assert client.end.got_eof


def test_what_is_too_long_to_be_held_is_no_command_of_a_connection_of_ones_own(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(cluster=DIVIDED, max_held=100_000)
    client.send(b"WATCH", b"a")
    redis_memory.serve()
    client.send(b"GET", b"a")  # for whose reply the end of the client waits
    client.end.send(encode_command(b"SET", b"a", b"x" * 500_000)[:200_000])
    client.end.send(encode_command(b"FLUSHALL"))
    redis_memory.serve()
    assert [server.commands for server in redis_memory.servers] == [[[b"WATCH", b"a"], [b"GET", b"a"]]]
    told = Failure(b"ERR the command is longer than this proxy holds (max_held)")
    assert client.replies() == [b"0  WATCH a", b"0  GET a", told]


@pytest.mark.parametrize("code", sorted({code for _, code in BAD_REPLIES}))
def test_bad_replies(code: str, client: Client, redis_memory: RedisMemory) -> None:
    """The server is given up; each waiting command gets an error, and the next ones a new connection."""
    client.end.send(encode_command(b"GET", b"a") * 3)
    (server,) = redis_memory.look()
    server.work()
    server.replies = bytearray(b"$1\r\nx\r\n" + next(data for data, one in BAD_REPLIES if one == code))
    server.say()
    server.end.eof()
    first, *rest = client.replies()
    assert first in (b"x", UNREADABLE)  # of commands in one piece none or all are answered
    assert rest in ([UNREADABLE] * 2, [LOST] * 2)
    assert server.end.closed
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert client.replies() == [b"0  GET b"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_server_that_replies_too_often(size: int, client: Client, redis_memory: RedisMemory) -> None:
    """Nobody knows what else is wrong: a reply too many ends the connection."""
    client.send(b"GET", b"a")
    (server,) = redis_memory.look()
    server.work()
    server.reply(b"nobody asked for this")
    while server.replies and not server.end.closed:
        server.say(size)
    assert client.replies() == [b"0  GET a"]
    assert server.end.closed
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert client.replies() == [b"0  GET b"]


def test_replies_before_anything_was_asked(client: Client, redis_memory: RedisMemory) -> None:
    client.send(b"GET", b"a")
    redis_memory.serve()
    (server,) = redis_memory.servers
    server.end.send(b"+OK\r\n")
    assert server.end.closed
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"] * 2


@pytest.mark.parametrize("seed", range(60))
def test_garbage_from_clients(seed: int, redis_memory: RedisMemory) -> None:
    """Commands with bytes changed, left out and doubled: one client's garbage is never another one's trouble."""
    chance = random.Random(seed)
    bad = redis_memory.start(cluster=chance.choice([None, DIVIDED]))
    good = redis_memory.another()
    data = bytearray(b"".join(encode_command(b"SET", b"k%d" % at, b"v" * chance.randrange(300)) for at in range(20)))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 20)]
            case _:
                data[at:at] = data[at : at + chance.randrange(1, 20)]
    expected = []
    for number in range(20):
        if not bad.end.closed:
            bad.end.send(bytes(data[number * 100 : number * 100 + 100]))
        good.send(b"GET", b"good%d" % number)
        expected.append(b"0  GET good%d" % number)
        redis_memory.serve()
    assert good.replies() == expected
    bad.replies()


@pytest.mark.parametrize("seed", range(60))
def test_garbage_from_servers(seed: int, redis_memory: RedisMemory) -> None:
    """A client never gets more replies than it has asked for, and the connection that brought garbage is not used
    again."""
    chance = random.Random(seed)
    clients = [redis_memory.start(cluster=chance.choice([None, DIVIDED])), redis_memory.another()]
    asked = dict.fromkeys(clients, 0)
    for number in range(30):
        client = chance.choice(clients)
        if not (client.end.closed or client.end.got_eof):
            client.send(b"GET", b"k%d" % number)
            asked[client] += 1
        for server in redis_memory.look():
            server.work()
            if server.replies and chance.random() < 0.3:
                at = chance.randrange(len(server.replies))
                server.replies[at : at + chance.randrange(1, 4)] = chance.randbytes(chance.randrange(4))
            if not server.end.closed:
                server.say(chance.choice([3, 20, None]))
    for client in clients:
        got: list[Any] = client.replies()
        assert len(got) <= asked[client]


def test_a_long_command_is_taken_as_the_server_takes_it(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(b"*2\r\n$4\r\nECHO\r\n$10000000\r\n")
    client.end.send(b"x" * 100_000)
    (server,) = redis_memory.look()
    server.end.stop_reading()
    for _ in range(50):
        client.end.send(b"x" * 100_000)
    assert len(client.end.sock.arrived) > 30  # they are not read


def test_a_flood_of_arguments_is_passed_on(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(b"*1048576\r\n$4\r\nECHO\r\n")
    for _ in range(50):
        client.end.send(b"$1\r\na\r\n" * 10_000)
        redis_memory.serve()
    assert len(client.harness.filters[0]._session._splitter._rest) < 100_000  # type: ignore[attr-defined]
