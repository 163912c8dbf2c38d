"""A Redis primary with two replicas, and three Sentinels that watch them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.process import HOST, free_port
from services.redis_servers import RedisServers, wait_for

__all__ = ["RedisReplicas", "redis_replicas"]

NAME = "mymaster"


class RedisReplicas(RedisServers):
    """Made by the fixture. Which server is the primary changes with the tests."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 3)
        self.sentinels = [free_port() for _ in range(3)]

    @property
    def sentinel_addresses(self) -> list[str]:
        return [f"{HOST}:{port}" for port in self.sentinels]

    def start(self, port: int, primary: int | None) -> None:
        replica = ["--replicaof", f"{HOST} {primary}"] if primary is not None else []
        self._run(port, [*self._options(port), *replica])

    def start_sentinel(self, port: int) -> None:
        file = self._home(port) / "sentinel.conf"
        file.write_text(
            f"port {port}\nbind {HOST}\ndir {self._home(port)}\nsentinel monitor {NAME} {HOST} {self.ports[0]} 2\n"
            f"sentinel down-after-milliseconds {NAME} 1500\nsentinel failover-timeout {NAME} 4000\n"
        )
        self._run(port, [str(file), "--sentinel"])

    def form(self) -> None:
        first, *replicas = self.ports
        self.start(first, None)
        for port in replicas:
            self.start(port, first)
        for port in self.sentinels:
            self.start_sentinel(port)
        self.settle()

    def settle(self) -> None:
        """Wait until the replicas have what the primary has, and the Sentinels know all of them. A former primary is
        made a replica; Sentinel would do so, too, but some 10 seconds later."""
        for port in self.replicas:
            if "role:master" in self.ask(port, "info", "replication"):
                self.ask(port, "replicaof", HOST, str(self.primary))
        wait_for("the replicas are well", lambda: all("state=online" in line for line in self._replica_lines()))
        wait_for("Sentinels know them", lambda: all(self._is_known(port) for port in self.sentinels))

    def _replica_lines(self) -> list[str]:
        lines = self.ask(self.primary, "info", "replication").splitlines()
        found = [line for line in lines if line.startswith("slave") and "ip=" in line]
        return found if len(found) == 2 else [""]

    def _is_known(self, sentinel: int) -> bool:
        told = self.ask(sentinel, "info", "sentinel")
        return f"address={HOST}:{self.primary},slaves=2,sentinels=3" in told

    def fail_over(self) -> None:
        """Have Sentinel begin to make another server the primary, and wait until that is done. Where servers were slow
        to answer it, it gives up, and has to be asked again."""
        sentinel, former = self.sentinels[0], self.primary

        def done() -> bool:
            lines = self.ask(sentinel, "sentinel", "master", NAME).splitlines()
            told = dict(zip(lines[::2], lines[1::2], strict=True))
            if told["port"] == str(former) and "failover_in_progress" not in told["flags"]:
                self.ask(sentinel, "sentinel", "failover", NAME)
            return self.primary != former

        wait_for("another is the primary", done)

    @property
    def primary(self) -> int:
        """By the word of a Sentinel."""
        return int(self.ask(self.sentinels[0], "sentinel", "get-master-addr-by-name", NAME).splitlines()[1])

    @property
    def replicas(self) -> list[int]:
        return [port for port in self.ports if port != self.primary]


@pytest.fixture(scope="session")
def redis_replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisReplicas]:
    """They are running."""
    servers = RedisReplicas(tmp_path_factory.mktemp("replicas"))
    try:
        servers.form()
        yield servers
    finally:
        servers.close()
