"""What servers say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from l4proxy.protocols.redis.topology import (
    Node,
    Redirection,
    ShardMap,
    read_replication,
    read_sentinel,
    read_shards,
    read_slots,
    redirection,
)
from l4proxy.protocols.redis.values import Map


def flat(**fields: Any) -> list[Any]:
    return [part for name, value in fields.items() for part in (name.replace("_", "-").encode(), value)]


ONE = {"id": b"aa", "port": 7001, "ip": b"192.0.2.1", "endpoint": b"192.0.2.1", "role": b"master", "health": b"online"}
TWO = {**ONE, "id": b"bb", "port": 7002, "role": b"replica", "health": b"failed"}


def test_shards_in_resp2_and_resp3() -> None:
    nodes = [flat(**ONE), flat(**TWO)]
    expected = [
        ShardMap(
            [(0, 5), (9, 9)], Node("aa", "192.0.2.1", 7001), [Node("bb", "192.0.2.1", 7002, usable=False, dead=True)]
        ),
    ]
    assert read_shards([flat(slots=[0, 5, 9, 9], nodes=nodes)]) == expected
    maps = [Map((key, value) for key, value in zip(node[::2], node[1::2], strict=True)) for node in nodes]
    assert read_shards([Map([(b"slots", [0, 5, 9, 9]), (b"nodes", maps)])]) == expected


def test_a_former_primary_is_none_where_another_one_lives() -> None:
    dead = {**ONE, "health": b"fail", "replication_offset": 900}
    alive = {**TWO, "role": b"master", "health": b"online", "replication_offset": 100}
    for nodes in ([dead, alive], [alive, dead]):
        (shard,) = read_shards([flat(slots=[0, 5], nodes=[flat(**node) for node in nodes])])
        assert shard.primary == Node("bb", "192.0.2.1", 7002)
        assert shard.replicas == [Node("aa", "192.0.2.1", 7001, usable=False, dead=True)]
    back = {**dead, "health": b"online", "replication_offset": 0}
    (shard,) = read_shards([flat(slots=[0, 5], nodes=[flat(**alive), flat(**back)])])
    assert shard.primary == Node("bb", "192.0.2.1", 7002)


def test_a_port_for_tls_and_a_name() -> None:
    node = flat(**{**ONE, "endpoint": b"one.example", "hostname": b"one.example"}, tls_port=7101)
    (shard,) = read_shards([flat(slots=[], nodes=[node])], tls=True)
    assert shard.primary == Node("aa", "192.0.2.1", 7101, "one.example")
    (shard,) = read_shards([flat(slots=[], nodes=[node])])
    assert shard.primary is not None
    assert shard.primary.port == 7001


def test_slots() -> None:
    one, two = [b"192.0.2.1", 7001, b"aa", []], [b"", 7002, b"bb"]
    named = [b"three.example", 7003, b"cc", [b"ip", b"192.0.2.3"]]
    assert read_slots([[0, 99, one, two], [200, 300, named], [100, 150, one, two]]) == [
        ShardMap([(0, 99), (100, 150)], Node("aa", "192.0.2.1", 7001), [Node("bb", "", 7002)]),
        ShardMap([(200, 300)], Node("cc", "192.0.2.3", 7003, "three.example")),
    ]


@pytest.mark.parametrize("bad", [None, 1, b"x", [1], [[1]], [[1, 2, 3]], [[1, 99999, [b"a", 1]]], [[5, 1, [b"a", 1]]]])
def test_what_is_no_map(bad: Any) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_slots(bad)
    with pytest.raises(ValueError, match="cannot be read"):
        read_shards(bad)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (b"-MOVED 3999 127.0.0.1:6381\r\n", Redirection(False, 3999, "127.0.0.1", 6381)),
        (b"-ASK 0 ::1:6381\r\n", Redirection(True, 0, "::1", 6381)),
        (b"-MOVED 1 :6381\r\n", Redirection(False, 1, "", 6381)),
        (b"-MOVED 16384 127.0.0.1:6381\r\n", None),
        (b"-MOVED 1 127.0.0.1\r\n", None),
        (b"-MOVED 1 127.0.0.1:99999\r\n", None),
        (b"-MOVED x 127.0.0.1:1\r\n", None),
        (b"-MOVED\r\n", None),
        (b"-ERR MOVED 1 127.0.0.1:6381\r\n", None),
    ],
)
def test_redirections(error: bytes, expected: Redirection | None) -> None:
    assert redirection(error) == expected


def test_replication() -> None:
    primary = read_replication(
        b"# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"
        b"slave0:ip=192.0.2.2,port=6380,state=online,offset=14,lag=1\r\nmaster_repl_offset:42\r\n"
    )
    assert primary is not None
    assert (primary.is_primary, primary.offset, primary.replicas) == (True, 42, (("192.0.2.2", 6380),))
    told = b"role:slave\r\nmaster_host:192.0.2.1\r\nmaster_port:6379\r\nmaster_link_status:%b\r\n"
    told += b"master_last_io_seconds_ago:%d\r\nmaster_sync_in_progress:%d\r\nslave_repl_offset:40\r\n"
    replica = read_replication(told % (b"up", 3, 0))
    assert replica is not None
    assert (replica.linked, replica.syncing, replica.quiet, replica.offset) == (True, False, 3, 40)
    assert replica.primary == ("192.0.2.1", 6379)
    replica = read_replication(told % (b"up", 3, 1))
    assert replica is not None
    assert replica.syncing
    for since, syncing, quiet in ((9, False, 9), (-1, True, 0)):
        replica = read_replication(told % (b"down", -1, 0) + b"master_link_down_since_seconds:%d\r\n" % since)
        assert replica is not None
        assert (replica.linked, replica.syncing, replica.quiet) == (False, syncing, quiet)
    assert read_replication(b"# Replication\r\n") is None


def test_sentinel() -> None:
    primary = flat(name=b"mymaster", ip=b"192.0.2.1", port=b"6379", flags=b"master", config_epoch=b"7")
    replicas = [
        flat(ip=b"192.0.2.2", port=b"6379", flags=b"slave", master_link_status=b"ok"),
        flat(ip=b"192.0.2.3", port=b"6379", flags=b"s_down,slave", master_link_status=b"err"),
    ]
    one, others, epoch = read_sentinel(primary, replicas, [b"192.0.2.1", b"6379"])
    assert (one.host, one.port, epoch) == ("192.0.2.1", 6379, 7)
    assert [(node.host, node.usable) for node in others] == [("192.0.2.2", True), ("192.0.2.3", False)]
    for address in (None, [b"192.0.2.1"], [b"192.0.2.1", b"x"]):
        with pytest.raises(ValueError, match="cannot be read"):
            read_sentinel(primary, replicas, address)
    with pytest.raises(ValueError, match="cannot be read"):
        read_sentinel(flat(name=b"x"), [], [b"192.0.2.1", b"6379"])


def test_sentinel_in_the_middle_of_a_failover() -> None:
    """A replica was promoted, and the others do not follow it yet."""
    primary = flat(ip=b"192.0.2.1", port=b"6379", flags=b"s_down,master,failover_in_progress", config_epoch=b"8")
    replicas = [flat(ip=b"192.0.2.2", port=b"6379", flags=b"slave,promoted"),
                flat(ip=b"192.0.2.3", port=b"6379", flags=b"slave")]  # fmt: skip
    one, others, epoch = read_sentinel(primary, replicas, [b"192.0.2.2", b"6379"])
    assert (one.host, epoch) == ("192.0.2.2", 8)
    assert [(node.host, node.usable, node.dead) for node in others] == [
        ("192.0.2.3", True, False),
        ("192.0.2.1", False, True),
    ]


def test_a_name_that_was_not_configured_is_none() -> None:
    (shard,) = read_slots([[0, 1, [b"?", 7001, b"aa", [b"ip", b"192.0.2.1"]]]])
    assert shard.primary == Node("aa", "192.0.2.1", 7001)
    node = [b"id", b"aa", b"port", 7001, b"ip", b"192.0.2.1", b"endpoint", b"?", b"role", b"master"]
    (shard,) = read_shards([[b"slots", [0, 1], b"nodes", [node]]])
    assert shard.primary == Node("aa", "192.0.2.1", 7001)
