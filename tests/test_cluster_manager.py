from __future__ import annotations

import pytest

from clusters import Runtime, address, config, fails, listening, refused, run, running, until
from l4proxy.cluster_manager import NoSuchCluster
from l4proxy.connect import ConnectRequest
from l4proxy.dial import lost_detail
from l4proxy.errors import ConfigError, UpstreamError


def labels(runtime: Runtime, metric: str) -> list[str]:
    return ["/".join(one["labels"]) for one in runtime.stats.snapshot()[f"l4proxy_{metric}"]["samples"]]


def test_an_unknown_cluster_is_told_with_the_nearest_name() -> None:
    async def main() -> None:
        async with running() as runtime:
            runtime.configure(config("127.0.0.1:1", name="web"), config("127.0.0.1:1", name="cache"))
            assert [cluster.name for cluster in runtime.clusters] == ["web", "cache"]
            with pytest.raises(NoSuchCluster, match=r"no cluster is called 'wab' \(did you mean 'web'\?\)") as caught:
                runtime.clusters.find("wab")
            assert isinstance(caught.value, UpstreamError)
            assert (caught.value.flag, caught.value.detail) == ("NC", "no_cluster")

    run(main)


def test_everything_wrong_is_told_and_nothing_is_changed() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster("127.0.0.1:1")
            with pytest.raises(ConfigError) as caught:
                runtime.clusters.prepare(
                    [
                        config("127.0.0.1:2"),
                        config(name="empty"),
                        config("127.0.0.1:1", name="bound", bind="db:0"),
                    ]
                )
            assert [problem.path for problem in caught.value.problems] == ["clusters[1].discovery", "clusters[2].bind"]
            assert list(runtime.clusters) == [cluster]
            assert list(cluster.endpoints.current) == ["127.0.0.1:1"]

    run(main)


def test_a_change_that_is_dropped_changes_nothing() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster("127.0.0.1:1")
            runtime.clusters.prepare([config("127.0.0.1:2")])
            assert list(cluster.endpoints.current) == ["127.0.0.1:1"]

    run(main)


def test_an_unchanged_cluster_keeps_everything() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                stream, endpoint = await cluster.open(ConnectRequest())
                discovery = cluster.discovery
                assert runtime.cluster(address(server)) is cluster
                assert cluster.discovery is discovery
                assert cluster.endpoints.current == {endpoint.name: endpoint}
                assert not stream.closed
                stream.close()

    run(main)


def test_a_changed_cluster_keeps_the_endpoints_that_stay_and_drains_the_others() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            async with running() as runtime:
                cluster = runtime.cluster(address(one), address(other), connect_timeout="9s")
                streams = dict([(await cluster.open(ConnectRequest()))[::-1] for _ in range(2)])
                by_name = {endpoint.name: stream for endpoint, stream in streams.items()}
                assert runtime.cluster(address(one), connect_timeout="8s", load_balancer="random") is cluster
                assert float(cluster.config.connect_timeout) == 8
                assert cluster.balancer.name == "random"
                assert list(cluster.endpoints.current) == [address(one)]
                assert list(cluster.endpoints.removed) == [address(other)]
                assert not by_name[address(other)].closed
                assert cluster.stats.connections_total == 2
                assert labels(runtime, "endpoint_connections_active") == [f"c/{address(one)}", f"c/{address(other)}"]
                for stream in streams.values():
                    stream.close()

    run(main)


def test_another_discovery_takes_over() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster = runtime.cluster("127.0.0.1:1")
            for other, on_demand, known in [
                (config(discovery="original_dst"), True, []),
                (config("127.0.0.1:1"), False, ["127.0.0.1:1"]),
            ]:
                runtime.configure(other)
                assert (cluster.on_demand is not None, list(cluster.endpoints.current)) == (on_demand, known)

    run(main)


def test_limits_that_grow_let_those_in_who_wait() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=1)
                stream, _ = await cluster.open(ConnectRequest())
                more: list[object] = []
                cluster.connect(ConnectRequest(), lambda *connected: more.append(connected), more.append)
                assert not more
                runtime.cluster(address(server), max_connections=2)
                assert len(more) == 1
                assert cluster.endpoints.open == 2
                stream.close()

    run(main)


def test_a_removed_cluster_drains() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=1, drain_removed="50ms")
                stream, _ = await cluster.open(ConnectRequest())
                waiting: list[UpstreamError] = []
                cluster.connect(ConnectRequest(), lambda stream, endpoint: None, waiting.append)
                lost: list[OSError] = []
                stream.on_lost = lost.append
                runtime.configure()
                assert not stream.closed
                assert [(error.flag, error.detail) for error in waiting] == [("NC", "no_cluster")]
                assert (await fails(cluster)).flag == "NC"
                with pytest.raises(NoSuchCluster):
                    runtime.clusters.find("c")
                assert labels(runtime, "cluster_connections_active") == ["c"]
                await until(lambda: lost)
                assert lost_detail(lost[0]) == "endpoint_removed"
                runtime.stats.snapshot()
                assert labels(runtime, "cluster_connections_active") == []

    run(main)


def test_a_cluster_that_comes_back_finds_its_connections() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                stream, endpoint = await cluster.open(ConnectRequest())
                for configs, draining in [([], True), ([config(address(server))], False)]:
                    runtime.configure(*configs)
                    assert endpoint.draining is draining
                assert runtime.clusters.find("c") is cluster
                other, same = await cluster.open(ConnectRequest())
                assert same is endpoint
                assert labels(runtime, "endpoint_connections_active") == [f"c/{address(server)}"]
                assert cluster.stats.connections_active == 2
                stream.close()
                other.close()

    run(main)


def test_reloads_break_no_connection() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), refused())
                stream, _ = await cluster.open(ConnectRequest(attempts=2))
                peer, _ = server.accept()
                got: list[bytes] = []
                stream.on_data = got.append
                stream.start()
                for turn in range(50):
                    runtime.cluster(address(server), connect_timeout=f"{turn + 1}s", max_connections=turn + 1)
                    assert cluster.stats.connections_active == 1
                peer.sendall(b"still here")
                await until(lambda: got)
                assert runtime.clusters.find("c") is cluster
                stream.close()
                peer.close()

    run(main)


def test_statistics_of_all_clusters() -> None:
    async def main() -> None:
        with listening() as one:
            async with running() as runtime:
                runtime.configure(config(address(one), name="one"), config(refused(), name="dead"))
                stream, _endpoint = await runtime.clusters.find("one").open(ConnectRequest())
                await fails(runtime.clusters.find("dead"))
                assert labels(runtime, "cluster_connections_total") == ["one", "dead"]
                assert labels(runtime, "cluster_connect_failed_total") == ["dead/connect_refused"]
                assert labels(runtime, "cluster_endpoints") == ["one", "dead"]
                stream.close()

    run(main)
