"""What tests of health checks share: one check of one endpoint that a test plays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from clusters import address, run, running, until

TALKS = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = "300ms"


def problem_at(where: str, check: dict[str, Any], **cluster: Any) -> str:
    """What the first check of an endpoint finds to be wrong with it; nothing when it is well."""

    async def main() -> str:
        async with running() as runtime:
            made = runtime.cluster(where, health_check={"interval": "1h", "timeout": TIMEOUT, **check}, **cluster)
            (endpoint,) = made.endpoints.current.values()
            await until(lambda: endpoint.stats.health_checks_total.values)
            return endpoint.health_problem

    return run(main)


def problem_of(check: dict[str, Any], talk: TALKS) -> str:
    """The same of an endpoint that talks like this, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    async def main() -> str:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, running() as runtime:
            options = {"interval": "1h", "timeout": TIMEOUT, **check}
            made = runtime.cluster(address(server.sockets[0]), health_check=options)
            (endpoint,) = made.endpoints.current.values()
            await until(lambda: endpoint.stats.health_checks_total.values)
            return endpoint.health_problem

    return run(main)
