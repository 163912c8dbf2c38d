"""The health check ``http``: does an endpoint answer a request with the status that it should?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from l4proxy import __version__
from l4proxy.codec import RemoteProtocolError
from l4proxy.config.types import Range
from l4proxy.health_check import HealthCheck, HealthCheckOptions, Unhealthy
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.protocols.http1 import ClientCodec, Data, End, ResponseHead
from l4proxy.protocols.http1.events import Event

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster
    from l4proxy.endpoint import Endpoint

__all__ = ["HttpCheck", "HttpCheckConfig"]

BODY_LIMIT = 64 * 1024
"""Bytes of a body in which ``body`` is looked for."""
READ_SIZE = 16 * 1024


@dataclass(frozen=True, slots=True)
class HttpCheckConfig(HealthCheckOptions):
    path: str = "/"
    """What is asked for, a query included."""
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    """The method."""
    host: str = ""
    """The Host field; empty: the endpoint's own name or address."""
    expected_statuses: tuple[Annotated[int, Range(200, 599)], ...] = ()
    """Statuses of a healthy endpoint; empty: any from 200 to 299."""
    body: str = ""
    """What has to be somewhere in the first 64 KiB of the answer's body; empty: whatever it says."""


class HttpCheck(HealthCheck[HttpCheckConfig]):
    """Does the endpoint answer a request with the right status?

    One request over HTTP/1.1 for each check, on a connection of its own.
    """

    name = "http"
    alpn = ("http/1.1",)

    def __init__(self, config: HttpCheckConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        for option, text in (("path", config.path), ("host", config.host)):
            if not text.isascii() or not text.isprintable() or " " in text:
                raise ValueError(f"{option}: {text!r} cannot stand in a request")
        if not config.path.startswith("/"):
            raise ValueError(f"path: {config.path!r} does not begin with /")
        if config.method == "HEAD" and config.body:
            raise ValueError("body: there is none in an answer to HEAD")

    async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = self.config
        host = config.host or ("localhost" if endpoint.name.startswith("unix:") else endpoint.name)
        writer.write(
            f"{config.method} {config.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: l4proxy/{__version__}\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        wanted, body = config.body.encode(), b""
        async for event in self._answer(reader):
            if isinstance(event, ResponseHead):
                if event.line.status < 200:
                    continue
                self._look_at(event.line.status)
            elif isinstance(event, Data):
                body += event.data
            if wanted in body:
                return
            if isinstance(event, End) or len(body) > BODY_LIMIT:
                raise Unhealthy(f"{config.body!r} is not in its answer")

    async def _answer(self, reader: asyncio.StreamReader) -> AsyncIterator[Event]:
        """What it answers, up to the end; an end that comes too early is an error of the codec's."""
        codec = ClientCodec()
        codec.begin(self.config.method, 0)
        while True:
            data = await reader.read(READ_SIZE)
            try:
                events = codec.receive_data(data)
            except RemoteProtocolError as error:
                raise Unhealthy(f"its answer is not right: {error}") from None
            for event in events:
                yield event
            if not data:
                raise EOFError

    def _look_at(self, status: int) -> None:
        expected = self.config.expected_statuses
        if not (status in expected if expected else 200 <= status < 300):
            raise Unhealthy(f"it answers {self.config.path} with {status}")


@hookimpl
def register_health_checks(register: Register[type[HttpCheck]]) -> None:
    register(HttpCheck)
