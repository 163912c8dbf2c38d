"""A Redis Cluster of three primaries, each with a replica, that can lose nodes and get them back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from l4proxy.protocols.redis.slots import slot_of
from services.process import HOST, free_port
from services.redis import ORDERED
from services.redis_servers import RedisServers, wait_for

__all__ = ["RedisCluster", "redis_cluster"]

PRIMARIES = 3
NODE_TIMEOUT = 1500  # milliseconds until a node is taken for dead


class RedisCluster(RedisServers):
    """Made by the fixture. Its nodes keep nothing on disk but who they are."""

    def __init__(self, directory: Path, count: int = 2 * PRIMARIES) -> None:
        super().__init__(directory, count)
        self._bus = {port: free_port() for port in self.ports}

    def start(self, port: int) -> None:
        """Start a node, with what it knew of the cluster."""
        options = ["--cluster-enabled", "yes", "--cluster-port", str(self._bus[port])]
        options += ["--cluster-node-timeout", str(NODE_TIMEOUT), "--cluster-allow-replica-migration", "no"]
        options += self._more_options(port)
        self._run(port, [*self._options(port), *options, *ORDERED])

    def _more_options(self, port: int) -> list[str]:
        return []

    def node_port(self, port: int) -> int:
        """Where other nodes reach a node; ``port`` is its name, and where tests do."""
        return port

    def form(self) -> None:
        first, *others = self.ports
        for port in others:
            self.ask(first, "cluster", "meet", HOST, str(port), str(self._bus[port]))
        for number, port in enumerate(self.ports[:PRIMARIES]):
            begin, end = 16384 * number // PRIMARIES, 16384 * (number + 1) // PRIMARIES - 1
            self.ask(port, "cluster", "addslotsrange", str(begin), str(end))
        wait_for("all know each other", lambda: all(self._knows(port) == len(self.ports) for port in self.ports))
        for primary, replica in zip(self.ports[:PRIMARIES], self.ports[PRIMARIES:], strict=True):
            self.ask(replica, "cluster", "replicate", self.ask(primary, "cluster", "myid"))
        self.settle()

    def _knows(self, port: int) -> int:
        return self.ask(port, "cluster", "nodes").count("connected")

    def settle(self) -> None:
        """Wait until all is well: every primary has a replica that has its data."""
        wait_for("the cluster is well", self._is_well)

    def _is_well(self) -> bool:
        states = [self.ask(port, "cluster", "info") for port in self.ports]
        links = "".join(self.ask(port, "info", "replication") for port in self.ports)
        return (
            all("cluster_state:ok" in state for state in states)
            and links.count("master_link_status:up") == PRIMARIES
            and links.count("state=online") == PRIMARIES
            and all(self.ask(port, "cluster", "nodes").count("fail") == 0 for port in self.ports)
        )

    def primary_of(self, key: str) -> int:
        """The port of the node that has a key."""
        return self.owners()[slot_of(key.encode())]

    def owners(self) -> dict[int, int]:
        """The port of the node that has a slot, for all slots."""
        owners: dict[int, int] = {}
        for line in self.ask(self._alive(), "cluster", "nodes").splitlines():
            _id, address, flags, _primary, _ping, _pong, _epoch, _link, *slots = line.split()
            port = int(address.partition("@")[0].rpartition(":")[2])
            for one in slots if "master" in flags and "fail" not in flags else ():
                first, _, last = one.partition("-")
                owners.update(dict.fromkeys(range(int(first), int(last or first) + 1), port) if first.isdigit() else {})
        return owners

    def move_slot(self, slot: int, source: int, target: int, steps: Sequence[str] = ("begin", "keys", "end")) -> None:
        """As ``redis-cli --cluster reshard`` does, step by step."""
        ids = {port: self.ask(port, "cluster", "myid") for port in (source, target)}
        if "begin" in steps:
            self.ask(target, "cluster", "setslot", str(slot), "importing", ids[source])
            self.ask(source, "cluster", "setslot", str(slot), "migrating", ids[target])
        if "keys" in steps:
            keys = self.ask(source, "cluster", "getkeysinslot", str(slot), "1000").split()
            if keys:
                self.ask(source, "migrate", HOST, str(self.node_port(target)), "", "0", "5000", "keys", *keys)
        if "end" in steps:
            for port in (target, source):
                self.ask(port, "cluster", "setslot", str(slot), "node", ids[target])

    def _alive(self) -> int:
        return next(iter(self._stacks))

    def replica_of(self, port: int) -> int:
        """The port of the replica of a primary."""
        own = self.ask(port, "cluster", "myid")
        wait_for("its replica is known", lambda: self.ask(port, "cluster", "replicas", own).count("slave") == 1)
        (line,) = self.ask(port, "cluster", "replicas", own).splitlines()
        return int(line.split()[1].partition("@")[0].rpartition(":")[2])

    def fail_over(self, port: int) -> int:
        """Make a primary's replica the primary; its port."""
        replica = self.replica_of(port)
        self.ask(replica, "cluster", "failover")
        wait_for("the replica has taken over", lambda: "role:master" in self.ask(replica, "info", "replication"))
        return replica

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[Self]:
        cluster = cls(directory)
        try:
            for port in cluster.ports:
                cluster.start(port)
            cluster.form()
            yield cluster
        finally:
            cluster.close()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A running cluster. Which node has which role changes with the tests."""
    with RedisCluster.running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
