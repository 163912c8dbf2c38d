from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from clusters import Runtime, address, black_hole, config, fails, listening, refused, run, running, until
from l4proxy.address import Address
from l4proxy.cluster import Cluster
from l4proxy.config.schema import Cluster as ClusterConfig
from l4proxy.config.types import Use
from l4proxy.connect import Attempt, ConnectRequest
from l4proxy.discovery import Discovery, Update
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.errors import UpstreamError
from l4proxy.filter import NoConfig
from l4proxy.stream import Stream


class Outcomes:
    """The callbacks of several connections to a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._attempts: list[Attempt] = []
        self.streams: list[Stream] = []
        self.errors: list[UpstreamError] = []

    def connect(self, **request: Any) -> None:
        attempt = self._cluster.connect(ConnectRequest(**request), self._connected, self.errors.append)
        self._attempts.append(attempt)

    def _connected(self, stream: Stream, _endpoint: Endpoint) -> None:
        self.streams.append(stream)

    def close(self) -> None:
        for attempt in self._attempts:
            attempt.cancel()
        for stream in self.streams:
            stream.close()


class Told(Discovery[NoConfig]):
    """Endpoints that a test tells."""

    name = "told"

    def __init__(self, config: NoConfig, cluster: ClusterConfig) -> None:
        super().__init__(config, cluster)
        self.runs = 0
        self.raises: Exception | None = None
        self.update: Update = lambda specs: None

    async def run(self, update: Update) -> None:
        self.runs += 1
        if self.raises is not None:
            raise self.raises
        self.update = update
        await asyncio.Event().wait()


def told(runtime: Runtime, **options: Any) -> tuple[Cluster, Told]:
    """A cluster that knows no endpoint until a test tells it."""
    runtime.configure(replace(config("127.0.0.1:1", **options), discovery=Use("told", NoConfig(), cls=Told)))
    cluster = runtime.clusters.find("c")
    assert isinstance(cluster.discovery, Told)
    return cluster, cluster.discovery


# Limits


def test_connections_beyond_the_limit_wait_for_a_free_one() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=2)
                outcomes = Outcomes(cluster)
                for _ in range(4):
                    outcomes.connect()
                assert len(outcomes.streams) == 2
                assert cluster.stats.connections_pending == 2
                outcomes.streams[0].close()
                await until(lambda: len(outcomes.streams) == 3)
                assert (cluster.stats.connections_pending, cluster.endpoints.open) == (1, 2)
                outcomes.streams[1].close()
                outcomes.streams[2].close()
                await until(lambda: len(outcomes.streams) == 4)
                assert (cluster.stats.connections_pending, cluster.endpoints.open) == (0, 1)
                outcomes.close()
                assert cluster.endpoints.open == cluster.connecting == 0

    run(main)


def test_those_that_are_being_made_count() -> None:
    async def main() -> None:
        with black_hole() as silent:
            async with running() as runtime:
                cluster = runtime.cluster(silent, max_connections=2)
                outcomes = Outcomes(cluster)
                for _ in range(3):
                    outcomes.connect()
                assert (cluster.connecting, cluster.stats.connections_pending) == (2, 1)
                outcomes.close()
                assert (cluster.connecting, cluster.stats.connections_pending) == (0, 0)

    run(main)


def test_a_failed_one_makes_room() -> None:
    async def main() -> None:
        with black_hole() as silent:
            async with running() as runtime:
                cluster = runtime.cluster(silent, max_connections=1)
                outcomes = Outcomes(cluster)
                first = cluster.connect(ConnectRequest(), lambda stream, endpoint: None, lambda error: None)
                outcomes.connect()
                assert cluster.stats.connections_pending == 1
                first.cancel()
                await until(lambda: not cluster.stats.connections_pending)
                assert cluster.connecting == 1
                outcomes.close()

    run(main)


def test_waiting_is_limited_in_time() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=1, connect_timeout="100ms")
                stream, _ = await cluster.open(ConnectRequest())
                error = await fails(cluster)
                assert (error.flag, error.detail) == ("UO", "max_connections")
                assert str(error) == "cluster c: all 1 connections are in use (max_connections)"
                assert cluster.stats.connections_pending == 0
                stream.close()

    run(main)


@pytest.mark.parametrize("pending", [0, 2])
def test_waiting_is_limited_in_number(pending: int) -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=1, max_pending=pending)
                outcomes = Outcomes(cluster)
                for _ in range(1 + pending):
                    outcomes.connect()
                assert not outcomes.errors
                error = await fails(cluster)
                assert (error.flag, error.detail) == ("UO", "max_pending")
                assert cluster.stats.connect_failed_total.values == {"max_pending": 1}
                outcomes.close()

    run(main)


def test_a_waiting_one_can_be_cancelled() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=1)
                stream, _ = await cluster.open(ConnectRequest())
                outcomes = Outcomes(cluster)
                attempt = cluster.connect(ConnectRequest(), outcomes._connected, outcomes.errors.append)
                attempt.cancel()
                assert cluster.stats.connections_pending == 0
                stream.close()
                await asyncio.sleep(0)
                assert not outcomes.streams
                assert not outcomes.errors

    run(main)


def test_a_thousand_that_wait_and_are_refused_do_not_pile_up_on_the_stack() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = told(runtime, max_connections=1)
            await until(lambda: discovery.runs)
            outcomes = Outcomes(cluster)
            for _ in range(1000):
                outcomes.connect()
            discovery.update([EndpointSpec.of_address(Address.parse(refused()))])
            await until(lambda: len(outcomes.errors) == 1000)
            assert {error.detail for error in outcomes.errors} == {"connect_refused"}

    run(main)


# Discovery


def test_connections_wait_for_endpoints_to_be_known() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, discovery = told(runtime)
                outcomes = Outcomes(cluster)
                outcomes.connect()
                await until(lambda: discovery.runs)
                assert not cluster.ready
                assert cluster.stats.connections_pending == 1
                discovery.update([EndpointSpec.of_address(Address.parse(address(server)))])
                assert len(outcomes.streams) == 1
                outcomes.close()

    run(main)


def test_connections_fail_where_there_are_no_endpoints() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = told(runtime)
            await until(lambda: discovery.runs)
            discovery.report("nobody is at home")
            discovery.update([])
            error = await fails(cluster)
            assert (error.flag, error.detail) == ("UH", "no_healthy_upstream")
            assert str(error) == "cluster c has no endpoint: nobody is at home"

    run(main)


def test_filters_are_told_when_endpoints_are_known() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = told(runtime, connect_timeout="100ms")
            await until(lambda: discovery.runs)
            calls: list[str] = []
            cluster.when_ready(lambda: calls.append("late"))
            await until(lambda: calls)
            assert not cluster.ready
            cluster.when_ready(lambda: calls.append("then"))
            discovery.update([])
            assert calls == ["late", "then"]
            cluster.when_ready(lambda: calls.append("now"))
            assert calls == ["late", "then", "now"]
            discovery.update([])
            assert len(calls) == 3

    run(main)


def test_connections_do_not_wait_for_ever() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, _ = told(runtime, connect_timeout="50ms")
            error = await fails(cluster)
            assert (error.flag, error.detail) == ("UH", "no_healthy_upstream")

    run(main)


def test_a_discovery_that_raises_is_shown_and_run_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("l4proxy.cluster.DISCOVERY_PAUSE", 0.01)

    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = told(runtime)
            discovery.raises = RuntimeError("what a day")
            await until(lambda: discovery.runs == 2)
            assert discovery.problem == "RuntimeError: what a day"
            assert "discovery told failed" in caplog.text
            assert not cluster.ready

    with caplog.at_level(logging.ERROR):
        run(main)


def test_the_balancer_is_made_anew_only_when_the_choice_is_another() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = told(runtime)
            await until(lambda: discovery.runs)

            def tell(*ports: int) -> None:
                discovery.update([EndpointSpec.of_address(Address("127.0.0.1", port)) for port in ports])

            tell(1, 2)
            before = cluster.balancer
            tell(2, 1)
            assert cluster.balancer is before
            tell(1, 2, 3)
            assert cluster.balancer is not before
            assert len(cluster.balancer.endpoints) == 3

    run(main)


def test_discovery_is_counted() -> None:
    async def main() -> None:
        async with running() as runtime:
            cluster, discovery = told(runtime)
            for problem in ("", "", "bad", ""):
                discovery.report(problem)
            for _ in range(2):
                cluster.collect()
                assert (cluster.stats.discovery_updates_total, cluster.stats.discovery_failures_total) == (3, 1)

    run(main)


# Anything else


def test_in_any_asyncio_program() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server))
                cluster.endpoints.current[address(server)].targets = tuple(
                    target._replace(loopback=False) for target in cluster.endpoints.current[address(server)].targets
                )
                stream, _ = await cluster.open(ConnectRequest())
                stream.close()
            runtime.poller.close()

    asyncio.run(main())


def test_nothing_stays_open_when_the_server_stops() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster = runtime.cluster(address(server), max_connections=1)
                before = len(runtime.poller)
                stream, _ = await cluster.open(ConnectRequest())
                stream.start()
                outcomes = Outcomes(cluster)
                outcomes.connect()
            assert stream.closed
            assert len(runtime.poller) == before
            assert not outcomes.streams
            assert len(asyncio.all_tasks()) <= 2  # this one, and the one that limits its time

    run(main)
