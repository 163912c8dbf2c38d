from __future__ import annotations

import pytest

from clusters import Runtime, address, config, fails, listening, run, running, until
from l4proxy.connect import ConnectRequest
from l4proxy.errors import ConfigError


def test_addresses_are_known_at_once() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster({"address": "127.0.0.1:1", "weight": 3}, "[::1]:2", "unix:/s")
            assert cluster.ready
            known = {one.name: one.weight for one in cluster.endpoints.current.values()}
            assert known == {"127.0.0.1:1": 3, "[::1]:2": 1, "unix:/s": 1}

    run(main)


def test_a_host_name_is_one_endpoint() -> None:
    async def main() -> None:
        with listening() as server:
            port = server.getsockname()[1]
            async with running() as runtime:
                cluster = runtime.cluster(f"localhost:{port}")
                stream, endpoint = await cluster.open(ConnectRequest())
                assert (endpoint.name, endpoint.hostname) == (f"localhost:{port}", "localhost")
                assert stream.sock.getpeername()[0] == "127.0.0.1"
                stream.close()

    run(main)


def test_a_name_that_does_not_exist_is_said() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster("name.invalid:1")
            error = await fails(cluster)
            assert (error.flag, error.detail) == ("UH", "no_healthy_upstream")
            assert str(error).startswith("cluster c has no endpoint: name.invalid:1: ")
            await until(lambda: cluster.discovery.failures)

    run(main)


def test_without_endpoints_it_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=r"clusters\[0\]\.discovery: a static cluster needs endpoints"):
            Runtime().clusters.prepare([config()])

    run(main)


def test_an_address_of_one_server_and_a_name_of_another() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            async with running() as runtime:
                cluster = runtime.cluster(address(one), f"localhost:{other.getsockname()[1]}")
                await until(lambda: len(cluster.endpoints.current) == 2)
                assert sorted(cluster.balancer.endpoints, key=str) == sorted(cluster.endpoints.choosable(), key=str)

    run(main)
