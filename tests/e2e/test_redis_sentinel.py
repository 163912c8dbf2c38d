"""redis-py through ``redis_proxy``, in front of Sentinels that make another server the primary."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from admin_client import request
from e2e.proxies import Proxy, run
from services.needs import needs
from services.process import HOST, free_port
from services.redis_replicas import RedisReplicas
from services.redis_servers import wait_for

pytestmark = needs("redis-server", "redis-cli")
redis_py = pytest.importorskip("redis", reason="redis (redis-py) is not installed")

ADMIN = free_port()
MOST = 1_000_000


@pytest.fixture
def proxy(redis_replicas: RedisReplicas, tmp_path: Path) -> Iterator[Proxy]:
    redis_replicas.settle()
    port = free_port()
    filters = [{"use": "redis_proxy", "cluster": "cache", "topology": "sentinel", "read_policy": "prefer_replica"}]
    config: dict[str, Any] = {
        "listeners": [{"address": f"{HOST}:{port}", "filters": filters}],
        "clusters": [{"name": "cache", "endpoints": redis_replicas.sentinel_addresses}],
        "admin": {"address": f"{HOST}:{ADMIN}"},
    }
    with run(tmp_path, config, port) as proxy:
        yield proxy


def client(port: int) -> Any:
    """Without the retries of the library, so that nothing that goes wrong is hidden."""
    return redis_py.Redis(port=port, socket_timeout=60, retry=None, single_connection_client=True)


@dataclass
class Writer:
    """Writes keys of its own, one after the other, and reads one that was there before."""

    name: str
    tried: int = 0
    written: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, port: int, stopping: threading.Event) -> None:
        with client(port) as redis:
            for self.tried in range(MOST):
                try:
                    assert redis.set(f"{self.name}:{self.tried}", self.tried) is True
                    self.written.append(self.tried)
                except redis_py.ResponseError as error:
                    self.errors.append(str(error))
                assert redis.get("sentinel:before") == b"x"
                assert redis.get(f"{self.name}:{self.tried}") in (b"%d" % self.tried, None)  # a replica lags behind
                if stopping.is_set():
                    break

    def written_since(self, first: int) -> list[int]:
        return [number for number in self.written if number > first]


def follow(servers: RedisReplicas, port: int) -> int:
    """Wait until clients write to the new primary; its port."""
    primary = servers.primary
    with client(port) as through, client(primary) as direct:

        def arrives() -> bool:
            through.set("sentinel:arrives", primary)
            return bool(direct.get("sentinel:arrives") == b"%d" % primary)

        wait_for("the proxy writes to it", arrives)
    return primary


def lost(primary: int, writers: list[Writer], since: list[int]) -> list[str]:
    """What was acknowledged and is not there, of that whose writing began after these."""
    with client(primary) as direct:
        keys = [
            f"{one.name}:{number}"
            for one, first in zip(writers, since, strict=True)
            for number in one.written_since(first)
        ]
        assert keys
        return [key for key, value in zip(keys, direct.mget(keys), strict=True) if value is None]


def test_clients_write_on_through_a_failover_and_the_death_of_a_primary(
    proxy: Proxy, redis_replicas: RedisReplicas
) -> None:
    """Over the same connections, with no wrong reply; reads go on in the meantime, and errors say what they are."""
    servers, stopping = redis_replicas, threading.Event()
    with client(proxy.port) as redis:
        redis.set("sentinel:before", "x")
        assert redis.wait(2, 0) == 2
    writers = [Writer(f"sentinel:{number}") for number in range(2)]

    def write_on() -> None:
        goals = [len(one.written) + 50 for one in writers]

        def done() -> bool:
            return all(len(one.written) > goal for one, goal in zip(writers, goals, strict=True))

        wait_for("all write on", lambda: done() or any(one.done() for one in running))

    with ThreadPoolExecutor() as threads:
        running: list[Future[None]] = [threads.submit(one.run, proxy.port, stopping) for one in writers]
        try:
            write_on()
            servers.fail_over()
            primary = follow(servers, proxy.port)
            since = [one.tried for one in writers]
            write_on()
            assert lost(primary, writers, since) == []
            servers.settle()

            servers.kill(primary)
            with client(proxy.port) as redis:  # who comes now is answered by replicas
                assert redis.get("sentinel:before") == b"x"
            wait_for("there is another primary", lambda: servers.primary != primary)
            latest = follow(servers, proxy.port)
            since = [one.tried for one in writers]
            write_on()
            assert lost(latest, writers, since) == []
        finally:
            stopping.set()
    for one in running:
        one.result()
    servers.start(primary, servers.primary)
    servers.settle()

    errors = [error for one in writers for error in one.errors]
    assert all(error.startswith("upstream failure: ") for error in errors), errors
    page = request(ADMIN, "GET", "/stats/prometheus").text
    failed = re.findall(r"^l4proxy_redis_endpoint_failed_total\{.*\} ([0-9.e+]+)$", page, re.MULTILINE)
    assert sum(map(float, failed)) >= len(errors)
    assert "Traceback" not in proxy.log
