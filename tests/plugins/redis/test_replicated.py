"""``redis_proxy`` in front of a real primary with replicas, with and without Sentinels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from l4proxy.plugins.redis import lanes, replicated, routed
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.plugins.redis.replicated import SentinelTarget
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Simple, decode
from l4proxy.testing import Proxy, StartProxy
from redis_load import Load
from services.needs import needs, program
from services.process import HOST, accepts, free_port, running
from services.redis import RedisConnection, RedisServer
from services.redis_replicas import RedisReplicas
from services.redis_servers import wait_for

OK = Simple(b"OK")
pytestmark = needs("redis-server")


def start(proxy: StartProxy, servers: RedisReplicas, topology: str, **options: Any) -> Proxy:
    servers.settle()
    endpoints = servers.sentinel_addresses if topology == "sentinel" else servers.addresses
    clusters = {"cache": {"endpoints": endpoints, "connect_timeout": "2s"}}
    options = {"topology_refresh": "60s", **options}
    return proxy(RedisProxy, cluster="cache", topology=topology, clusters=clusters, **options)


def _replicated(client: RedisConnection, key: str) -> None:
    wait_for("the replica has it", lambda: client.ask("GET", key) == b"x")


def asked(proxy: Proxy, port: int) -> float:
    return proxy.stat("l4proxy_redis_endpoint_commands_total", endpoint=f"127.0.0.1:{port}")


@pytest.mark.parametrize("topology", ["sentinel", "replication"])
@pytest.mark.parametrize("policy", ["primary", "prefer_replica", "replica", "nearest", "any"])
def test_reads_by_policy(policy: str, topology: str, proxy: StartProxy, redis_replicas: RedisReplicas) -> None:
    through = start(proxy, redis_replicas, topology, read_policy=policy)
    for port in redis_replicas.ports:
        _gets(redis_replicas, port)
    clients = [RedisConnection(through.address[1]) for _ in range(6)]
    assert clients[0].ask("SET", f"policy:{policy}", "x") == OK
    for client in clients:
        _replicated(client, f"policy:{policy}")
    used = {port for port in redis_replicas.ports if _gets(redis_replicas, port)}
    assert clients[0].ask("GET", "no") is None
    for client in clients:
        client.close()
    primary = redis_replicas.primary
    expected = {"primary": {primary}, "prefer_replica": set(redis_replicas.replicas)}.get(policy)
    if policy == "replica":
        expected = set(redis_replicas.replicas)
    if policy == "any":
        expected = set(redis_replicas.ports)
    assert used == expected or (policy == "nearest" and len(used) >= 1)


def _gets(servers: RedisReplicas, port: int) -> int:
    """How many GET a server has had since this was asked last."""
    told = servers.ask(port, "info", "commandstats")
    servers.ask(port, "config", "resetstat")
    return told.count("cmdstat_get:")


def test_state_of_connections(proxy: StartProxy, redis_replicas: RedisReplicas) -> None:
    """With one primary, all is as with one server."""
    through = start(proxy, redis_replicas, "sentinel", read_policy="prefer_replica")
    with RedisConnection(through.address[1]) as client:
        assert client.ask("WAIT", "0", "10") >= 0
        assert client.ask("MSETNX", "state:a", "1", "state:b", "2") == 1
        assert client.ask("MULTI") == OK
        assert client.ask("GET", "state:a") == Simple(b"QUEUED")
        assert client.ask("DEL", "state:a", "state:b") == Simple(b"QUEUED")
        assert client.ask("EXEC") == [b"1", 2]
        assert client.ask("SELECT", "3") == OK
        assert client.ask("SET", "state:c", "3", "EX", "100") == OK
        wait_for("the replica has it", lambda: client.ask("GET", "state:c") == b"3")
        client.ask("HELLO", "3")
        assert client.ask("CLIENT", "TRACKING", "ON") == OK


@pytest.mark.parametrize("topology", ["sentinel", "replication"])
def test_a_failover_under_load(
    topology: str, proxy: StartProxy, redis_replicas: RedisReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server is made the primary. The old one goes on for a while, and what is written there is lost: that
    concerns the values, but neither the order of replies nor their number. Sentinels say it without being asked."""
    monkeypatch.setattr(SentinelTarget, "longest_refresh", 3600.0)
    through = start(proxy, redis_replicas, topology)
    with Load(through.address[1]) as load:
        redis_replicas.fail_over()
        with RedisConnection(through.address[1]) as client:
            after = redis_replicas.primary
            wait_for("the proxy knows", lambda: [client.ask("SET", "failover", "x"), asked(through, after)][1])
            redis_replicas.settle()  # the old one says READONLY from now on
            assert client.ask("SET", "failover", "y") == OK
    assert not [wrong for wrong in load.wrong if wrong[0][0] not in ("GET", "INCR")]
    assert all(error.startswith("ERR upstream failure") for error in load.errors), load.errors


def test_what_could_not_be_sent_waits(proxy: StartProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what has a connection to itself, transactions, and whoever says who it is."""
    for module in (lanes, routed):
        monkeypatch.setattr(module, "PAUSE", 0.5)
    servers = RedisReplicas(tmp_path)
    primary, sentinel = servers.ports[0], servers.sentinels[0]
    try:
        servers.start(primary, None)
        servers.start_sentinel(sentinel)
        clusters = {"cache": {"endpoints": [f"{HOST}:{sentinel}"], "connect_timeout": "20s"}}
        port = proxy(RedisProxy, cluster="cache", topology="sentinel", clusters=clusters).address[1]
        whole, begun, blocking, hello = clients = [RedisConnection(port) for _ in range(4)]
        for client in clients:
            assert client.ask("GET", "waits:no") is None
        assert blocking.ask("CLIENT", "SETNAME", "b") == OK
        assert begun.ask("MULTI") == OK
        servers.kill(primary)
        words = (["MULTI"], ["SET", "waits:a", "1"], ["INCR", "waits:a"], ["EXEC"])
        whole.send(*(encode_command(*(word.encode() for word in command)) for command in words))
        blocking.send(encode_command(b"BLPOP", b"waits:list", b"0"), encode_command(b"ECHO", b"x"))
        hello.send(encode_command(b"HELLO", b"3"))
        begun.send(encode_command(b"INCR", b"waits:b"), encode_command(b"EXEC"))
        servers.start(primary, None)
        assert [decode(whole.reply())[0] for _ in words] == [OK, Simple(b"QUEUED"), Simple(b"QUEUED"), [OK, 2]]
        assert [decode(begun.reply())[0] for _ in range(2)] == [Simple(b"QUEUED"), [1]]
        assert decode(hello.reply())[0][0] == (b"server", b"redis")
        assert hello.ask("RPUSH", "waits:list", "y") == 1
        assert [decode(blocking.reply())[0] for _ in range(2)] == [[b"waits:list", b"y"], b"x"]
        for client in clients:
            client.close()
    finally:
        servers.close()


def test_a_primary_that_is_stuck(proxy: StartProxy, redis_replicas: RedisReplicas) -> None:
    """It keeps its connections, and says nothing. Nobody waits for it longer than until Sentinel has given it up."""
    redis_replicas.settle()
    through = start(proxy, redis_replicas, "sentinel", op_timeout="0s")
    stuck = redis_replicas.primary
    with RedisConnection(through.address[1]) as client:
        assert client.ask("SET", "stuck", "1") == OK
        redis_replicas.stop(stuck)
        try:
            lost = Failure(b"ERR upstream failure: the connection was lost before the reply")
            assert client.ask("SET", "stuck", "2") == lost
            wait_for("there is another", lambda: client.ask("SET", "stuck", "3") == OK)
            wait_for("all Sentinels know", lambda: redis_replicas.primary != stuck)
        finally:
            redis_replicas.go_on(stuck)
    redis_replicas.settle()


def test_a_replica_that_is_too_far_behind_is_not_read(proxy: StartProxy, redis_replicas: RedisReplicas) -> None:
    through = start(proxy, redis_replicas, "sentinel", read_policy="replica", max_lag="2s")
    primary, replicas = redis_replicas.primary, redis_replicas.replicas
    with RedisConnection(through.address[1]) as client:
        client.ask("SET", "lag", "1")
        wait_for("it is read", lambda: client.ask("GET", "lag") == b"1")
        for port in replicas:  # they lose their primary, and answer what they have
            redis_replicas.ask(port, "replicaof", "127.0.0.1", "1")
        unavailable = Failure(b"ERR no upstream host")
        wait_for("neither is read", lambda: client.ask("GET", "lag") == unavailable)
        for port in replicas:
            redis_replicas.ask(port, "replicaof", "127.0.0.1", str(primary))
        wait_for("they are again", lambda: client.ask("GET", "lag") == b"1")
    redis_replicas.settle()


def test_a_sentinel_that_is_gone(proxy: StartProxy, redis_replicas: RedisReplicas) -> None:
    redis_replicas.settle()
    endpoints = ["127.0.0.1:1", redis_replicas.sentinel_addresses[1]]
    clusters = {"cache": {"endpoints": endpoints, "connect_timeout": "5s"}}
    through = proxy(RedisProxy, cluster="cache", topology="sentinel", clusters=clusters)
    with RedisConnection(through.address[1]) as client:
        assert client.ask("SET", "gone", "x") == OK


def test_sentinels_that_are_all_new(
    proxy: StartProxy, redis_twins: tuple[RedisServer, RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They know of no failover that was before their time, and are believed after a while."""
    monkeypatch.setattr(replicated, "FORGOTTEN", 0.5)
    one, other = redis_twins
    port, file = free_port(), tmp_path / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind {HOST}\ndir {tmp_path}\n"
        f"sentinel monitor mymaster {HOST} {one.port} 1\nsentinel config-epoch mymaster 7\n"
    )
    argv = [program("redis-server"), str(file), "--sentinel"]
    with running(argv, log=tmp_path / "log", ready=lambda: accepts(port)), RedisConnection(port) as sentinel:
        clusters = {"cache": {"endpoints": [f"{HOST}:{port}"]}}
        through = proxy(RedisProxy, cluster="cache", topology="sentinel", clusters=clusters)
        with RedisConnection(through.address[1]) as client:
            assert client.ask("GET", "new:no") is None
            assert asked(through, one.port)
            assert sentinel.ask("SENTINEL", "REMOVE", "mymaster") == OK
            assert sentinel.ask("SENTINEL", "MONITOR", "mymaster", HOST, str(other.port), "1") == OK
            wait_for("it is believed", lambda: [client.ask("GET", "new:no"), asked(through, other.port)][1])


def test_a_name_that_sentinels_do_not_know(proxy: StartProxy, redis_replicas: RedisReplicas) -> None:
    clusters = {"cache": {"endpoints": redis_replicas.sentinel_addresses, "connect_timeout": "300ms"}}
    through = proxy(RedisProxy, cluster="cache", topology="sentinel", primary_name="other", clusters=clusters)
    with RedisConnection(through.address[1]) as client:
        assert client.ask("GET", "a") == Failure(b"ERR no upstream host")
