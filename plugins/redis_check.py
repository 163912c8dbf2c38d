"""The health check ``redis``: does an endpoint answer PING?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from l4proxy.health_check import HealthCheck, HealthCheckOptions, Unhealthy
from l4proxy.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint

__all__ = ["RedisCheck"]


class RedisCheck(HealthCheck[HealthCheckOptions]):
    """Does the endpoint answer PING?

    A server that asks for a password is there, and is healthy; one that is loading its data, or has lost its master, is
    not.
    """

    name = "redis"

    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"PING\r\n")
        try:
            answer = (await reader.readuntil(b"\r\n")).rstrip()
        except asyncio.LimitOverrunError:
            raise Unhealthy("it answers PING with a line that has no end") from None
        if answer != b"+PONG" and not answer.startswith((b"-NOAUTH", b"-NOPERM")):
            raise Unhealthy(f"it answers PING with {answer[:100].decode(errors='replace')!r}")


@hookimpl
def register_health_checks(register: Register[type[RedisCheck]]) -> None:
    register(RedisCheck)
