"""Which node is at which port. With a real cluster and real clients: ``e2e/test_sniff_redis.py``."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from l4proxy.config.types import ClusterName
from l4proxy.filter import Conn
from l4proxy.plugins.redis_nodes import Nodes, RedisNodesConfig


def conn(port: int) -> Conn:
    """Of a listener with three ports."""
    client = SimpleNamespace(local_host="127.0.0.1", local_port=port)
    return cast(Conn, SimpleNamespace(client=client, listener_ports=(100, 101, 102)))


@pytest.fixture
def nodes() -> Nodes:
    return Nodes(RedisNodesConfig(ClusterName("c")), cast(Any, None))


def test_nodes_have_ports_in_the_order_in_which_they_are_named(nodes: Nodes) -> None:
    assert nodes.find(conn(100), "10.0.0.1", 7000) == ("127.0.0.1", 101)
    assert nodes.find(conn(101), "10.0.0.1", 7001) == ("127.0.0.1", 102)
    assert nodes.find(conn(102), "10.0.0.1", 7000) == ("127.0.0.1", 101)
    assert nodes.meant(conn(102)) == ("10.0.0.1", 7001)


def test_the_first_port_is_everybodys(nodes: Nodes) -> None:
    nodes.find(conn(100), "10.0.0.1", 7000)
    assert nodes.meant(conn(100)) is None
    assert nodes.meant(conn(102)) is None  # nobody was told of that yet


def test_there_may_be_more_nodes_than_ports(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    for port in (7000, 7001, 7002):
        found = nodes.find(conn(100), "10.0.0.1", port)
    assert found is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
