"""What tests of health checks share: one check of one endpoint that a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from clusters import run, running, until
from proxying import HOST, server

TALKS = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = "300ms"


def problem_at(where: str, check: dict[str, Any], **cluster: Any) -> str:
    """What the first check of an endpoint finds to be wrong with it; nothing when it is well."""
    return run(lambda: _first_problem(where, check, **cluster))


def problem_of(check: dict[str, Any], talk: TALKS) -> str:
    """The same of an endpoint that talks like this, and then closes."""

    async def main() -> str:
        async with server(talk) as port:
            return await _first_problem(f"{HOST}:{port}", check)

    return run(main)


async def _first_problem(where: str, check: dict[str, Any], **cluster: Any) -> str:
    async with running() as runtime:
        made = runtime.cluster(where, health_check={"interval": "1h", "timeout": TIMEOUT, **check}, **cluster)
        (endpoint,) = made.endpoints.current.values()
        await until(lambda: endpoint.stats.health_checks_total.values)
        return endpoint.health_problem
