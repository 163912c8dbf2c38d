"""``redis_proxy`` in front of Valkey: what it has beyond Redis, and what it does otherwise."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

import pytest

from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.protocols.redis.values import Failure, Map, Simple
from l4proxy.testing import Proxy, StartProxy
from redis_fuzz import ask_both, commands
from redis_load import Load, load_while_a_primary_dies
from services.needs import needs
from services.redis import RedisConnection, RedisServer
from services.redis_servers import wait_for
from services.valkey import ValkeyCluster

OK = Simple(b"OK")
pytestmark = needs("valkey-server", "redis-cli")


@pytest.fixture
def through(proxy: StartProxy, valkey_cluster: ValkeyCluster) -> Proxy:
    valkey_cluster.settle()
    seeds = {"cache": {"endpoints": valkey_cluster.addresses[:2], "connect_timeout": "5s"}}
    return proxy(RedisProxy, cluster="cache", topology="cluster", topology_refresh="60s", clusters=seeds)


@pytest.fixture
def client(through: Proxy) -> Iterator[RedisConnection]:
    with RedisConnection(through.address[1]) as connection:
        connection.ask("FLUSHALL")
        yield connection


@pytest.mark.parametrize(("protocol", "spoken", "seed"), [(2, "client", 11), (3, "client", 12), (3, "resp2", 13)])
def test_the_replies_are_the_servers(
    protocol: int, spoken: str, seed: int, proxy: StartProxy, valkey_twins: tuple[RedisServer, RedisServer]
) -> None:
    one, other = valkey_twins
    through = proxy(RedisProxy, cluster="cache", protocol=spoken, clusters={"cache": other.address}).address[1]
    chance = random.Random(seed)
    without = {"COMMAND", *(["RESET"] if protocol == 3 else [])}  # which it says otherwise in RESP3 than Redis
    source = commands(seed, without=frozenset(without))
    with one.connect() as direct, other.connect(through) as client:
        for connection in (direct, client):
            connection.ask("FLUSHALL")
            connection.ask("HELLO", b"%d" % protocol)
        for _ in range(500):
            ask_both(direct, client, [next(source) for _ in range(chance.choice([1, 1, 2, 5]))], chance)


def test_who_it_is(proxy: StartProxy, valkey_twins: tuple[RedisServer, RedisServer]) -> None:
    """Also where it is not asked ``HELLO``; and what a client can do is not told to a connection that others share."""
    server, _ = valkey_twins
    for spoken in ("client", "resp2"):
        through = proxy(RedisProxy, cluster="cache", protocol=spoken, clusters={"cache": server.address})
        with server.connect(through.address[1]) as client, server.connect() as direct:
            told, expected = (Map(connection.ask("HELLO", "3")) for connection in (client, direct))
            assert dict(told[:3]) == dict(expected[:3])
            assert dict(told)[b"server"] == b"valkey"
            assert client.ask("CLIENT", "CAPA", "redirect") == OK
            assert client.ask("GET", "valkey:no") is None
            clients = direct.ask("CLIENT", "LIST")
            assert b" capa=r" not in clients


def test_its_own_commands_go_to_where_their_keys_are(client: RedisConnection) -> None:
    keys = [f"key:{number}" for number in range(100)]
    for key in keys:
        assert client.ask("SET", key, "1") == OK
        assert client.ask("SET", key, "2", "IFEQ", "1") == OK
        assert client.ask("DELIFEQ", key, "1") == 0
        assert client.ask("HSETEX", f"h:{key}", "EX", "100", "FIELDS", "1", "f", "x") == 1
        assert client.ask("HTTL", f"h:{key}", "FIELDS", "1", "f")[0] > 90
        assert client.ask("ZADD", f"z:{key}", "5", "m") == 1
        assert client.ask("ZRANK", f"z:{key}", "m", "WITHSCORE") == [0, b"5"]
    assert client.ask("MSETEX", "2", "{a}1", "x", "{a}2", "y", "EX", "100") == 1
    assert client.ask("MGET", "{a}1", "{a}2") == [b"x", b"y"]
    assert isinstance(client.ask("MSETEX", "2", "a", "x", "b", "y"), Failure)
    seen, cursor = list[bytes](), b"0"
    while not seen or cursor != b"0":
        cursor, some = client.ask("CLUSTERSCAN", cursor, "MATCH", "key:*")
        seen += some
    assert sorted(seen) == sorted(key.encode() for key in keys)
    assert client.ask("COMMANDLOG", "LEN", "slow") >= 0


def test_slots_are_migrated_as_a_whole_under_load(
    through: Proxy, client: RedisConnection, valkey_cluster: ValkeyCluster
) -> None:
    owners = valkey_cluster.owners()
    one = owners[0]
    two = next(port for port in owners.values() if port != one)
    slots = sorted(slot for slot, port in owners.items() if port == one)[:2000]
    with Load(through.address[1]) as load:
        for source, target in ((one, two), (two, one)):
            valkey_cluster.migrate((slots[0], slots[-1]), source, target)
            wait_for("they are there", partial(valkey_cluster.has, target, slots[0]))
    assert not load.wrong
    assert not load.errors
    assert not load.wrong_lists(client)


def test_a_primary_that_dies_under_load(through: Proxy, client: RedisConnection, valkey_cluster: ValkeyCluster) -> None:
    """It goes on being called a primary by the others."""
    load = load_while_a_primary_dies(through.address[1], valkey_cluster)
    assert not load.wrong
    assert all(error.startswith("ERR upstream failure") for error in load.errors)
