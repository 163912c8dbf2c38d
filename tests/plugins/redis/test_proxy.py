"""``redis_proxy`` in front of real servers."""

from __future__ import annotations

import random
import subprocess
import threading
from collections import Counter

import pytest

from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Push, Simple, decode
from l4proxy.testing import Proxy, StartProxy
from redis_fuzz import ask_both, commands
from services.needs import needs, program
from services.redis import RedisServer

OK = Simple(b"OK")


def port_of(proxy: Proxy) -> int:
    return proxy.address[1]


@pytest.fixture
def port(proxy: StartProxy, redis: RedisServer) -> int:
    """Where a proxy listens that is in front of the server."""
    return port_of(proxy(RedisProxy, cluster="cache", clusters={"cache": redis.address}))


@needs("redis-server")
@pytest.mark.parametrize(
    ("protocol", "spoken", "seed"), [(2, "client", 1), (3, "client", 2), (3, "resp2", 3), (2, "resp3", 4)]
)
def test_the_replies_are_the_servers(
    protocol: int, spoken: str, seed: int, proxy: StartProxy, redis_twins: tuple[RedisServer, RedisServer]
) -> None:
    """The same commands, straight to one server and through the proxy to its twin, in pipelines and in pieces; also
    where the proxy speaks another version of the protocol to the server."""
    one, other = redis_twins
    through = port_of(proxy(RedisProxy, cluster="cache", protocol=spoken, clusters={"cache": other.address}))
    chance = random.Random(seed)
    # RESET would leave RESP3; what the server knows of a client for good would keep it on a connection of its own.
    source = commands(seed, without=frozenset({"RESET"} if protocol == 3 else ()))
    with one.connect() as direct, other.connect(through) as client:
        for connection in (direct, client):
            connection.ask("FLUSHALL")
            connection.ask("HELLO", b"%d" % protocol)
        asked = 0
        while asked < 4000:
            pipeline = [next(source) for _ in range(chance.choice([1, 1, 1, 2, 5, 20]))]
            asked += len(pipeline)
            ask_both(direct, client, pipeline, chance)


STATE = [
    "MULTI, CLIENT REPLY ON, PING, EXEC", "MULTI, CLIENT REPLY ON, CLIENT REPLY ON, DISCARD",
    "MULTI, CLIENT REPLY ON, NOSUCH, EXEC", "MULTI, CLIENT REPLY x, EXEC", "MULTI, CLIENT REPLY, EXEC",
    "WATCH a, CLIENT REPLY SKIP, GET a, GET a, CLIENT REPLY OFF, MULTI, GET a, EXEC",
    "CLIENT REPLY SKIP, CLIENT REPLY SKIP, PING, PING", "CLIENT REPLY SKIP, MULTI, PING, EXEC",
    "CLIENT REPLY SKIP, CLIENT REPLY OFF, PING", "CLIENT REPLY OFF, NOSUCH, MULTI, EXEC",
    "CLIENT REPLY OFF, SUBSCRIBE c, UNSUBSCRIBE c", "CLIENT REPLY SKIP, SUBSCRIBE c, UNSUBSCRIBE c",
    "MULTI, SELECT 1, SET k v, EXEC, GET k, SELECT 0, GET k",
    "MULTI, CLIENT SETNAME foo, CLIENT GETNAME, EXEC, CLIENT GETNAME", "MULTI, MULTI, EXEC", "MULTI, WATCH a, EXEC",
    "MULTI, BLPOP nokey 0, WAIT 0 0, UNWATCH, EXEC", "MULTI, MONITOR, EXEC", "MULTI, AUTH x, EXEC", "EXEC", "DISCARD",
    "UNSUBSCRIBE", "PUNSUBSCRIBE a b", "SUBSCRIBE a, UNSUBSCRIBE", "CLIENT CACHING YES", "CLIENT TRACKING ON, GET a",
]  # fmt: skip


@needs("redis-server")
@pytest.mark.parametrize("protocol", [2, 3])
def test_the_replies_are_the_servers_whatever_a_connection_is_in(
    protocol: int, proxy: StartProxy, redis_twins: tuple[RedisServer, RedisServer]
) -> None:
    one, other = redis_twins
    through = port_of(proxy(RedisProxy, cluster="cache", clusters={"cache": other.address}))
    for commands_ in STATE:
        words = [command.encode().split() for command in [*commands_.split(", "), "CLIENT REPLY ON", "ECHO end"]]
        told = []
        for server, at in ((one, None), (other, through)):
            with server.connect(at) as connection:
                connection.ask("FLUSHALL")
                connection.ask("HELLO", b"%d" % protocol)
                connection.send(*(encode_command(*one_of) for one_of in words))
                replies = [connection.reply()]
                while replies[-1] != b"$3\r\nend\r\n":
                    replies.append(connection.reply())
                told.append(replies)
        assert told[0] == told[1], commands_


@needs("redis-benchmark")
@pytest.mark.parametrize("pipeline", [1, 16])
def test_the_benchmark_runs_all_its_tests(pipeline: int, port: int) -> None:
    load = [program("redis-benchmark"), "-p", str(port), "-P", str(pipeline), "-c", "20", "-n", "2000", "--csv"]
    done = subprocess.run(load, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 18


@needs("redis-server")
def test_messages(port: int, redis: RedisServer) -> None:
    with redis.connect(port) as subscriber, redis.connect(port) as publisher:
        assert subscriber.ask("SUBSCRIBE", "test_messages") == [b"subscribe", b"test_messages", 1]
        for number in range(100):
            assert publisher.ask("PUBLISH", "test_messages", b"%d" % number) == 1
        for number in range(100):
            expected = encode_command(b"message", b"test_messages", b"%d" % number)
            assert subscriber.reply() == expected
        assert subscriber.ask("UNSUBSCRIBE") == [b"unsubscribe", b"test_messages", 0]
        assert subscriber.ask("PING") == Simple(b"PONG")


@needs("redis-server")
def test_messages_among_replies(port: int, redis: RedisServer) -> None:
    with redis.connect(port) as client:
        client.ask("HELLO", "3")
        assert client.ask("SUBSCRIBE", "test_among") == Push([b"subscribe", b"test_among", 1])
        assert client.ask("PUBLISH", "test_among", "x") == Push([b"message", b"test_among", b"x"])
        assert client.reply() == b":1\r\n"


@needs("redis-server")
def test_invalidation(port: int, redis: RedisServer) -> None:
    with redis.connect(port) as client, redis.connect(port) as writer:
        client.ask("HELLO", "3")
        assert client.ask("CLIENT", "TRACKING", "ON") == OK
        client.ask("GET", "test_invalidation")
        writer.ask("SET", "test_invalidation", "1")
        assert client.reply() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$17\r\ntest_invalidation\r\n"


@needs("redis-server")
@pytest.mark.parametrize("spoken", ["client", "resp3"])
def test_invalidation_by_messages(spoken: str, proxy: StartProxy, redis: RedisServer) -> None:
    """Two connections that speak RESP2: one reads, the other one is told."""
    port = port_of(proxy(RedisProxy, cluster="cache", protocol=spoken, clusters={"cache": redis.address}))
    with redis.connect(port) as reader, redis.connect(port) as listener, redis.connect(port) as writer:
        number = listener.ask("CLIENT", "ID")
        listener.ask("SUBSCRIBE", "__redis__:invalidate")
        assert reader.ask("CLIENT", "TRACKING", "ON", "REDIRECT", b"%d" % number) == OK
        reader.ask("GET", "test_messages_of")
        writer.ask("SET", "test_messages_of", "1")
        assert decode(listener.reply())[0] == [b"message", b"__redis__:invalidate", [b"test_messages_of"]]
        assert reader.ask("PING") == Simple(b"PONG")


@needs("redis-server")
def test_invalidation_that_could_not_be_told(proxy: StartProxy, redis: RedisServer) -> None:
    port = port_of(proxy(RedisProxy, cluster="cache", protocol="resp2", clusters={"cache": redis.address}))
    with redis.connect(port) as client:
        client.ask("HELLO", "3")
        for _ in range(2):
            assert client.ask("CLIENT", "TRACKING", "ON").startswith(b"ERR CLIENT TRACKING needs REDIRECT here")
            client.ask("CLIENT", "ID")  # from here on it has a connection to itself
        assert client.ask("GET", "a") is None


def blocked_clients(redis: RedisServer) -> int:
    return int(redis.command("info", "clients").partition("blocked_clients:")[2].split()[0])


def wait_for_blocked(redis: RedisServer, count: int) -> None:
    for _ in range(1000):
        if blocked_clients(redis) == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{blocked_clients(redis)} clients are blocked, not {count}")


@needs("redis-server")
def test_what_blocks_is_cancelled_when_the_client_leaves(port: int, redis: RedisServer) -> None:
    client = redis.connect(port)
    client.send(encode_command(b"BLPOP", b"test_blocks", b"0"))
    wait_for_blocked(redis, 1)
    client.close()
    wait_for_blocked(redis, 0)
    with redis.connect(port) as other:
        assert other.ask("RPUSH", "test_blocks", "x") == 1
        assert other.ask("BLPOP", "test_blocks", "0") == [b"test_blocks", b"x"]


@needs("redis-server")
def test_optimistic_locking(port: int, redis: RedisServer) -> None:
    with redis.connect(port) as one, redis.connect(port) as two:
        one.ask("SET", "test_lock", "1")
        assert one.ask("WATCH", "test_lock") == OK
        two.ask("SET", "test_lock", "2")
        one.ask("MULTI")
        one.ask("SET", "test_lock", "3")
        assert not one.ask("EXEC")
        assert one.ask("GET", "test_lock") == b"2"


@needs("redis-server")
def test_users(port: int, redis: RedisServer) -> None:
    with redis.connect(port) as admin, redis.connect(port) as bob, redis.connect(port) as anybody:
        admin.ask("ACL", "SETUSER", "bob", "on", ">secret", "~bob:*", "+@all")
        assert bob.ask("AUTH", "bob", "wrong").prefix == "WRONGPASS"
        assert bob.ask("ACL", "WHOAMI") == b"default"
        assert bob.ask("AUTH", "bob", "secret") == OK
        assert bob.ask("ACL", "WHOAMI") == b"bob"
        assert bob.ask("GET", "other").prefix == "NOPERM"
        assert anybody.ask("ACL", "WHOAMI") == b"default"
        admin.ask("ACL", "SETUSER", "bob", ">new", "<secret")
        with redis.connect(port) as late:
            assert late.ask("AUTH", "bob", "secret").prefix == "WRONGPASS"
            assert late.ask("AUTH", "bob", "new") == OK
        admin.ask("ACL", "DELUSER", "bob")


@needs("redis-server")
def test_monitor(port: int, redis: RedisServer) -> None:
    with redis.connect(port) as monitor, redis.connect(port) as client:
        assert monitor.ask("MONITOR") == OK
        client.ask("GET", "test_monitor")
        while b"test_monitor" not in (line := monitor.reply()):
            pass
        assert line.startswith(b"+")


@needs("redis-server")
def test_large_values_both_ways(port: int, redis: RedisServer) -> None:
    value = bytes(range(256)) * (16 << 10)
    with redis.connect(port) as client:
        client.send(encode_command(b"SET", b"test_large", value) * 2 + encode_command(b"GET", b"test_large") * 2)
        assert [client.reply() for _ in range(2)] == [b"+OK\r\n"] * 2
        assert [client.reply() for _ in range(2)] == [b"$%d\r\n%b\r\n" % (len(value), value)] * 2
        assert client.ask("DEL", "test_large") == 1


@needs("redis-server")
def test_a_wrong_password_is_the_servers_error_and_no_failure(proxy: StartProxy, redis: RedisServer) -> None:
    running = proxy(RedisProxy, cluster="cache", clusters={"cache": redis.address})
    with redis.connect(port_of(running)) as client:
        assert client.ask("AUTH", "nobody", "wrong").startswith(b"WRONGPASS")
    assert running.stat("l4proxy_redis_endpoint_errors_total", cluster="cache", error="WRONGPASS") == 1
    assert running.stat("l4proxy_redis_endpoint_failed_total", cluster="cache") == 0


@needs("redis-server")
def test_every_byte_is_counted(proxy: StartProxy, redis: RedisServer) -> None:
    """Also those of long commands and replies, which the kernel moves, and of connections that a client has alone."""
    running = proxy(RedisProxy, cluster="cache", clusters={"cache": redis.address})
    value = b"v" * 5_000_000
    asked: list[tuple[bytes, ...]] = [
        (b"SET", b"counted:1", value), (b"WATCH", b"counted:1"), (b"GET", b"counted:1"), (b"MULTI",),
        (b"GET", b"counted:1"), (b"SET", b"counted:1", b"x"), (b"EXEC",), (b"BLPOP", b"nothing", b"0.01"),
        (b"GET", b"counted:1"),
    ]  # fmt: skip
    sent, got = Counter[str](), Counter[str]()
    with redis.connect(port_of(running)) as client:
        for words in asked:
            command = encode_command(*words)
            client.send(command)
            sent[words[0].decode()] += len(command)
            got[words[0].decode()] += len(client.reply())
    for name in sent:
        counted = [
            running.stat(f"l4proxy_redis_command_{side}_bytes_total", cluster="cache", command=name)
            for side in ("request", "reply")
        ]
        assert counted == [sent[name], got[name]], name
    assert running.stat("l4proxy_redis_endpoint_request_bytes_total", cluster="cache") == sent.total()
    assert running.stat("l4proxy_redis_endpoint_reply_bytes_total", cluster="cache") == got.total()


@needs("redis-server")
def test_many_clients_on_few_connections(proxy: StartProxy, redis: RedisServer) -> None:
    running = proxy(RedisProxy, cluster="cache", connections=4, clusters={"cache": redis.address})
    clients = [redis.connect(port_of(running)) for _ in range(300)]
    for client in clients:
        client.send(encode_command(b"INCR", b"test_many") * 3)
    numbers = [int(client.reply()[1:]) for client in clients for _ in range(3)]
    assert sorted(numbers) == list(range(1, 901))
    assert len(redis.command("client", "list", "type", "normal").splitlines()) <= 6  # 4, redis-cli, and a spare one
    for client in clients:
        client.close()
    redis.command("del", "test_many")


@needs("redis-server")
def test_replies_go_to_whoever_has_asked(proxy: StartProxy, redis: RedisServer) -> None:
    """Where one connection serves all, and arguments look like the beginning of another command."""
    running = proxy(RedisProxy, cluster="cache", connections=1, clusters={"cache": redis.address})
    with redis.connect(port_of(running)) as first, redis.connect(port_of(running)) as second:
        for at_once in (2, 3, 4):
            first.send(encode_command(b"SET", b"*3", b"SET") * at_once)
            assert [first.reply() for _ in range(at_once)] == [b"+OK\r\n"] * at_once
            assert second.ask("ECHO", "for the second") == b"for the second"
        assert first.ask("DEL", "*3") == 1


@needs("redis-server")
def test_protocol_errors_are_the_servers(port: int, redis: RedisServer) -> None:
    for data in (b"*1\r\n:1\r\n", b"*x\r\n", b"*2\r\n$3\r\nGET\r\n$-5\r\n", b"SET 'a\r\n"):
        assert redis.exchange(data, until_closed=True, port=port) == redis.exchange(data, until_closed=True)


@needs("redis-server")
def test_a_server_that_is_restarted(proxy: StartProxy, redis: RedisServer) -> None:
    """Its clients stay connected: each waiting command is answered with an error, and later ones are served again."""
    with redis.connect() as killer:
        through = port_of(proxy(RedisProxy, cluster="cache", clusters={"cache": redis.address}))
        with redis.connect(through) as client:
            assert client.ask("PING") == Simple(b"PONG")
            killer.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            answer = client.ask("PING")
            assert answer == Simple(b"PONG") or answer.startswith(b"ERR upstream failure")
            assert client.ask("PING") == Simple(b"PONG")
