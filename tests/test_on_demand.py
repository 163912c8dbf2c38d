from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clusters import Runtime, config, fails, listening, run, running, until
from l4proxy.address import Address
from l4proxy.cluster import Cluster
from l4proxy.config.schema import Cluster as ClusterConfig
from l4proxy.config.types import Use
from l4proxy.connect import ConnectRequest
from l4proxy.discovery import OnDemandDiscovery
from l4proxy.endpoint import EndpointSpec
from l4proxy.errors import UpstreamError
from l4proxy.filter import NoConfig


class ByName(OnDemandDiscovery[NoConfig]):
    """Answers when a test lets it."""

    name = "by_name"

    def __init__(self, config: NoConfig, cluster: ClusterConfig) -> None:
        super().__init__(config, cluster)
        self.asked: list[tuple[str, Callable[[EndpointSpec | None], None]]] = []

    def find(self, request: ConnectRequest, found: Callable[[EndpointSpec | None], None]) -> None:
        self.asked.append((request.server_name, found))


def by_name(runtime: Runtime) -> tuple[Cluster, ByName]:
    runtime.configure(replace(config(), discovery=Use("by_name", NoConfig(), cls=ByName)))
    cluster = runtime.clusters.find("c")
    assert isinstance(cluster.discovery, ByName)
    return cluster, cluster.discovery


def test_an_endpoint_may_be_found_later() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, discovery = by_name(runtime)
                got: list[object] = []
                cluster.connect(ConnectRequest(server_name="a.test"), lambda *both: got.extend(both), got.append)
                ((name, found),) = discovery.asked
                assert (name, got, cluster.connecting) == ("a.test", [], 1)
                found(EndpointSpec("a.test:1", (Address(*server.getsockname()),), "a.test"))
                stream, endpoint = got
                assert cluster.endpoints.current == {"a.test:1": endpoint}
                stream.close()  # type: ignore[attr-defined]

    run(main)


def test_or_not_at_all() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = by_name(runtime)
            errors: list[UpstreamError] = []
            cluster.connect(ConnectRequest(), lambda stream, endpoint: None, errors.append)
            discovery.asked[0][1](None)
            assert [error.flag for error in errors] == ["UH"]

    run(main)


def test_an_answer_that_nobody_waits_for_any_more() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = by_name(runtime)
            got: list[object] = []
            attempt = cluster.connect(ConnectRequest(), lambda *both: got.append(both), got.append)
            attempt.cancel()
            assert cluster.connecting == 0
            discovery.asked[0][1](EndpointSpec("a", (Address("127.0.0.1", 1),)))
            assert not got
            assert cluster.endpoints.current["a"].connections == 0

    run(main)


def test_an_answer_after_the_cluster_was_removed() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = by_name(runtime)
            errors: list[UpstreamError] = []
            cluster.connect(ConnectRequest(), lambda stream, endpoint: None, errors.append)
            runtime.configure()
            discovery.asked[0][1](EndpointSpec("a", (Address("127.0.0.1", 1),)))
            assert len(errors) == 1
            assert not cluster.endpoints.current
            assert (await fails(cluster)).flag == "NC"

    run(main)


def test_an_endpoint_with_other_addresses_is_the_same_endpoint() -> None:
    async def main() -> None:
        with listening() as server, listening("127.0.0.2") as other:
            async with running() as runtime:
                cluster, discovery = by_name(runtime)
                discovery.idle_time = 0.05
                peers = []
                for where in (server, other):
                    got: list[object] = []
                    cluster.connect(ConnectRequest(), lambda *both: got.extend(both), got.append)  # noqa: B023
                    discovery.asked[-1][1](EndpointSpec("a", (Address(*where.getsockname()),)))
                    stream, endpoint = got
                    peers.append(stream.sock.getpeername())  # type: ignore[attr-defined]
                    stream.close()  # type: ignore[attr-defined]
                    assert list(cluster.endpoints.current.values()) == [endpoint]
                assert peers == [server.getsockname(), other.getsockname()]
                await until(lambda: not cluster.endpoints.current)

    run(main)
