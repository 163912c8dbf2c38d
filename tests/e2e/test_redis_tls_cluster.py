"""redis-py through ``redis_proxy``, in front of a Redis Cluster with TLS whose nodes name each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.proxies import Proxy, run
from l4proxy.protocols.redis.slots import slot_of
from services.certs import Authority, Certs
from services.needs import needs
from services.process import HOST, free_port
from services.redis_tls_cluster import TlsRedisCluster

pytestmark = needs("redis-server", "redis-cli")


@pytest.fixture
def cluster(tmp_path: Path, authority: Authority) -> Iterator[TlsRedisCluster]:
    cluster = TlsRedisCluster(tmp_path, authority)
    try:
        cluster.form()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def proxy(cluster: TlsRedisCluster, certs: Certs, tmp_path: Path) -> Iterator[Proxy]:
    """It hears of changes from redirections only."""
    port = free_port()
    redis = {"use": "redis_proxy", "cluster": "cache", "topology": "cluster", "topology_refresh": "1h"}
    cache = {"discovery": {"use": "strict_dns"}, "endpoints": [f"localhost:{cluster.tls[cluster.ports[0]]}"]}
    config: dict[str, Any] = {
        "listeners": [{"address": f"{HOST}:{port}", "filters": [redis]}],
        "clusters": [{"name": "cache", **cache, "tls": {"ca": str(certs.ca)}}],
    }
    with run(tmp_path, config, port) as proxy:
        yield proxy


def test_nodes_are_named(cluster: TlsRedisCluster, proxy: Proxy, certs: Certs) -> None:
    """``ASK`` and ``MOVED`` to a node that has joined since, and then one that is not whom it says."""
    library = pytest.importorskip("redis", reason="redis (redis-py) is not installed")
    keys = [f"key:{number}" for number in range(50)]
    with library.Redis(port=proxy.port, socket_timeout=10, decode_responses=True) as client:
        for key in keys:
            client.set(key, key)
        assert client.mget(keys) == keys
        source, new = cluster.primary_of("{m}"), cluster.join()
        client.set("{m}old", "1")
        cluster.move_slot(slot_of(b"m"), source, new, ["begin"])
        assert client.incr("{m}new") == 1  # ASK
        cluster.move_slot(slot_of(b"m"), source, new, ["keys", "end"])
        pipeline = client.pipeline(transaction=False)
        for number in range(20):
            pipeline.incr("{m}old").incr("{m}new").set(f"other:{number}", number)  # MOVED
        assert pipeline.execute()[::3] == list(range(2, 22))
        assert client.mget(keys) == keys
        assert cluster.ask(new, "get", "{m}new") == "21"
        assert f"{HOST}:{cluster.tls[new]}" not in proxy.log  # nothing went wrong there

        cluster.show(new, certs.wrong_host)
        cluster.ask(new, "client", "kill", "type", "normal")
        with pytest.raises(library.ResponseError, match=r"^upstream failure: tls wrong host$"):
            client.get("{m}old")  # a read: it is asked again, should it meet the connection that just ends
        proxy.wait_for_log(f"{HOST}:{cluster.tls[new]}: hostname mismatch")
        proxy.wait_for_log(f"not valid for '{cluster.names[new]}'")
        assert client.mget(keys) == keys
