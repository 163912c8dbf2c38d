"""The health check ``tcp``: does an endpoint accept connections, and, where that is asked for, answer as it should?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.health_check import HealthCheck, HealthCheckOptions, Unhealthy
from l4proxy.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster
    from l4proxy.endpoint import Endpoint

__all__ = ["TcpCheck", "TcpCheckConfig"]

ANSWER_LIMIT = 16 * 1024
"""Bytes of an answer in which ``receive`` is looked for."""


@dataclass(frozen=True, slots=True)
class TcpCheckConfig(HealthCheckOptions):
    send: str = ""
    """What to say, such as `"PING\\r\\n"`; nothing is said where this is empty."""
    receive: str = ""
    """What has to be somewhere in the answer; any answer will do, or none, where this is empty."""


class TcpCheck(HealthCheck[TcpCheckConfig]):
    """Does the endpoint accept a connection, and say what is expected?

    `health_check = "tcp"` only connects. A server that speaks first needs no `send`: `receive = "220 "` checks one of
    mail. Texts are sent and looked for as UTF-8.
    """

    name = "tcp"

    def __init__(self, config: TcpCheckConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        if len(config.receive.encode()) > ANSWER_LIMIT:
            raise ValueError(f"receive: no more than {ANSWER_LIMIT} bytes of an answer are looked at")

    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.config.send.encode())
        wanted = self.config.receive.encode()
        answer = b""
        while wanted not in answer:
            if len(answer) >= ANSWER_LIMIT:
                raise Unhealthy(f"{self.config.receive!r} is not in the first {ANSWER_LIMIT} bytes of its answer")
            data = await reader.read(ANSWER_LIMIT)
            if not data:
                raise Unhealthy(f"it has closed the connection, and not said {self.config.receive!r}")
            answer += data


@hookimpl
def register_health_checks(register: Register[type[TcpCheck]]) -> None:
    register(TcpCheck)
