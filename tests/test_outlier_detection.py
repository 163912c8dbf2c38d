"""Outlier detection: who fails often in a row gets nothing for a while."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from clusters import Runtime, address, fails, listening, refused, run, running, until
from l4proxy.cluster import Cluster
from l4proxy.connect import ConnectRequest
from l4proxy.endpoint import Endpoint


def cluster_of(runtime: Runtime, *endpoints: str, **options: Any) -> tuple[Cluster, list[Endpoint]]:
    detection = {"consecutive_failures": 3, "base_ejection_time": "50ms", "max_ejection_time": "100ms", **options}
    cluster = runtime.cluster(*endpoints, outlier_detection=detection)
    return cluster, list(cluster.endpoints.current.values())


def fail(endpoint: Endpoint, times: int) -> None:
    for _ in range(times):
        endpoint.report(ok=False)


def test_failures_in_a_row_eject_and_time_brings_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "l4proxy.health")

    async def main() -> None:
        async with running() as runtime:
            cluster, (one, two) = cluster_of(runtime, refused(), refused())
            fail(one, 2)
            one.report(ok=True)
            fail(one, 2)
            assert one.available
            fail(one, 1)
            assert one.ejected
            assert cluster.balancer.endpoints == (two,)
            await until(lambda: not one.ejected)
            assert set(cluster.balancer.endpoints) == {one, two}
            assert one.stats.ejections_total == 1

    run(main)
    assert "is ejected for 0.05 s: 3 failures in a row" in caplog.text
    assert "is back" in caplog.text


def test_each_time_is_longer_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running() as runtime:
            _, (one, _) = cluster_of(runtime, refused(), refused())
            for _ in range(3):
                fail(one, 3)
                assert one.ejected
                await until(lambda: not one.ejected)

    run(main)
    assert [line.split("for ")[1].split(" s")[0] for line in caplog.messages if "is ejected" in line] == [
        "0.05",
        "0.1",
        "0.1",
    ]


def test_only_so_many_are_ejected() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, endpoints = cluster_of(
                runtime, *(refused() for _ in range(4)), max_ejection_percent=50, base_ejection_time="1h"
            )
            for endpoint in endpoints:
                fail(endpoint, 3)
            assert [endpoint.ejected for endpoint in endpoints] == [True, True, False, False]
            assert [endpoint.stats.ejections_overflow_total for endpoint in endpoints] == [0, 0, 1, 1]
            assert len(cluster.balancer.endpoints) == 2

    run(main)


def test_connections_that_fail_are_failures_and_one_that_is_made_is_none() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, (good, bad) = cluster_of(runtime, address(server), refused(), base_ejection_time="1h")
                for _ in range(2):
                    await fails(cluster, ConnectRequest(endpoint=bad))
                assert bad.failures == 2
                await fails(cluster, ConnectRequest(endpoint=bad))
                assert bad.ejected
                fail(good, 2)
                stream, _ = await cluster.open(ConnectRequest(reports=True))
                stream.close()
                assert good.failures == 2, "who asked has not yet said how it went"
                stream, _ = await cluster.open(ConnectRequest())
                stream.close()
                assert good.failures == 0

    run(main)


def test_without_it_failures_are_counted_and_nothing_happens() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoint = next(iter(runtime.cluster(refused()).endpoints.current.values()))
            fail(endpoint, 100)
            assert endpoint.available
            assert endpoint.failures == 100

    run(main)


def test_a_reload_takes_it_away_and_lets_all_back() -> None:
    async def main() -> None:
        async with running() as runtime:
            addresses = refused(), refused()
            cluster, (one, two) = cluster_of(runtime, *addresses, base_ejection_time="1h")
            fail(one, 3)
            assert (one.ejected, two.ejected) == (True, False)
            assert runtime.cluster(*addresses) is cluster
            assert not one.ejected
            assert set(cluster.balancer.endpoints) == {one, two}

    run(main)


def test_one_that_was_removed_is_forgotten() -> None:
    async def main() -> None:
        async with running() as runtime:
            addresses = refused(), refused()
            _, (one, _) = cluster_of(runtime, *addresses, base_ejection_time="1h")
            fail(one, 3)
            cluster_of(runtime, addresses[1], base_ejection_time="1h")
            assert not one.ejected
            fail(one, 3)
            assert not one.ejected, "nobody looks after it any more"

    run(main)
