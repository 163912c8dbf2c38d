"""The servers of ``redis`` and ``redis_cluster``, as Valkey makes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.redis import ORDERED, RedisServer, redis_server
from services.redis_cluster import RedisCluster

__all__ = ["ValkeyCluster", "valkey_cluster", "valkey_twins"]

VALKEY = "valkey-server"


class ValkeyCluster(RedisCluster):
    """Made by the fixture."""

    make = VALKEY

    def migrate(self, slots: tuple[int, int], source: int, target: int) -> None:
        """Begin to move these, from the first to the last, as a whole (since Valkey 9)."""
        first, last = map(str, slots)
        told = self.ask(
            source, "cluster", "migrateslots", "slotsrange", first, last, "node", self.ask(target, "cluster", "myid")
        )
        assert told == "OK", told

    def has(self, port: int, slot: int) -> bool:
        return self.owners()[slot] == port


@pytest.fixture(scope="session")
def valkey_twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two servers that answer the same commands with the same bytes."""
    one, other = (tmp_path_factory.mktemp("valkey") for _ in range(2))
    with redis_server(one, *ORDERED, make=VALKEY) as first, redis_server(other, *ORDERED, make=VALKEY) as second:
        yield first, second


@pytest.fixture(scope="session")
def valkey_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A running cluster. Which node has which role changes with the tests."""
    with ValkeyCluster.running(tmp_path_factory.mktemp("valkey")) as cluster:
        yield cluster
