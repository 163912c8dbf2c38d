from __future__ import annotations

from typing import Any

from clusters import address, listening, run, until
from l4proxy.address import Address
from l4proxy.describe.routing import clusters
from l4proxy.endpoint import EndpointSpec
from l4proxy.plugins.requested_hosts import HostRequest, host_cluster
from proxying import proxy


def request(name: str, where: str) -> HostRequest:
    return HostRequest(server_name=name, host=EndpointSpec(name, (Address.parse(where),), name))


def test_every_connection_brings_its_endpoint() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            async with proxy("echo") as running:
                cluster = host_cluster("hosts", 5, 10, running.server)
                first, endpoint = await cluster.open(request("a.test", address(one)))
                assert (endpoint.name, endpoint.hostname) == ("a.test", "a.test")
                second, endpoint = await cluster.open(request("b.test", address(other)))
                assert second.sock.getpeername() == other.getsockname()
                assert list(cluster.endpoints.current) == ["a.test", "b.test"]
                first.close()
                second.close()

    run(main)


def test_a_host_may_move() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            async with proxy("echo") as running:
                cluster = host_cluster("hosts", 5, 10, running.server)
                streams: list[Any] = [
                    (await cluster.open(request("a.test", address(each))))[0] for each in (one, other)
                ]
                assert [stream.sock.getpeername() for stream in streams] == [one.getsockname(), other.getsockname()]
                assert cluster.endpoints.current["a.test"].connections == 2
                for stream in streams:
                    stream.close()

    run(main)


def test_a_name_has_one_cluster_with_the_settings_given_last() -> None:
    async def main() -> None:
        async with proxy("echo") as running:
            cluster = host_cluster("hosts", 5, 10, running.server)
            assert host_cluster("hosts", 6, 11, running.server) is cluster
            assert (float(cluster.config.connect_timeout), cluster.config.max_connections) == (6.0, 11)
            assert host_cluster("others", 5, 10, running.server) is not cluster

    run(main)


def test_hosts_that_nobody_uses_are_forgotten() -> None:
    async def main() -> None:
        with listening() as one:
            async with proxy("echo") as running:
                cluster = host_cluster("hosts", 5, 10, running.server)
                cluster.discovery.idle_time = 0.05  # type: ignore[attr-defined]
                stream, _ = await cluster.open(request("a.test", address(one)))
                stream.close()
                await until(lambda: not cluster.endpoints.current)

    run(main)


def test_the_server_shows_it_and_ends_it() -> None:
    async def main() -> None:
        with listening() as one:
            async with proxy("echo") as running:
                cluster = host_cluster("hosts", 5, 10, running.server)
                stream, _ = await cluster.open(request("a.test", address(one)))
                (shown,) = clusters(running.server)
                assert (shown["name"], shown["discovery"]) == ("hosts", "requested_hosts")
                assert shown["connections"] == 1
            assert stream.closed

    run(main)
