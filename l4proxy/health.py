"""Runs a cluster's health checks: a task for each endpoint, for as long as it is there.

The connections of checks are no connections of the cluster: they count in none of its statistics and none of its
limits, so that a check does not fail because the cluster is busy.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from l4proxy.dial import connect_failure
from l4proxy.endpoint import Target
from l4proxy.errors import UpstreamError
from l4proxy.health_check import Unhealthy
from l4proxy.logging_setup import once_per
from l4proxy.tls.failures import HandshakeFailed, explain

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.health_check import HealthCheck
    from l4proxy.tls import ClientTlsContext

__all__ = ["Health"]

log = logging.getLogger("l4proxy.health")

AT_A_TIME = 64
"""Checks of one cluster that may run at the same time."""
JITTER = 0.1
"""How much longer or shorter an interval may be, so that checks do not stay in step."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Health:
    """The health of a cluster's endpoints, as its check finds it."""

    def __init__(self, cluster: str, on_changed: Callable[[], object]) -> None:
        """``on_changed`` is called when an endpoint is to get new connections, or is not to get any more."""
        self._cluster = cluster
        self._on_changed = on_changed
        self._check: HealthCheck[Any] | None = None
        self._tls: ClientTlsContext | None = None
        self._source: Target | None = None
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_A_TIME)

    def use(self, check: HealthCheck[Any] | None, tls: ClientTlsContext | None, source: Target | None) -> None:
        """From now on check in this way. What is known of the endpoints stays, unless there is no check any more."""
        self._check, self._tls, self._source = check, tls, source

    def follow(self, endpoints: Collection[Endpoint]) -> None:
        """Check these endpoints and no others."""
        wanted = frozenset(endpoints) if self._check is not None else frozenset()
        for endpoint in self._tasks.keys() - wanted:
            self._tasks.pop(endpoint).cancel()
            endpoint.health_problem = ""
        for endpoint in wanted:
            if endpoint not in self._tasks:
                self._tasks[endpoint] = asyncio.get_running_loop().create_task(self._watch(endpoint))

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        self.follow(())
        if tasks:
            await asyncio.wait(tasks)

    # One endpoint

    async def _watch(self, endpoint: Endpoint) -> None:
        known = False
        streak = 0  # checks in a row that contradict what the endpoint is taken for
        while (check := self._check) is not None:
            problem = await self._problem_of(endpoint, check)
            endpoint.stats.health_checks_total.add("failed" if problem else "passed")
            options = check.config
            threshold = options.unhealthy_threshold if problem else options.healthy_threshold
            streak = 0 if bool(problem) == bool(endpoint.health_problem) else streak + 1
            if streak and (streak >= threshold or not known):
                streak = 0
                self._change(endpoint, problem)
            elif problem and endpoint.health_problem:
                endpoint.health_problem = problem
            known = True
            await asyncio.sleep(options.interval * random.uniform(1 - JITTER, 1 + JITTER))

    def _change(self, endpoint: Endpoint, problem: str) -> None:
        endpoint.health_problem = problem
        if problem:
            endpoint.stats.unhealthy_total += 1
            log.warning("cluster %s: endpoint %s is unhealthy: %s", self._cluster, endpoint.name, problem)
        else:
            log.info("cluster %s: endpoint %s is healthy again", self._cluster, endpoint.name)
        self._on_changed()

    async def _problem_of(self, endpoint: Endpoint, check: HealthCheck[Any]) -> str:
        """Check an endpoint once. Returns what is wrong with it, for people, or nothing."""
        limit = check.config.timeout
        async with self._places:
            try:
                async with asyncio.timeout(limit):
                    reader, writer = await self._connect(endpoint)
                    try:
                        await check.check(endpoint, reader, writer)
                    finally:
                        writer.transport.abort()
            except TimeoutError:
                return f"no answer within {limit:g} s"
            except EOFError:
                return "it closed the connection before it had answered"
            except (Unhealthy, UpstreamError, HandshakeFailed) as error:
                return str(error) or "it is unhealthy"
            except (OSError, ValueError) as error:
                return _words(error)
            except Exception as error:
                if once_per(60, f"health check {check.name}"):
                    log.exception("cluster %s: the health check %s failed", self._cluster, check.name)
                return f"the check {check.name} raised {type(error).__name__}"
        return ""

    async def _connect(self, endpoint: Endpoint) -> Streams:
        """To the first of its addresses that accepts."""
        failure = connect_failure(0)
        for target in endpoint.targets:
            try:
                return await self._connect_to(target, endpoint.hostname)
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = connect_failure(error.errno or 0)
        raise failure

    async def _connect_to(self, target: Target, hostname: str) -> Streams:
        options: dict[str, Any] = {}
        if isinstance(target.sockaddr, str):
            if self._tls is not None:
                options = self._tls.asyncio_options(hostname)
            reader, writer = await asyncio.open_unix_connection(target.sockaddr, **options)
        else:
            host, port = target.sockaddr
            if self._tls is not None:
                options = self._tls.asyncio_options(hostname or host)
            if self._source is not None and self._source.family == target.family:
                options["local_addr"] = self._source.sockaddr
            reader, writer = await asyncio.open_connection(host, port, **options)
        if self._tls is not None:
            try:
                self._tls.approve(writer.get_extra_info("ssl_object"))
            except Exception:
                writer.transport.abort()
                raise
        return reader, writer


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return explain(error, "tls_")[1]
    return getattr(error, "strerror", "") or str(error) or type(error).__name__
