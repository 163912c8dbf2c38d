"""Tunnels to endpoints: what a client asks for with CONNECT. There is no HTTP on such a connection, only the client's
bytes and the endpoint's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.plugins.http.connection import ClientConnection, ClientHost, ClientStream, ResponseSink, StreamError
from l4proxy.plugins.http.http1_client import RESPONSE
from l4proxy.plugins.http.message import HttpRequest, ReceivedResponse
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.stream import Stream

__all__ = ["TunnelClient"]


class TunnelClient(ClientConnection, ClientStream):
    """A connection that is one tunnel. That it is connected is the response."""

    __slots__ = ("_gone", "_host", "_sink", "endpoint", "peer", "requests", "requests_seen", "stream")

    version = "tunnel"
    most = 1

    def __init__(self, stream: Stream, endpoint: Endpoint, host: ClientHost) -> None:
        self.stream = stream
        self.endpoint = endpoint
        self._host = host
        self._sink: ResponseSink | None = None
        self._gone = False
        self.requests = 0
        self.requests_seen = -1
        stream.on_data = self._receive
        stream.on_eof = self._ended
        stream.on_lost = self._lost
        stream.on_writable = self._writable

    @property
    def capacity(self) -> int:
        return 0 if self.requests or self._gone else 1

    @property
    def active(self) -> int:
        return 0 if self._sink is None else 1

    # To the endpoint

    def request(self, request: HttpRequest, data: bytes, end: bool, sink: ResponseSink) -> ClientStream:
        self.requests = 1
        self._sink = sink
        response = ReceivedResponse(200, EMPTY, None, reason="Connection Established")
        response.tunnel = True
        sink.on_response(response, b"", False)
        if not self._gone:
            self.stream.start()
            if data:
                self.stream.write(data)
        return self

    def send_data(self, data: bytes, end: bool) -> None:
        if data:
            self.stream.write(data)
        if end:
            self.stream.write_eof()

    def send_trailers(self, trailers: FieldBlock) -> None:
        self.send_data(b"", True)

    def reset(self) -> None:
        self._sink = None
        self._close()

    def hold_response(self) -> None:
        self.stream.hold_reading(RESPONSE)

    def release_response(self) -> None:
        self.stream.release_reading(RESPONSE)

    def _writable(self, writable: bool) -> None:
        if self._sink is not None:
            self._sink.on_request_writable(writable)

    # From the endpoint

    def _receive(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.on_response_data(data, False)

    def _ended(self) -> None:
        if self._sink is not None:
            self._sink.on_response_data(b"", True)

    def _lost(self, error: OSError) -> None:
        sink, self._sink = self._sink, None
        self._close()
        if sink is not None:
            sink.on_response_reset(StreamError("connection_reset", str(error)))

    # From the pool

    def drain(self) -> None:
        if self._sink is None:
            self._close()

    def close(self) -> None:
        self._lost(ConnectionAbortedError("closed"))

    def _close(self) -> None:
        if not self._gone:
            self._gone = True
            self.stream.close()
            self._host.on_gone(self)
