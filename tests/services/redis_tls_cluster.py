"""A Redis Cluster of nodes with TLS that clients are told of by name."""

from __future__ import annotations

from pathlib import Path

from services.certs import Authority, Certificate
from services.process import HOST, free_port
from services.redis_cluster import RedisCluster
from services.redis_servers import wait_for

__all__ = ["TlsRedisCluster"]

NODES = 3


class TlsRedisCluster(RedisCluster):
    """Primaries only; the last one joins when it is told to. ``ports`` are without TLS, and for the tests. A node's
    certificate is for ``localhost`` and its name, which nobody can look up, not for its address."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        super().__init__(directory, NODES)
        self._authority = authority
        self.tls = {port: free_port() for port in self.ports}
        self.names = {port: f"redis-{number}.example.test" for number, port in enumerate(self.ports)}

    def node_port(self, port: int) -> int:
        return self.tls[port]

    def _more_options(self, port: int) -> list[str]:
        own = self._authority.issue(f"redis-{port}", ["localhost", self.names[port]])
        options = ["--tls-port", str(self.tls[port]), "--tls-cluster", "yes", "--tls-auth-clients", "no"]
        options += ["--tls-cert-file", str(own.cert), "--tls-key-file", str(own.key)]
        options += ["--tls-ca-cert-file", str(self._authority.cert)]
        return [
            *options,
            "--cluster-announce-hostname",
            self.names[port],
            "--cluster-preferred-endpoint-type",
            "hostname",
        ]

    def form(self) -> None:
        for port in self.ports:
            self.start(port)
        first, second, _ = self.ports
        self._meet(first, second)
        self.ask(first, "cluster", "addslotsrange", "0", "8191")
        self.ask(second, "cluster", "addslotsrange", "8192", "16383")
        self._wait((first, second))

    def join(self) -> int:
        """The last one, without a slot; its port."""
        self._meet(self.ports[0], self.ports[-1])
        self._wait(self.ports)
        return self.ports[-1]

    def _meet(self, one: int, other: int) -> None:
        self.ask(one, "cluster", "meet", HOST, str(self.tls[other]), str(self._bus[other]))

    def _wait(self, ports: tuple[int, ...] | list[int]) -> None:
        def is_well(port: int) -> bool:
            nodes, told = self.ask(port, "cluster", "nodes"), self.ask(port, "cluster", "info")
            return all(self.names[each] in nodes for each in ports) and "cluster_state:ok" in told

        wait_for("the nodes know each other's names", lambda: all(map(is_well, ports)))

    def show(self, port: int, certificate: Certificate) -> None:
        """From now on, for new connections."""
        words = ["tls-cert-file", str(certificate.cert), "tls-key-file", str(certificate.key)]
        assert self.ask(port, "config", "set", *words) == "OK"
