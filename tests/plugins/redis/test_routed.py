"""What a client is promised whose commands go to several servers: the same as with one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from l4proxy.plugins.redis.replies import not_while_subscribed
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Push, Simple, decode
from redis_memory import Client, FakeServer, RedisMemory, is_upstream_error, memory_cluster, redis_memory
from services.needs import needs
from services.redis import RedisServer

__all__ = ["memory_cluster", "redis_memory"]

OK = Simple(b"OK")
THREE = {"endpoints": ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"], "load_balancer": "maglev"}
CROSS_SLOT = Failure(b"CROSSSLOT Keys in request don't hash to the same slot")


def start(memory: RedisMemory, *filters: Any, **options: Any) -> Client:
    return memory.start(*filters, cluster=THREE, **options)


def places(memory: RedisMemory, client: Client) -> dict[str, bytes]:
    """For each server, a key that is there."""
    found: dict[str, bytes] = {}
    for number in range(100):
        client.send(b"GET", b"k%d" % number)
        for server in memory.look():
            server.work()
            if server.replies:
                found.setdefault(server.address, b"k%d" % number)
            server.say()
        if len(found) == 3:
            client.replies()
            return found
    raise AssertionError(found)


def asked(memory: RedisMemory, address: str) -> list[list[bytes]]:
    """All that the connections to one server have been asked."""
    return [words for server in memory.look() if server.address == address for words in server.commands]


def test_replies_come_in_order_whoever_is_first(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    at = places(redis_memory, client)
    one, two = list(at.values())[:2]
    client.end.send(encode_command(b"GET", one) + encode_command(b"GET", two) + encode_command(b"GET", one))
    first, second = redis_memory.look()[:2]
    second.serve()
    assert client.replies() == []
    first.serve()
    assert client.replies() == [b"0  GET " + one, b"0  GET " + two, b"0  GET " + one]


class Script:
    """What a client will send to several servers, and what is right to be answered."""

    def __init__(self, chance: random.Random, number: int, keys: list[bytes]) -> None:
        self.chance = chance
        self.keys = keys
        self.data = b""
        self.expected: list[Any] = []
        for step in range(chance.randint(1, 25)):
            self._step(b"%d.%d" % (number, step))

    def _step(self, word: bytes) -> None:
        key = self.chance.choice(self.keys)
        match self.chance.randrange(8):
            case 0 | 1 | 2:
                self._add([b"GET", b"{%b}%b" % (key, word)], b"0  GET {%b}%b" % (key, word))
            case 3 | 4:
                keys = [b"{%b}%b" % (one, word) for one in self.chance.choices(self.keys, k=self.chance.randint(2, 6))]
                self._add([b"MGET", *keys], keys)
            case 5:
                long = b"x" * self.chance.choice([100, 20_000, 200_000])
                self._add([b"SET", key, long], b"0  SET %b %b" % (key, long))
            case 6:
                self._add([b"MULTI"], OK)
                self._add([b"INCR", key], Simple(b"QUEUED"))
                self._add([b"EXEC"], [b"0  INCR " + key])
            case 7:
                self._add([b"MSETNX", self.keys[0], b"1", self.keys[1], b"2"], CROSS_SLOT)

    def _add(self, command: list[bytes], reply: Any) -> None:
        self.data += encode_command(*command)
        self.expected.append(reply)


def play(memory: RedisMemory, seed: int, *, faults: bool) -> list[tuple[Client, Script]]:
    chance = random.Random(seed)
    first = start(memory)
    keys = list(places(memory, first).values())
    clients = [first, memory.another()]
    cast = [(client, Script(chance, number, keys)) for number, client in enumerate(clients)]
    memory.talk(chance, {client: script.data for client, script in cast}, faults=0.03 if faults else 0)
    return cast


@pytest.mark.parametrize("seed", range(60))
def test_every_command_gets_its_reply(seed: int, redis_memory: RedisMemory) -> None:
    for client, script in play(redis_memory, seed, faults=False):
        assert client.replies() == script.expected
        assert not client.unfinished


@pytest.mark.parametrize("seed", range(120))
def test_a_lost_server_is_an_error_and_never_a_wrong_reply(seed: int, redis_memory: RedisMemory) -> None:
    for client, script in play(redis_memory, seed, faults=True):
        replies = client.replies()
        in_transaction = False
        for reply, expected in zip(replies, script.expected, strict=False):
            in_transaction |= expected == Simple(b"QUEUED")
            if in_transaction or is_upstream_error(reply):
                # When MULTI or what follows it is lost, the rest of a transaction may be wrong in itself.
                in_transaction &= not isinstance(expected, list)
                continue
            if isinstance(reply, list):
                wrong = [
                    1 for one, two in zip(reply, expected, strict=True) if one != two and not is_upstream_error(one)
                ]
                assert not wrong
            else:
                assert reply == expected
        if client.end.closed or client.end.got_eof:
            assert len(replies) <= len(script.expected)
        else:
            assert len(replies) == len(script.expected)
            assert not client.unfinished


def test_a_transaction_goes_where_its_first_key_is(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    at = places(redis_memory, client)
    for address, key in at.items():
        for words in ([b"MULTI"], [b"PING"], [b"SET", key, b"1"], [b"EXEC"]):
            client.send(*words)
            redis_memory.serve()
        # What stands before the first key has no server yet, and is sent with it.
        assert client.replies() == [OK, Simple(b"QUEUED"), Simple(b"QUEUED"), [b"0  PING", b"0  SET %b 1" % key]]
        assert asked(redis_memory, address)[-1] == [b"EXEC"]
    client.send(b"MULTI")
    client.send(b"EXEC")
    assert client.replies()[-2:] == [OK, []]


def test_debug_asks_the_server_that_has_the_key(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    for address, key in places(redis_memory, client).items():
        client.send(b"DEBUG", b"object", key)
        (server,) = [server for server in redis_memory.look() if server.address == address]
        server.serve()
        assert client.replies() == [b"0  DEBUG object " + key]


def test_a_transaction_whose_beginning_is_to_be_silent(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    words: list[tuple[bytes, ...]] = [(b"CLIENT", b"REPLY", b"SKIP"), (b"MULTI",), (b"GET", b"a"), (b"EXEC",)]
    client.end.send(b"".join(encode_command(*one) for one in (*words, (b"GET", b"b"))))
    redis_memory.serve()
    assert client.replies() == [Simple(b"QUEUED"), [b"0  GET a"], b"0  GET b"]


def test_a_client_that_has_subscribed_is_told_so_wherever_keys_are(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    client.send(b"SUBSCRIBE", b"c")
    redis_memory.serve()
    client.replies()
    (server,) = redis_memory.servers
    for number in range(10):
        asked = len(server.commands)
        client.send(b"GET", b"k%d" % number)
        redis_memory.serve()
        (reply,) = client.replies()
        assert len(server.commands) > asked or reply.startswith(b"ERR Can't execute 'get': only (P|S)SUBSCRIBE")
    assert len(server.commands) < 11


@needs("redis-server")
def test_the_server_says_the_same_to_one_that_has_subscribed(redis: RedisServer) -> None:
    with redis.connect() as connection:
        connection.ask("SUBSCRIBE", "c")
        assert connection.ask("GET", "k") == decode(not_while_subscribed("GET"))[0]


def test_a_transaction_without_keys_goes_anywhere(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    for words in ([b"MULTI"], [b"PUBLISH", b"a", b"b"], [b"ECHO", b"x"], [b"EXEC"], [b"GET", b"k"]):
        client.send(*words)
        redis_memory.serve()
    queued = Simple(b"QUEUED")
    assert client.replies() == [OK, queued, queued, [b"0  PUBLISH a b", b"x"], b"0  GET k"]


def test_the_empty_key_is_one(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    client.send(b"SET", b"", b"1")
    redis_memory.serve()
    home = redis_memory.servers[0].address
    client.end.send(encode_command(b"MULTI") + encode_command(b"SET", b"", b"2") + encode_command(b"EXEC"))
    for words in ([b"WATCH", b""], [b"MULTI"], [b"SET", b"", b"3"], [b"EXEC"], [b"BLPOP", b"", b"0"]):
        client.send(*words)
        redis_memory.serve()
    assert {server.address for server in redis_memory.servers} == {home}


def test_a_transaction_over_servers_is_aborted(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    one, two, _ = places(redis_memory, client).values()
    for words in ([b"MULTI"], [b"SET", one, b"1"], [b"SET", two, b"2"], [b"SET", one, b"3"], [b"EXEC"], [b"GET", two]):
        client.send(*words)
        redis_memory.serve()
    assert client.replies() == [
        OK, Simple(b"QUEUED"), CROSS_SLOT, Simple(b"QUEUED"),
        Failure(b"EXECABORT Transaction discarded because of previous errors."), b"0  GET " + two,
    ]  # fmt: skip
    # The same in one piece.
    client.end.send(b"".join(encode_command(*words) for words in (
        [b"MULTI"], [b"SET", one, b"1"], [b"SET", two, b"2"], [b"EXEC"], [b"GET", two]
    )))  # fmt: skip
    redis_memory.serve()
    assert client.replies() == [
        OK, Simple(b"QUEUED"), CROSS_SLOT,
        Failure(b"EXECABORT Transaction discarded because of previous errors."), b"0  GET " + two,
    ]  # fmt: skip


def test_what_blocks_goes_where_its_key_is(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    at = places(redis_memory, client)
    (address, key), (_, other), _ = at.items()
    client.send(b"BLPOP", key, other, b"0")
    assert client.replies() == [CROSS_SLOT]
    client.send(b"BLPOP", key, b"0")
    redis_memory.serve()
    assert asked(redis_memory, address)[-1] == [b"BLPOP", key, b"0"]
    client.send(b"GET", other)
    redis_memory.serve()
    assert client.replies() == []


def test_subscriptions_leave_the_client_free_in_resp3(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    at = places(redis_memory, client)
    client.send(b"HELLO", b"3")
    redis_memory.serve()
    client.send(b"SUBSCRIBE", b"news")
    redis_memory.serve()
    assert client.replies()[1:] == [Push([b"subscribe", b"news", 1])]
    for key in at.values():
        client.send(b"GET", key)
    redis_memory.serve()
    assert client.replies() == [b"0  GET " + key for key in at.values()]
    (server,) = (one for one in redis_memory.servers if one.channels)
    server.push(b"message", b"news", b"x")
    server.say()
    assert client.replies() == [Push([b"message", b"news", b"x"])]


def test_a_long_reply_waits_for_its_turn_within_bounds(redis_memory: RedisMemory) -> None:
    client = start(redis_memory, reply_buffer=100_000)
    at = places(redis_memory, client)
    one, two = list(at.values())[:2]
    long = b"x" * 2_000_000
    client.end.send(encode_command(b"GET", one) + encode_command(b"SET", two, long) + encode_command(b"GET", one))
    first, second = redis_memory.look()[:2]
    first.work()
    second.work()
    for _ in range(40):
        second.say(50_000)
    assert client.replies() == []
    assert len(second.end.sock.arrived) > 5  # it is read no more
    first.say()
    redis_memory.serve()
    assert client.replies() == [b"0  GET " + one, b"0  SET %b %b" % (two, long), b"0  GET " + one]


def test_what_has_no_key_goes_to_one_or_to_all(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    places(redis_memory, client)
    client.send(b"PING")
    client.send(b"FLUSHALL")
    redis_memory.serve()
    replies = client.replies()
    assert replies[0] == b"0  PING"
    assert [server.commands.count([b"FLUSHALL"]) for server in redis_memory.servers] == [1, 1, 1]


def test_scan_goes_through_all_servers(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    places(redis_memory, client)
    left: dict[FakeServer, list[bytes]] = {server: [b"7", b"0"] for server in redis_memory.servers}

    def scan(server: FakeServer, words: list[bytes]) -> None:
        server.reply([left[server].pop(0), [server.address.encode() + b" " + words[1]]])

    for server in redis_memory.servers:
        server._scan = lambda words, server=server: scan(server, words)  # type: ignore[attr-defined]
    cursor, seen = b"0", []
    while True:
        client.send(b"SCAN", cursor, b"COUNT", b"10")
        redis_memory.serve()
        ((cursor, keys),) = client.replies()
        seen += keys
        if cursor == b"0":
            break
    assert seen == [b"192.0.2.%d %b" % (at, inner) for at in (1, 2, 3) for inner in (b"0", b"7")]


@pytest.mark.parametrize(
    "words",
    [[b"WAIT", b"1", b"0"], [b"CLIENT", b"TRACKING", b"ON"], [b"CLIENT", b"NO-EVICT", b"ON"], [b"NO.SUCH", b"a"]],
)
def test_what_cannot_be_done_with_several_servers_is_refused(words: list[bytes], redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    client.send(*words)
    redis_memory.serve()
    (reply,) = client.replies()
    assert isinstance(reply, Failure)
    assert reply.startswith(b"ERR")


def test_a_module_is_configured(redis_memory: RedisMemory) -> None:
    client = start(redis_memory, custom_commands=({"name": "JSON.GET", "write": False},))
    client.send(b"JSON.GET", b"a", b"$")
    redis_memory.serve()
    assert client.replies() == [b"0  JSON.GET a $"]


ROUTES = (
    {"prefix": "user:", "cluster": "other"},
    {"prefix": "user:old:", "cluster": "c", "strip": True},
    {"prefix": "new:", "cluster": "c", "replace": "v2:"},
)


def test_the_longest_prefix_counts(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(routes=ROUTES)
    for key in (b"user:1", b"user:old:1", b"new:1", b"rest"):
        client.send(b"GET", key)
    client.send(b"MGET", b"user:1", b"new:2", b"user:old:2", b"rest")
    redis_memory.serve()
    assert client.replies() == [
        b"0  GET user:1", b"0  GET 1", b"0  GET v2:1", b"0  GET rest", [b"user:1", b"v2:2", b"2", b"rest"],
    ]  # fmt: skip
    assert asked(redis_memory, "192.0.2.3") == [[b"GET", b"user:1"], [b"MGET", b"user:1"]]


def test_keys_of_one_route_may_stand_together(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(routes=ROUTES)
    transaction = ([b"MULTI"], [b"SET", b"user:1", b"x"], [b"GET", b"user:2"], [b"EXEC"])
    client.end.send(b"".join(encode_command(*words) for words in transaction))
    for words in (
        [b"RENAME", b"user:1", b"user:2"], [b"MGET", b"user:1", b"user:2"], [b"RENAME", b"user:1", b"rest"],
        [b"WATCH", b"user:1"], *transaction, [b"BLPOP", b"user:1", b"user:2", b"0"],
    ):  # fmt: skip
        client.send(*words)
        redis_memory.serve()
    done = [OK, Simple(b"QUEUED"), Simple(b"QUEUED"), [b"0  SET user:1 x", b"0  GET user:2"]]
    assert client.replies() == [
        *done, b"0  RENAME user:1 user:2", [b"user:1", b"user:2"], CROSS_SLOT, b"0  WATCH user:1", *done,
    ]  # fmt: skip
    assert [b"BLPOP", b"user:1", b"user:2", b"0"] in asked(redis_memory, "192.0.2.3")


def test_without_a_last_resort_other_keys_have_no_route(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(routes=ROUTES, last_resort=None)
    client.send(b"GET", b"user:1")
    client.send(b"GET", b"rest")
    client.send(b"PING")
    redis_memory.serve()
    no_route = Failure(b"ERR no route for this key")
    assert client.replies() == [b"0  GET user:1", no_route, no_route]


def test_reads_go_elsewhere_and_writes_are_copied(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(read_cluster="other", mirrors=({"cluster": "other"},))
    client.send(b"SET", b"a", b"1")
    client.send(b"GET", b"a")
    redis_memory.serve()
    assert client.replies() == [b"0  SET a 1", b"0  GET a"]
    assert asked(redis_memory, "192.0.2.1") == [[b"SET", b"a", b"1"]]
    assert asked(redis_memory, "192.0.2.3") == [[b"SET", b"a", b"1"], [b"GET", b"a"]]


def test_a_mirror_that_is_down_harms_nobody(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(mirrors=({"cluster": "other"},))
    client.send(b"SET", b"a", b"1")
    redis_memory.serve()
    (mirror,) = (server for server in redis_memory.servers if server.address == "192.0.2.3")
    mirror.end.reset()
    redis_memory.cluster.answer = 111
    for _ in range(3):
        client.send(b"SET", b"a", b"2")
        redis_memory.serve()
    assert client.replies() == [b"0  SET a 1"] + [b"0  SET a 2"] * 3


def test_who_a_client_is_it_is_everywhere(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    at = places(redis_memory, client)
    client.send(b"SELECT", b"5")
    for key in at.values():
        client.send(b"GET", key)
    redis_memory.serve()
    assert client.replies() == [OK, *(b"5  GET " + key for key in at.values())]


def test_client_reply(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    one, two, _ = places(redis_memory, client).values()
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"GET", one)
    client.send(b"GET", two)
    redis_memory.serve()
    assert client.replies() == [b"0  GET " + two]


def test_a_client_that_does_not_read_is_not_read(redis_memory: RedisMemory) -> None:
    client = start(redis_memory)
    keys = list(places(redis_memory, client).values())
    client.end.stop_reading()
    before = sum(len(server.commands) for server in redis_memory.servers)
    for number in range(100):
        client.send(b"SET", keys[number % 3], b"x" * 10_000)
        redis_memory.serve()
    assert sum(len(server.commands) for server in redis_memory.servers) - before < 20
    client.end.read_again()
    redis_memory.serve()
    assert len(client.replies()) == 100
