"""``redis_proxy`` in front of a real Redis Cluster."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator

import pytest

from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.slots import slot_of
from l4proxy.protocols.redis.values import Failure, Push, Simple
from l4proxy.testing import Proxy, StartProxy
from redis_fuzz import ask_both, commands
from redis_load import Load, load_while_a_primary_dies
from services.needs import needs, program
from services.redis import RedisConnection, RedisServer
from services.redis_cluster import RedisCluster
from services.redis_servers import wait_for

OK = Simple(b"OK")
pytestmark = needs("redis-server")


@pytest.fixture
def through(proxy: StartProxy, redis_cluster: RedisCluster) -> Proxy:
    seeds = {"cache": {"endpoints": redis_cluster.addresses[:2], "connect_timeout": "5s"}}
    return proxy(RedisProxy, cluster="cache", topology="cluster", topology_refresh="60s", clusters=seeds)


@pytest.fixture
def client(through: Proxy, redis_cluster: RedisCluster) -> Iterator[RedisConnection]:
    redis_cluster.settle()
    with RedisConnection(through.address[1]) as connection:
        connection.ask("FLUSHALL")
        yield connection


def test_keys_are_where_their_slots_are(client: RedisConnection, redis_cluster: RedisCluster) -> None:
    keys = [b"key:%d" % number for number in range(300)]
    assert client.ask("MSET", *(part for key in keys for part in (key, key))) == OK
    assert client.ask("MGET", *keys) == keys
    assert client.ask("DBSIZE") == 300
    assert sorted(client.ask("KEYS", "*")) == sorted(keys)
    seen, cursor = [], b"0"
    while True:
        cursor, some = client.ask("SCAN", cursor, "COUNT", "50")
        seen += some
        if cursor == b"0":
            break
    assert sorted(seen) == sorted(keys)
    assert client.ask("EXISTS", *keys) == 300
    assert client.ask("MSETNX", "a", "1", "b", "2").prefix == "CROSSSLOT"
    assert client.ask("MSETNX", "{a}1", "1", "{a}2", "2") == 1
    assert client.ask("DEL", *keys) == 300


def test_a_client_library_finds_one_node(client: RedisConnection, through: Proxy) -> None:
    host, port = through.address
    ((first, last, node),) = client.ask("CLUSTER", "SLOTS")
    assert (first, last, node[:2]) == (0, 16383, [host.encode(), port])
    (shard,) = client.ask("CLUSTER", "SHARDS")
    assert shard[1] == [0, 16383]
    assert client.ask("CLUSTER", "NODES").startswith(node[2] + b" %b:%d@" % (host.encode(), port))
    assert client.ask("CLUSTER", "MYID") == node[2]
    assert client.ask("CLUSTER", "KEYSLOT", "a") == slot_of(b"a")
    assert b"cluster_state:ok" in client.ask("CLUSTER", "INFO")
    assert client.ask("CLUSTER", "FAILOVER").prefix == "ERR"
    assert client.ask("READONLY") == OK
    assert client.ask("ASKING") == OK


def test_state_of_connections(client: RedisConnection, through: Proxy) -> None:
    """Transactions, what blocks, messages: each where it belongs."""
    for key in ("a", "b", "c"):
        client.ask("WATCH", key)
        client.ask("MULTI")
        client.ask("INCR", key)
        assert client.ask("EXEC") == [1]
        client.send(encode_command(b"BLPOP", f"list:{key}".encode(), b"0"))
        with RedisConnection(through.address[1]) as other:
            assert other.ask("RPUSH", f"list:{key}", "x") == 1
        assert client.reply() == b"*2\r\n$6\r\nlist:%b\r\n$1\r\nx\r\n" % key.encode()
    client.ask("HELLO", "3")
    assert client.ask("SSUBSCRIBE", "news{a}") == Push([b"ssubscribe", b"news{a}", 1])
    with RedisConnection(through.address[1]) as other:
        assert other.ask("SPUBLISH", "news{a}", "x") == 1
    assert client.reply() == encode_command(b"smessage", b"news{a}", b"x").replace(b"*", b">", 1)
    assert client.ask("GET", "b") == b"1"


def test_scripts(client: RedisConnection) -> None:
    text = "return redis.call('incr', KEYS[1])"
    digest = client.ask("SCRIPT", "LOAD", text)
    assert client.ask("SCRIPT", "EXISTS", digest) == [1]
    for key in ("a", "b", "c", "d"):
        assert client.ask("EVALSHA", digest, "1", key) == 1
    assert client.ask("SCRIPT", "FLUSH") == OK
    assert client.ask("SCRIPT", "EXISTS", digest) == [0]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_replies_are_a_servers(
    protocol: int, client: RedisConnection, redis_twins: tuple[RedisServer, RedisServer]
) -> None:
    """The same commands straight to one server, and to the cluster. All keys of one command belong together."""
    of_servers = frozenset({
        "ACL", "AUTH", "CLIENT", "COMMAND", "CONFIG", "DBSIZE", "DEBUG", "DISCARD", "EVALSHA", "EXEC", "FCALL",
        "FUNCTION", "HELLO", "KEYS", "MULTI", "NOSUCHCOMMAND", "PUBSUB", "READONLY", "RESET", "ROLE",
        "SCRIPT", "SELECT", "SWAPDB", "UNWATCH", "WAIT", "WATCH",
    })  # fmt: skip
    chance = random.Random(protocol)
    source = commands(protocol, without=of_servers)
    with redis_twins[0].connect() as direct:
        direct.ask("FLUSHALL")
        for connection in (direct, client):
            connection.ask("HELLO", b"%d" % protocol)
        for _ in range(200):
            pipeline = []
            for _ in range(chance.choice([1, 2, 5, 20])):
                tag = b"{%d}" % chance.randrange(8)
                pipeline.append([tag + word if word[:3] == b"key" else word for word in next(source)])
            ask_both(direct, client, pipeline, chance)


@needs("redis-benchmark")
def test_the_benchmark_runs(through: Proxy, client: RedisConnection) -> None:
    load = [
        program("redis-benchmark"),
        "-p",
        str(through.address[1]),
        "-P",
        "16",
        "-c",
        "20",
        "-n",
        "2000",
        "-r",
        "500",
    ]
    done = subprocess.run([*load, "--csv"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 18


def test_a_slot_is_moved(client: RedisConnection, redis_cluster: RedisCluster) -> None:
    """``ASK`` and ``TRYAGAIN`` while it is, ``MOVED`` when it was."""
    source = redis_cluster.primary_of("{m}")
    target = next(port for key in "abcdefgh" if (port := redis_cluster.primary_of(key)) != source)
    slot = slot_of(b"m")
    for number in range(10):
        client.ask("SET", f"{{m}}{number}", str(number))
    redis_cluster.move_slot(slot, source, target, ["begin"])
    assert client.ask("SET", "{m}new", "x") == OK
    assert client.ask("GET", "{m}new") == b"x"
    assert client.ask("GET", "{m}3") == b"3"
    client.ask("LPUSH", "{m}list", "x")
    assert client.ask("BLPOP", "{m}list", "1") == [b"{m}list", b"x"]
    # Some of the keys are here, some there: nobody can do it until all are.
    client.send(encode_command(b"MGET", b"{m}new", b"{m}3"), encode_command(b"GET", b"{m}4"))
    redis_cluster.move_slot(slot, source, target, ["keys"])
    assert client.reply() == b"*2\r\n$1\r\nx\r\n$1\r\n3\r\n"
    assert client.reply() == b"$1\r\n4\r\n"
    client.send(encode_command(b"MULTI") + encode_command(b"GET", b"{m}4") + encode_command(b"EXEC"))
    assert [client.reply()[:9] for _ in range(3)] == [b"+OK\r\n", b"-TRYAGAIN", b"-EXECABOR"]
    redis_cluster.move_slot(slot, source, target, ["end"])
    assert client.ask("MGET", "{m}new", "{m}3") == [b"x", b"3"]
    client.send(encode_command(b"MULTI") + encode_command(b"GET", b"{m}4") + encode_command(b"EXEC"))
    assert [client.reply() for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$1\r\n4\r\n"]
    redis_cluster.move_slot(slot, target, source)
    assert client.ask("GET", "{m}9") == b"9"


def test_a_slot_is_moved_under_pipelines(client: RedisConnection, redis_cluster: RedisCluster) -> None:
    """Some of the commands of one pipeline are sent elsewhere, and all replies are in order."""
    source = redis_cluster.primary_of("{p}")
    target = next(port for key in "abcdefgh" if (port := redis_cluster.primary_of(key)) != source)
    slot = slot_of(b"p")
    keys = [b"{%b}%d" % (tag, number) for number in range(25) for tag in (b"p", b"q", b"r", b"p", b"s")]
    for value, steps in ((b"1", ["begin"]), (b"2", ["keys"]), (b"3", ["end"]), (b"4", [])):
        client.send(b"".join(encode_command(b"SET", key, value + key) for key in keys))
        redis_cluster.move_slot(slot, source, target, steps)
        client.send(b"".join(encode_command(b"GET", key) for key in keys))
        assert [client.reply() for _ in keys] == [b"+OK\r\n"] * len(keys)
        assert [client.reply() for _ in keys] == [b"$%d\r\n%b\r\n" % (len(key) + 1, value + key) for key in keys]
    redis_cluster.move_slot(slot, target, source)
    assert client.ask("GET", "{p}9") == b"4{p}9"


def test_resharding_under_load(through: Proxy, client: RedisConnection, redis_cluster: RedisCluster) -> None:
    one = redis_cluster.primary_of("a")
    two = next(port for key in "bcdefgh" if (port := redis_cluster.primary_of(key)) != one)
    keys = [
        f"{kind}load{client}:{number}" for kind in ("", "count", "list") for client in range(4) for number in range(40)
    ]
    owners = redis_cluster.owners()
    slots = {slot for key in keys if owners[slot := slot_of(key.encode())] == one}
    with Load(through.address[1]) as load:
        for source, target in ((one, two), (two, one)):
            for slot in sorted(slots)[:40]:
                redis_cluster.move_slot(slot, source, target)
    assert not load.wrong
    assert not load.errors
    assert not load.wrong_lists(client)
    assert load.replies > 100


def test_a_failover_that_is_asked_for_under_load(
    through: Proxy, client: RedisConnection, redis_cluster: RedisCluster
) -> None:
    with Load(through.address[1]) as load:
        for key in ("a", "b", "c"):
            redis_cluster.fail_over(redis_cluster.primary_of(key))
    assert not load.wrong
    assert not load.errors
    assert not load.wrong_lists(client)
    redis_cluster.settle()


def test_a_primary_that_dies_under_load(through: Proxy, client: RedisConnection, redis_cluster: RedisCluster) -> None:
    """What was under way gets an error, what comes then waits for the new primary."""
    load = load_while_a_primary_dies(through.address[1], redis_cluster)
    assert not load.wrong
    assert all(error.startswith("ERR upstream failure") for error in load.errors)


def test_a_primary_that_is_stuck(proxy: StartProxy, redis_cluster: RedisCluster) -> None:
    """It keeps its connections, and says nothing. Nobody waits for it longer than until the cluster has given it up."""
    redis_cluster.settle()
    seeds = {"cache": {"endpoints": redis_cluster.addresses}}
    through = proxy(
        RedisProxy, cluster="cache", topology="cluster", topology_refresh="200ms", op_timeout="0s", clusters=seeds
    )
    stuck = redis_cluster.primary_of("a")
    replica = redis_cluster.replica_of(stuck)
    with RedisConnection(through.address[1]) as client, RedisConnection(through.address[1]) as waiting:
        assert client.ask("SET", "a", "1") == OK
        redis_cluster.stop(stuck)
        try:
            waiting.send(encode_command(b"SET", b"a", b"2") + encode_command(b"GET", b"a"))
            assert waiting.reply() == b"-ERR upstream failure: the connection was lost before the reply\r\n"
            assert waiting.reply()[:1] == b"$"  # of the replica that has taken over, with whatever it had by then
            assert "role:master" in redis_cluster.ask(replica, "info", "replication")
            assert client.ask("SET", "a", "3") == OK
        finally:
            redis_cluster.go_on(stuck)
    redis_cluster.settle()


def test_nobody_has_a_slot(proxy: StartProxy, redis: RedisServer) -> None:
    """The seed is no node of a cluster."""
    clusters = {"cache": {"endpoints": [redis.address], "connect_timeout": "300ms"}}
    port = proxy(RedisProxy, cluster="cache", topology="cluster", clusters=clusters).address[1]
    with redis.connect(port) as client:
        assert client.ask("GET", "a") == Failure(b"ERR no upstream host")


def _replicated(client: RedisConnection, key: str) -> None:
    wait_for("the replica has it", lambda: client.ask("GET", key) == b"x")


@pytest.mark.parametrize("policy", ["prefer_replica", "replica", "nearest", "any"])
def test_reads_by_policy(policy: str, proxy: StartProxy, redis_cluster: RedisCluster) -> None:
    redis_cluster.settle()
    clusters = {"cache": {"endpoints": redis_cluster.addresses[:1]}}
    through = proxy(RedisProxy, cluster="cache", topology="cluster", read_policy=policy, clusters=clusters)
    with RedisConnection(through.address[1]) as one, RedisConnection(through.address[1]) as two:
        for client in (one, two):
            client.ask("SET", "{policy}a", "x")
            client.ask("INCR", "{policy}n")
            _replicated(client, "{policy}a")
    primary = redis_cluster.primary_of("{policy}")
    replica = redis_cluster.replica_of(primary)
    asked = {
        port: through.stat("l4proxy_redis_endpoint_commands_total", endpoint=f"127.0.0.1:{port}")
        for port in (primary, replica)
    }
    assert asked[primary] >= 4
    if policy != "nearest":
        assert asked[replica] >= 1
