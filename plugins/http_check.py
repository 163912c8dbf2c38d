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
from l4proxy.protocols.http2 import (
    DataReceived,
    Event,
    Http2Connection,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    error_name,
)
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster
    from l4proxy.endpoint import Endpoint

__all__ = ["HttpCheck", "HttpCheckConfig", "http2_answer"]

BODY_LIMIT = 64 * 1024
"""Bytes of a body in which ``body`` is looked for."""
READ_SIZE = 16 * 1024
_ALPN = {"auto": ("h2", "http/1.1"), "http1": ("http/1.1",), "http2": ("h2",)}
_OTHER_VERSION = {"http1_answer": "http1", "http2_answer": "http2"}
"""What an endpoint speaks that has answered in another version than it was asked in."""


@dataclass(frozen=True, slots=True)
class HttpCheckConfig(HealthCheckOptions):
    path: str = "/"
    """What is asked for, a query included."""
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    """The method."""
    host: str = ""
    """The Host field (`:authority` of HTTP/2); empty: the endpoint's own name or address."""
    expected_statuses: tuple[Annotated[int, Range(200, 599)], ...] = ()
    """Statuses of a healthy endpoint; empty: any from 200 to 299."""
    body: str = ""
    """What has to be somewhere in the first 64 KiB of the answer's body; empty: whatever it says."""
    protocol: Literal["http1", "http2", "auto"] = "auto"
    """What the endpoint speaks; `auto`: HTTP/2 where TLS agrees on it, else HTTP/1, as requests do."""


class HttpCheck(HealthCheck[HttpCheckConfig]):
    """Does the endpoint answer a request with the right status?

    One request for each check, on a connection of its own, over HTTP/1.1 or HTTP/2.
    """

    name = "http"

    def __init__(self, config: HttpCheckConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        self.alpn = _ALPN[config.protocol]
        self._scheme = "http" if cluster.tls is None else "https"
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
        tls = writer.get_extra_info("ssl_object") if config.protocol == "auto" else None
        by_http2 = config.protocol == "http2" or (tls is not None and tls.selected_alpn_protocol() == "h2")
        ask = self._over_http2 if by_http2 else self._over_http1
        wanted, body = config.body.encode(), b""
        async for part in ask(host, reader, writer):
            if isinstance(part, int):
                self._look_at(part)
            else:
                body += part
            if wanted in body:
                return
            if len(body) > BODY_LIMIT:
                break
        raise Unhealthy(f"{config.body!r} is not in its answer")

    async def _over_http1(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> AsyncIterator[int | bytes]:
        """The status of its answer, and the body as it comes; an end that comes too early is an error of the codec."""
        writer.write(
            f"{self.config.method} {self.config.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: l4proxy/{__version__}\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        codec = ClientCodec()
        codec.begin(self.config.method, 0)
        while True:
            data = await reader.read(READ_SIZE)
            try:
                events = codec.receive_data(data)
            except RemoteProtocolError as error:
                raise _not_right(error) from None
            for event in events:
                if isinstance(event, ResponseHead):
                    if event.line.status >= 200:
                        yield event.line.status
                elif isinstance(event, Data):
                    yield event.data
                elif isinstance(event, End):
                    return
            if not data:
                raise EOFError

    async def _over_http2(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> AsyncIterator[int | bytes]:
        """The same, of an endpoint that speaks HTTP/2 from the first byte on."""
        connection = Http2Connection(client=True)
        fields = FieldBlock([("user-agent", f"l4proxy/{__version__}"), ("accept", "*/*")])
        connection.request(self.config.method, self._scheme, self.config.path, host, fields, end=True)
        async for event in http2_answer(connection, reader, writer):
            if isinstance(event, ResponseReceived):
                yield event.head.status
            elif isinstance(event, DataReceived):
                yield event.data

    def _look_at(self, status: int) -> None:
        expected = self.config.expected_statuses
        if not (status in expected if expected else 200 <= status < 300):
            raise Unhealthy(f"it answers {self.config.path} with {status}")


async def http2_answer(
    connection: Http2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[Event]:
    """Send the one request that was made on ``connection``, and yield what its answer brings, up to its end. Raises
    EOFError where that does not come, Unhealthy for an answer that is none."""
    while True:
        writer.write(connection.data_to_send())
        data = await reader.read(READ_SIZE)
        if not data and connection.goaway_received is not None:
            raise _refused("GOAWAY", connection.goaway_received.code)
        if not data:
            raise EOFError
        try:
            events = connection.receive_data(data)
        except RemoteProtocolError as error:
            raise _not_right(error) from None
        for event in events:
            if isinstance(event, StreamReset):
                if event.detail:
                    raise Unhealthy(f"its answer is not right: HTTP/2: {event.message}")
                raise _refused("RST_STREAM" if connection.goaway_received is None else "GOAWAY", event.code)
            yield event
            if isinstance(event, DataReceived):
                connection.consumed(event.stream, event.size)
                ends = event.end
            else:
                ends = isinstance(event, TrailersReceived) or (isinstance(event, ResponseReceived) and event.end)
            if ends:
                return


def _refused(frame: str, code: int) -> Unhealthy:
    return Unhealthy(f"it refuses the request: {frame} with {error_name(code)}")


def _not_right(error: RemoteProtocolError) -> Unhealthy:
    """With what to configure where it is only another version of HTTP that it speaks."""
    version = _OTHER_VERSION.get(error.code)
    return Unhealthy(f"its answer is not right: {error}" + (f': set protocol = "{version}"' if version else ""))


@hookimpl
def register_health_checks(register: Register[type[HttpCheck]]) -> None:
    register(HttpCheck)
