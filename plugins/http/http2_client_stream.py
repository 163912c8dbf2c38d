"""A request and its response on a connection to an endpoint over HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.plugins.http.connection import ClientStream, StreamError
from l4proxy.plugins.http.message import ReceivedResponse
from l4proxy.protocols.http2.codes import ErrorCode
from l4proxy.protocols.http2.stream_state import State
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.plugins.http.connection import ResponseSink
    from l4proxy.plugins.http.http2_client import Http2Client
    from l4proxy.plugins.http.message import HttpResponse
    from l4proxy.protocols.http2.fields import ResponseHead
    from l4proxy.protocols.http2.stream import Http2Stream

__all__ = ["Http2ClientStream"]

_CLOSED = int(State.CLOSED)


class Http2ClientStream(ClientStream):
    """A request and its response."""

    __slots__ = ("_connection", "accept", "http2", "sink", "wants_tunnel")

    def __init__(self, connection: Http2Client, sink: ResponseSink) -> None:
        self._connection = connection
        self.sink: ResponseSink | None = sink
        self.http2: Http2Stream | None = None
        """None while it waits to be opened."""
        self.wants_tunnel = False
        self.accept = ""
        """What a WebSocket client expects in the response."""

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        sink, http2 = self.sink, self.http2
        assert sink is not None
        assert http2 is not None
        length = head.content_length
        if not http2.body_allowed or head.status == 304:
            length = 0
        response = ReceivedResponse(head.status, head.block, length, "HTTP/2")
        if self.wants_tunnel:
            if 200 <= head.status < 300 and not end:
                self._agree(response)
            else:
                self._connection.codec.send_data(http2, b"", True)
        if end:
            self._over(http2)
        sink.on_response(response, data, end)

    def _agree(self, response: HttpResponse) -> None:
        response.tunnel = True
        response.content_length = None
        if self.accept:
            response.status = 101
            response.block = FieldBlock((*response.block.fields, ("sec-websocket-accept", self.accept)))

    def pass_on(self, data: bytes, end: bool) -> None:
        sink, http2 = self.sink, self.http2
        assert sink is not None
        assert http2 is not None
        if end:
            self._over(http2)
        sink.on_response_data(data, end)

    def end(self, trailers: FieldBlock) -> None:
        sink, http2 = self.sink, self.http2
        assert sink is not None
        assert http2 is not None
        self._over(http2)
        if trailers.fields:
            sink.on_response_trailers(trailers)
        else:
            sink.on_response_data(b"", True)

    def _over(self, http2: Http2Stream) -> None:
        """The response is complete. What is left of the request nobody wants."""
        self.sink = http2.owner = None
        connection = self._connection
        if http2.state != _CLOSED:
            connection.codec.reset(http2, ErrorCode.NO_ERROR)
        connection.stream_over()

    def send_data(self, data: bytes, end: bool) -> None:
        http2, sink = self.http2, self.sink
        if http2 is None or http2.state == _CLOSED or http2.ends:
            return
        self._connection.codec.send_data(http2, data, end)
        if http2.full and not end and sink is not None:
            sink.on_request_writable(False)
        self._connection.flush_soon()

    def send_trailers(self, trailers: FieldBlock) -> None:
        http2 = self.http2
        if http2 is not None and http2.state != _CLOSED and not http2.ends:
            self._connection.codec.send_trailers(http2, trailers)
            self._connection.flush_soon()

    def reset(self) -> None:
        if self.sink is None:
            return
        self.sink = None
        connection = self._connection
        if self.http2 is not None:
            self.http2.owner = None
            connection.codec.reset(self.http2, ErrorCode.CANCEL)
            connection.flush_soon()
        else:
            connection.forget_upgrade(self)
        connection.stream_over()

    def hold_response(self) -> None:
        if self.http2 is not None:
            self._connection.codec.hold(self.http2)

    def release_response(self) -> None:
        if self.http2 is not None:
            self._connection.codec.release(self.http2)
            self._connection.flush_soon()
            self._connection.stream_over()

    def lose(self, error: StreamError) -> None:
        """The stream is over, and not by us."""
        sink, self.sink = self.sink, None
        if self.http2 is not None:
            self.http2.owner = None
        if sink is not None:
            sink.on_response_reset(error)
