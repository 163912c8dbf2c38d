"""Health checks at work: which endpoints get connections, and what is said about the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusters import Runtime, address, black_hole, config, fails, listening, refused, run, running, until
from l4proxy.cluster import Cluster
from l4proxy.config.schema import Cluster as ClusterConfig
from l4proxy.config.types import Duration, Use
from l4proxy.connect import ConnectRequest
from l4proxy.endpoint import Endpoint
from l4proxy.errors import ConfigError
from l4proxy.health import AT_A_TIME
from l4proxy.health_check import HealthCheck, HealthCheckOptions, Unhealthy
from services.certs import Certs

FAST = {"interval": "10ms"}


class Told(HealthCheck[HealthCheckOptions]):
    """Does what a test says. It is the test's turn when ``asked`` grows."""

    name = "told"
    failure: BaseException | None = None

    def __init__(self, options: HealthCheckOptions, cluster: ClusterConfig) -> None:
        super().__init__(options, cluster)
        self.asked = 0
        self.failures: list[Exception | None] = []
        """What comes of the next checks, one after the other; ``failure`` behind them."""
        self.running = self.most = 0
        self.hold: asyncio.Event | None = None

    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.hold is not None:
                await self.hold.wait()
            failure = self.failures.pop(0) if self.failures else self.failure
            if failure is not None:
                raise failure
        finally:
            self.running -= 1

    async def times(self, number: int) -> None:
        """Let so many checks begin from now on."""
        wanted = self.asked + number
        await until(lambda: self.asked >= wanted)


OPTIONS = HealthCheckOptions(interval=Duration(0.01), timeout=Duration(5.0))


def told(runtime: Runtime, *endpoints: str, options: HealthCheckOptions = OPTIONS, **more: Any) -> tuple[Cluster, Told]:
    """A cluster whose check is told by the test."""
    made: list[Told] = []

    def make(options: HealthCheckOptions, cluster: ClusterConfig) -> Told:
        made.append(Told(options, cluster))
        return made[-1]

    runtime.configure(replace(config(*endpoints, **more), health_check=Use("told", options, cls=make)))
    return runtime.clusters.find("c"), made[-1]


def only(cluster: Cluster) -> Endpoint:
    (endpoint,) = cluster.endpoints.current.values()
    return endpoint


async def chosen(cluster: Cluster) -> set[str]:
    """Where eight connections go."""
    names = set()
    for _ in range(8):
        stream, endpoint = await cluster.open(ConnectRequest())
        stream.close()
        names.add(endpoint.name)
    return names


def test_the_first_check_decides_alone_and_then_it_takes_several() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, check = told(runtime, address(server), options=replace(OPTIONS, unhealthy_threshold=3))
                endpoint = only(cluster)
                assert endpoint.available, "nobody knows yet"
                check.failure = Unhealthy("it is tired")
                await until(lambda: endpoint.health_problem == "it is tired")
                assert endpoint.stats.health_checks_total.values == {"failed": 1}
                check.failure = None
                await until(lambda: endpoint.available)
                assert endpoint.stats.health_checks_total["passed"] == 2
                check.failure = Unhealthy("again")
                await until(lambda: not endpoint.available)
                assert endpoint.stats.health_checks_total["failed"] == 4
                assert endpoint.stats.unhealthy_total == 2

    run(main)


def test_a_streak_that_breaks_begins_anew() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, check = told(runtime, address(server), options=replace(OPTIONS, unhealthy_threshold=2))
                check.failures = [None, *[Unhealthy("once"), None] * 3]
                await until(lambda: not check.failures)
                await check.times(1)
                assert only(cluster).stats.health_checks_total["failed"] == 3
                assert only(cluster).stats.unhealthy_total == 0

    run(main)


def test_connections_go_to_those_that_are_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "l4proxy.health")

    async def main() -> None:
        with listening() as one, listening() as two:
            gone = refused()
            async with running() as runtime:
                cluster = runtime.cluster(
                    address(one), gone, address(two), health_check={"use": "tcp", **FAST}, max_connections=8
                )
                await until(lambda: not cluster.endpoints.current[gone].available)
                assert await chosen(cluster) == {address(one), address(two)}
                assert cluster.stats.connect_failed_total.values == {}, "a check is no connection of the cluster"

    run(main)
    assert "is unhealthy: Connection refused" in caplog.text


def test_with_few_left_all_are_used_and_with_none_left_nothing_is() -> None:
    async def main() -> None:
        with listening() as server:
            gone = [refused(), refused()]
            async with running() as runtime:
                check = {"use": "tcp", **FAST}
                cluster = runtime.cluster(address(server), *gone, health_check=check, panic_threshold=0)
                await until(lambda: sum(one.available for one in cluster.endpoints.current.values()) == 1)
                assert await chosen(cluster) == {address(server)}
                cluster = runtime.cluster(address(server), *gone, health_check=check, panic_threshold=50)
                assert len(cluster.balancer.endpoints) == 3
                cluster = runtime.cluster(*gone, health_check=check, panic_threshold=0)
                await until(lambda: not cluster.balancer.endpoints)
                error = await fails(cluster)
                assert (error.flag, error.detail) == ("UH", "no_healthy_upstream")
                assert "2 are unhealthy" in str(error)

    run(main)


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        (Unhealthy(), "it is unhealthy"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (ValueError("no number"), "no number"),
        (asyncio.IncompleteReadError(b"", 4), "it closed the connection before it had answered"),
    ],
)
def test_what_is_wrong_is_said(failure: Exception, problem: str) -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, check = told(runtime, address(server))
                check.failure = failure
                await until(lambda: only(cluster).health_problem == problem)

    run(main)


def test_a_check_that_is_broken_is_logged_and_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, check = told(runtime, address(server))
                check.failure = ZeroDivisionError("a mistake")
                await until(lambda: only(cluster).health_problem == "the check told raised ZeroDivisionError")

    run(main)
    assert "cluster c: the health check told failed" in caplog.text
    assert "a mistake" in caplog.text


def test_an_endpoint_that_says_nothing_has_failed() -> None:
    async def main() -> None:
        with black_hole() as silent, listening() as server:
            async with running() as runtime:
                options = replace(OPTIONS, timeout=Duration(0.05))
                cluster, _ = told(runtime, silent, options=options)
                await until(lambda: only(cluster).health_problem == "no answer within 0.05 s")
                cluster, check = told(runtime, address(server), options=options)
                check.hold = asyncio.Event()
                await until(lambda: only(cluster).health_problem == "no answer within 0.05 s")

    run(main)


def test_checks_are_limited_in_number() -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(listening()) for _ in range(AT_A_TIME + 10)]
            async with running() as runtime:
                _, check = told(runtime, *map(address, servers))
                check.hold = asyncio.Event()
                await until(lambda: check.running == AT_A_TIME)
                check.hold.set()
                await until(lambda: check.asked >= AT_A_TIME + 10)
                assert check.most == AT_A_TIME

    run(main)


def test_a_reload_changes_the_check_and_keeps_what_is_known() -> None:
    async def main() -> None:
        with listening() as server:
            async with running() as runtime:
                cluster, check = told(runtime, address(server))
                check.failure = Unhealthy("ill")
                endpoint = only(cluster)
                await until(lambda: not endpoint.available)
                _, new = told(runtime, address(server))
                assert (only(cluster), endpoint.available) == (endpoint, False)
                await until(lambda: endpoint.available)
                assert new.asked
                new.failure = Unhealthy("ill")
                await until(lambda: not endpoint.available)
                runtime.cluster(address(server))
                assert endpoint.available, "nobody checks it any more"
                assert cluster.balancer.endpoints == (endpoint,)

    run(main)


def watchers() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "Health._watch" in repr(task)]


def test_endpoints_that_are_gone_are_not_checked() -> None:
    async def main() -> None:
        with listening() as one, listening() as two:
            async with running() as runtime:
                told(runtime, address(one), address(two))
                assert len(watchers()) == 2
                told(runtime, address(one))
                await until(lambda: len(watchers()) == 1)
                runtime.clusters.prepare(()).apply()
                await until(lambda: not watchers())

    run(main)


@contextlib.asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"hello\r\n")
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield address(server.sockets[0])


@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        ({}, ""),
        ({"sans": ["localhost"]}, ""),
        ({"server_name": "elsewhere.test"}, "mismatch"),
        ({"sans": ["elsewhere.test"]}, "none of the names asked for"),
        ({"ca": None}, "unable to get local issuer certificate"),
    ],
)
def test_tls_is_checked_as_connections_check_it(certs: Certs, tls: dict[str, Any], problem: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs.server.cert, certs.server.key)
    options = {key: value for key, value in {"ca": str(certs.ca), **tls}.items() if value is not None}

    async def main() -> None:
        async with tls_server(context) as server, running() as runtime:
            check = {"use": "tcp", "receive": "hello", **FAST}
            cluster = runtime.cluster(server, tls=options, health_check=check)
            endpoint = only(cluster)
            await until(lambda: endpoint.stats.health_checks_total.values)
            assert problem in endpoint.health_problem
            assert bool(problem) == bool(endpoint.health_problem)

    run(main)


def test_a_unix_socket_is_checked_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_unix_server(serve, tmp_path / "s"), running() as runtime:
            cluster = runtime.cluster(f"unix:{tmp_path}/s", health_check={"use": "tcp", **FAST})
            await until(lambda: only(cluster).stats.health_checks_total["passed"])
            cluster = runtime.cluster(f"unix:{tmp_path}/none", health_check={"use": "tcp", **FAST})
            await until(lambda: only(cluster).health_problem == "No such file or directory")

    run(main)


@pytest.mark.parametrize("option", [{"health_check": "tcp"}, {"outlier_detection": {}}])
def test_endpoints_that_connections_choose_cannot_be_checked(option: dict[str, Any]) -> None:
    async def main() -> None:
        async with running() as runtime:
            with pytest.raises(ConfigError, match=rf"clusters\[0\].{next(iter(option))}: .*original_dst are chosen"):
                runtime.cluster(discovery="original_dst", **option)

    run(main)
