from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from clusters import run, until
from l4proxy import ConfigError, Filter, NoConfig
from l4proxy.cluster_manager import NoSuchCluster
from l4proxy.plugins.mirror import Mirror
from l4proxy.plugins.mirror_copy import MirrorStats
from l4proxy.testing import harness, use
from memory_cluster import MemoryCluster, memory_cluster
from proxying import exchange, proxy, server

__all__ = ["memory_cluster"]


def test_a_share_of_connections_is_copied(memory_cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", random.Random(1).random)
    h = memory_cluster.start(use(Mirror, cluster="c", percent=30))
    others = [h.another() for _ in range(199)]
    assert 40 <= len(memory_cluster.ends) <= 80
    copied = [one for one in (h, *others) if one.filters[0]._copy]  # type: ignore[attr-defined]
    assert len(copied) == len(memory_cluster.ends)
    plain = [one for one in others if one not in copied]
    assert all(one.connection.client.on_data == one.connection.upstream.write for one in plain)


def test_a_cluster_that_is_not_there_any_more(memory_cluster: MemoryCluster) -> None:
    h = memory_cluster.start(use(Mirror, cluster="c"))

    def find(name: str) -> Any:
        raise NoSuchCluster("NC", "no_cluster", "gone")

    h.clusters.find = find
    other = h.another()
    other.client.send(b"a")
    assert other.upstream.received == b"a"
    assert h.stats.group(MirrorStats, cluster="c").given_up_total.values == {"no_cluster": 1}


def test_what_is_copied_is_what_the_filters_before_it_let_pass(memory_cluster: MemoryCluster) -> None:
    class Upper(Filter[NoConfig]):
        name = "upper"

        def on_client_data(self, data: bytes) -> bytes:
            return data.upper()

    class Lower(Filter[NoConfig]):
        name = "lower"

        def on_client_data(self, data: bytes) -> bytes:
            return data.lower()

    h = memory_cluster.start(use(Upper), use(Mirror, cluster="c"), use(Lower))
    h.client.send(b"aBc")
    assert memory_cluster.ends[0].received == b"ABC"
    assert h.upstream.received == b"abc"


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "cluster: is missing"),
        ({"cluster": "c", "percent": -1}, "percent: -1 is not a percentage"),
        ({"cluster": "c", "buffer_limit": 1}, "buffer_limit: 1B is out of range"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(use(Mirror, **options))


def test_the_cluster_has_to_be_configured() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=r"shadw.*did you mean 'shadow'"):
            async with proxy({"use": "mirror", "cluster": "shadw"}, "echo", clusters=[{"name": "shadow"}]):
                pass

    run(main)


def test_real_connections() -> None:
    data = random.Random(1).randbytes(400_000)
    copies: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"never seen")
        copies.append(await reader.read(-1))

    async def main() -> None:
        async with server() as upstream, server(keep) as shadow:
            mirror = {"use": "mirror", "cluster": "shadow"}
            clusters = [{"name": "shadow", "endpoints": [f"127.0.0.1:{shadow}"]}]
            tcp_proxy = {"use": "tcp_proxy", "cluster": "up"}
            async with proxy(mirror, tcp_proxy, upstreams=[upstream], clusters=clusters) as running:
                for size in (5, 400_000, 70_000):
                    assert await exchange(running.port, data[:size]) == data[:size]
                await until(lambda: len(copies) == 3)
                assert sorted(map(len, copies)) == [5, 70_000, 400_000]
                assert all(data.startswith(copy) for copy in copies)
                await until(lambda: running.value("l4proxy_mirror_copies_active", cluster="shadow") == 0)

    run(main)
