"""What a client is promised: its commands in order, exactly one reply to each, in order, never another client's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.filter import NoConfig
from l4proxy.plugins.redis.dedicated import DedicatedConnection
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Map, Push, Simple
from l4proxy.testing import use
from redis_memory import Client, FakeServer, RedisMemory, is_upstream_error, memory_cluster, redis_memory

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


def test_a_long_command_has_a_connection_to_itself(redis_memory: RedisMemory) -> None:
    client, other = redis_memory.start(), redis_memory.another()
    command = encode_command(b"ECHO", b"x" * 200_000) + encode_command(b"GET", b"a")
    client.end.send(command[:100_000])
    other.send(b"GET", b"b")
    redis_memory.serve()
    assert other.replies() == [b"0  GET b"]
    client.end.send(command[100_000:])
    redis_memory.serve()
    assert client.replies() == [b"x" * 200_000, b"0  GET a"]
    assert len(redis_memory.servers) == 2


# Transactions


def test_a_whole_transaction_shares_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(b"".join(encode_command(*words) for words in ([b"MULTI"], [b"INCR", b"a"], [b"EXEC"])))
    redis_memory.serve()
    assert client.replies() == [OK, Simple(b"QUEUED"), [b"0  INCR a"]]
    assert len(redis_memory.servers) == 1


def test_a_transaction_in_pieces_has_a_connection_to_itself(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    for words in ([b"MULTI"], [b"INCR", b"a"]):
        one.send(*words)
        two.send(b"GET", b"b")
        redis_memory.serve()
    one.send(b"EXEC")
    redis_memory.serve()
    assert one.replies() == [OK, Simple(b"QUEUED"), [b"0  INCR a"]]
    assert two.replies() == [b"0  GET b"] * 2
    shared, own = sorted(redis_memory.servers, key=lambda server: server.commands[0] == [b"MULTI"])
    assert own.commands == [[b"MULTI"], [b"INCR", b"a"], [b"EXEC"]]
    one.send(b"GET", b"c")
    redis_memory.serve()
    assert shared.commands[-1] == [b"GET", b"c"]


def test_a_connection_of_ones_own_is_given_to_the_next(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    for client in (one, two):
        for words in ([b"MULTI"], [b"EXEC"], [b"WATCH", b"a"], [b"UNWATCH"]):
            client.send(*words)
            redis_memory.serve()
    assert len(redis_memory.servers) == 1
    one.send(b"WATCH", b"a")
    two.send(b"WATCH", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 2


def test_who_watches_keeps_the_connection(redis_memory: RedisMemory) -> None:
    """EXEC without MULTI does not end it, nor does one that is wrong."""
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    for words in ([b"EXEC"], [b"GET", b"b"]):
        client.send(*words)
        redis_memory.serve()
    (server,) = redis_memory.servers
    assert server.commands == [[b"WATCH", b"a"], [b"EXEC"], [b"GET", b"b"]]


def test_a_lost_transaction_ends_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    redis_memory.serve()
    client.send(b"GET", b"a")
    redis_memory.look()[0].end.reset()
    watched, lost = client.replies()
    assert watched == b"0  WATCH a"
    assert is_upstream_error(lost)
    assert client.end.got_eof


# Commands that block


def test_a_blocking_command_blocks_nobody_else(redis_memory: RedisMemory) -> None:
    one = redis_memory.start()
    two = redis_memory.another()
    one.send(b"BLPOP", b"a", b"0")
    two.send(b"GET", b"b")
    redis_memory.serve()
    assert two.replies() == [b"0  GET b"]
    blocked = next(server for server in redis_memory.servers if server.blocked)
    blocked.reply([b"a", b"x"])
    blocked.say()
    assert one.replies() == [[b"a", b"x"]]


def test_it_is_cancelled_when_the_client_leaves(redis_memory: RedisMemory) -> None:
    for leave in ("eof", "reset"):
        client = redis_memory.start()
        redis_memory.servers.clear()
        client.send(b"BLPOP", b"a", b"0")
        redis_memory.serve()
        (blocked,) = redis_memory.servers
        getattr(client.end, leave)()
        client.harness.advance(10)
        assert blocked.end.closed


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


def test_xread_without_block_is_plain(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"XREAD", b"STREAMS", b"block", b"0")
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 1
    client.send(b"XREAD", b"BLOCK", b"0", b"STREAMS", b"a", b"0")
    redis_memory.serve()
    assert len(redis_memory.servers) == 2


def test_wait_knows_of_what_was_written(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"SET", b"a", b"1") + encode_command(b"WAIT", b"1", b"0"))
    redis_memory.serve()
    assert client.replies() == [b"0  SET a 1", b"0  WAIT 1 0"]
    assert redis_memory.servers[1].commands == [[b"PING"], [b"WAIT", b"1", b"0"]]


# Subscriptions


def test_subscriptions(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"a", b"b")
    redis_memory.serve()
    assert client.replies() == [[b"subscribe", b"a", 1], [b"subscribe", b"b", 2]]
    (server,) = redis_memory.servers
    server.push(b"message", b"a", b"hello")
    server.say()
    client.send(b"UNSUBSCRIBE")
    server.push(b"message", b"b", b"x" * 100_000)
    redis_memory.serve()
    assert client.replies() == [
        [b"message", b"a", b"hello"], [b"message", b"b", b"x" * 100_000],
        [b"unsubscribe", b"a", 1], [b"unsubscribe", b"b", 0],
    ]  # fmt: skip
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]
    assert len(redis_memory.servers) == 2


def test_pushes_among_replies(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"HELLO", b"3")
    redis_memory.serve()
    client.replies()
    client.send(b"SUBSCRIBE", b"a")
    redis_memory.serve()
    server = redis_memory.servers[-1]
    client.send(b"GET", b"b")
    client.send(b"UNSUBSCRIBE", b"a")
    client.send(b"GET", b"c")
    server.push(b"message", b"a", b"1")
    server.work()
    server.say()
    assert client.replies() == [
        Push([b"subscribe", b"a", 1]), Push([b"message", b"a", b"1"]), b"0  GET b",
        Push([b"unsubscribe", b"a", 0]), b"0  GET c",
    ]  # fmt: skip


def test_who_subscribes_and_leaves_frees_the_connection(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"a")
    redis_memory.serve()
    client.end.eof()
    assert client.end.got_eof
    assert redis_memory.servers[0].end.closed


# Who a client is


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


def test_client_reply(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.end.send(encode_command(b"GET", b"a") * 2)
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"]
    for words in ([b"CLIENT", b"REPLY", b"OFF"], [b"GET", b"b"], [b"MULTI"], [b"EXEC"], [b"CLIENT", b"REPLY", b"ON"]):
        client.send(*words)
        redis_memory.serve()
    client.send(b"GET", b"c")
    redis_memory.serve()
    assert client.replies() == [OK, b"0  GET c"]
    assert [b"GET", b"b"] in redis_memory.servers[0].commands


@pytest.mark.parametrize("words", [[b"EXEC", b"x"], [b"DISCARD", b"x"]])
def test_what_does_not_end_a_transaction_does_not_let_others_into_it(
    words: list[bytes], redis_memory: RedisMemory
) -> None:
    client, another = redis_memory.start(), redis_memory.another()
    client.end.send(encode_command(b"MULTI") + encode_command(b"GET", b"a") + encode_command(*words))
    redis_memory.serve()
    another.send(b"GET", b"b")
    redis_memory.serve()
    assert another.replies() == [b"0  GET b"]
    assert not any(
        [b"MULTI"] in server.commands and [b"GET", b"b"] in server.commands for server in redis_memory.servers
    )


@pytest.mark.parametrize("name", [b"RESET", b"MULTI", b"SUBSCRIBE"])
def test_a_wrong_number_of_arguments_is_for_the_server_to_refuse(name: bytes, redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    words = [name] if name == b"SUBSCRIBE" else [name, b"x"]
    client.send(*words)
    client.send(b"GET", b"a")
    redis_memory.look()[-1].work()
    assert [words, [b"GET", b"a"]] == redis_memory.servers[-1].commands
    assert len(redis_memory.servers) == 1


def test_what_the_server_says_to_client_reply_comes_in_its_turn(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    redis_memory.serve()
    client.send(b"CLIENT", b"REPLY", b"x")
    client.send(b"CLIENT", b"REPLY", b"ON")
    (server,) = redis_memory.look()
    server.work()
    assert server.commands == [[b"WATCH", b"a"], [b"CLIENT", b"REPLY", b"x"]]
    assert len(client.replies()) == 1
    redis_memory.serve()
    assert len(client.replies()) == 2


def test_no_reply_is_wanted_from_a_connection_of_ones_own(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"WATCH", b"a")
    client.send(b"GET", b"a")
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"GET", b"b")
    client.send(b"GET", b"c")
    redis_memory.serve()
    assert client.replies() == [b"0  GET a", b"0  GET c"]


def test_no_reply_is_wanted_but_what_answers_subscriptions(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    for words in ([b"REPLY", b"OFF"], [b"REPLY", b"SKIP"]):  # off is off
        client.send(b"CLIENT", *words)
    for words in ([b"GET", b"a"], [b"SUBSCRIBE", b"c"], [b"UNSUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"ON"]):
        client.send(*words)
        redis_memory.serve()
    assert client.replies() == [[b"subscribe", b"c", 1], [b"unsubscribe", b"c", 0], OK]


def test_who_has_subscribed_in_resp2_gets_what_the_server_says_to_client_reply(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"c")
    client.send(b"CLIENT", b"REPLY", b"OFF")
    redis_memory.serve()
    assert redis_memory.servers[-1].commands == [[b"SUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"OFF"]]
    assert len(client.replies()) == 2


def test_who_wants_no_replies_gets_no_lines_of_monitor(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"MONITOR")
    redis_memory.serve()
    server = redis_memory.servers[-1]
    for mode, line in ((b"OFF", b"1.5 unheard"), (b"ON", b"1.5 heard")):
        client.send(b"CLIENT", b"REPLY", mode)
        server.reply(Simple(line))
        server.say()
    assert client.replies()[1:] == [OK, Simple(b"1.5 heard")]


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


def test_client_reply_is_the_proxys_own_again_when_the_last_channel_was_given_up(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"SUBSCRIBE", b"c")
    redis_memory.serve()
    for words in ([b"UNSUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"OFF"], [b"GET", b"a"], [b"CLIENT", b"REPLY", b"ON"]):
        client.send(*words)
    redis_memory.serve()
    assert client.replies() == [[b"subscribe", b"c", 1], [b"unsubscribe", b"c", 0], OK]


def test_a_subscription_in_a_transaction_is_queued_once(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    for words in ([b"MULTI"], [b"SUBSCRIBE", b"c", b"d"], [b"RESET"], [b"GET", b"a"]):
        client.send(*words)
        redis_memory.serve()
    assert client.replies() == [OK, Simple(b"QUEUED"), Simple(b"RESET"), b"0  GET a"]


def test_what_is_about_the_connection_stays_with_it(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"CLIENT", b"TRACKING", b"ON")
    redis_memory.serve()
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert len(redis_memory.servers) == 1
    assert redis_memory.servers[0].commands[-1] == [b"GET", b"a"]
    client.send(b"RESET")
    client.send(b"GET", b"b")
    redis_memory.serve()
    assert redis_memory.servers[0].end.closed
    assert client.replies()[2:] == [Simple(b"RESET"), b"0  GET b"]


def test_quit_comes_behind_all_replies(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.end.send(encode_command(b"GET", b"a") * 2 + encode_command(b"QUIT") + encode_command(b"GET", b"b"))
    redis_memory.serve()
    assert client.replies() == [b"0  GET a"] * 2 + [OK]
    assert client.end.got_eof
    assert str(client.harness.closed).startswith("client:quit")


def test_replication_is_refused(redis_memory: RedisMemory) -> None:
    client = redis_memory.start()
    client.send(b"PSYNC", b"?", b"-1")
    (reply,) = client.replies()
    assert reply.startswith(b"ERR PSYNC is not served by this proxy")
    assert not redis_memory.look()


def test_a_missing_script_is_loaded_again(redis_memory: RedisMemory) -> None:
    def evalsha(server: FakeServer, words: list[bytes]) -> None:
        known = any(one[:2] == [b"SCRIPT", b"LOAD"] for one in server.commands)
        server.reply(b"ran" if known else Failure(b"NOSCRIPT No matching script. Please use EVAL."))

    FakeServer._evalsha = evalsha  # type: ignore[attr-defined]
    client = redis_memory.start()
    client.send(b"EVAL", b"return 1", b"0")
    redis_memory.serve()
    client.send(b"EVALSHA", b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", b"0")
    redis_memory.serve()
    assert client.replies()[1:] == [b"ran"]
    assert redis_memory.servers[0].commands[2] == [b"SCRIPT", b"LOAD", b"return 1"]
    client.send(b"EVALSHA", b"0" * 40, b"0")
    redis_memory.serve()
    del FakeServer._evalsha  # type: ignore[attr-defined]


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


def test_half_a_long_command_spoils_the_connection(redis_memory: RedisMemory) -> None:
    """Its rest will not come: whoever was given that connection would speak into the middle of it."""
    client, other = redis_memory.start(), redis_memory.another()
    client.end.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n" + b"x" * 100_000)
    redis_memory.serve()
    (server,) = redis_memory.servers
    client.end.reset()
    assert server.end.closed
    other.send(b"WATCH", b"a")
    redis_memory.serve()
    assert other.replies() == [b"0  WATCH a"]


def test_sending_may_end_the_connection(redis_memory: RedisMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the server has reset a connection of the client's own, and the write is the first to find out."""
    client = redis_memory.start()
    client.send(b"WATCH", b"a")
    redis_memory.serve()

    def reset(connection: DedicatedConnection, _data: bytes) -> None:
        connection._when_lost(b"-ERR upstream failure: reset\r\n")

    monkeypatch.setattr(DedicatedConnection, "send_part", reset)
    client.end.send(encode_command(b"GET", b"a") + encode_command(b"GET", b"b"))
    _, *lost = client.replies()
    assert list(map(is_upstream_error, lost)) == [True, True]
    assert redis_memory.statistic("l4proxy_filter_errors_total", filter="redis_proxy") == 0
    assert client.harness.closed is not None
    assert client.harness.closed.detail == "state_lost"
