"""All network filters in one chain, with real sockets: none is in another's way."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from clusters import run, until
from proxying import exchange, proxy, server

CHAIN: list[dict[str, Any]] = [
    {"use": "rbac", "rules": {"action": "allow", "policies": {"here": {"source": ["127.0.0.0/8"]}}}},
    {"use": "local_ratelimit", "max_tokens": 1000},
    {"use": "connection_limit", "max_connections": 100, "max_connections_per_source": 100},
    {"use": "mirror", "cluster": "shadow"},
    {"use": "bandwidth_limit", "upload": "4MB/s", "download": "4MB/s"},
    {"use": "fault", "chunk_delay": "1ms", "percent": 50, "seed": 1},
    {"use": "tcp_proxy", "cluster": "up", "proxy_protocol": "off", "max_connection_duration": "1m"},
]


def test_transfers_through_all_of_them() -> None:
    data = random.Random(1).randbytes(400_000)
    copied: list[int] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        copied.append(len(await reader.read(-1)))

    async def main() -> None:
        async with server() as upstream, server(keep) as shadow:
            clusters = [{"name": "shadow", "endpoints": [f"127.0.0.1:{shadow}"]}]
            async with proxy(*CHAIN, upstreams=[upstream], clusters=clusters) as running:
                sizes = [0, 1, 1000, 100_000, 400_000]
                answers = await asyncio.gather(*[exchange(running.port, data[:size]) for size in sizes])
                assert answers == [data[:size] for size in sizes]
                await until(lambda: sorted(copied) == sizes)
                await until(lambda: running.value("l4proxy_connection_limit_connections_active", name="") == 0)
                await until(lambda: running.value("l4proxy_mirror_copies_active", cluster="shadow") == 0)
                assert running.value("l4proxy_fault_disturbed_total", name="") in range(1, 5)

    run(main)
