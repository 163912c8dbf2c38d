"""HTTP/1 towards endpoints: one stream at a time, which is the connection itself.

A connection can be used again only when both messages are over, in whichever order they end: an endpoint may answer,
and be done, before the request's body is. It is given back (``_free``) before the last of a response is passed on, so
that whoever takes it may ask again at once; from then on the next request may be on it already, and nothing behind that
call may look at what belongs to the last one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.http.connection import ClientConnection, ClientHost, ClientStream, ResponseSink, StreamError
from l4proxy.plugins.http.message import HttpRequest, ReceivedResponse
from l4proxy.plugins.http.versions import explained
from l4proxy.protocols.http1.codec import CHUNKED, ClientCodec
from l4proxy.protocols.http1.events import END, Data, End, Event, ResponseHead
from l4proxy.protocols.http1.limits import Limits
from l4proxy.protocols.http1.states import State
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l4proxy.endpoint import Endpoint
    from l4proxy.stream import Stream

__all__ = ["Http1Client"]

log = logging.getLogger("l4proxy.http")

LIMITS = Limits(max_head=80 * 1024)
"""As in Envoy, an endpoint may say a little more than a client."""
BODY, DONE = State.BODY, State.DONE
RESPONSE = 32
"""Why an endpoint is not read: nobody takes the response."""


class Http1Client(ClientConnection, ClientStream):
    """A connection to an endpoint over HTTP/1."""

    __slots__ = ("_draining", "_gone", "_held", "_host", "_sink", "_tunnel", "capacity", "codec", "endpoint",
                 "peer", "requests", "requests_seen", "stream")  # fmt: skip

    version = "http1"
    most = 1

    def __init__(self, stream: Stream, endpoint: Endpoint, host: ClientHost) -> None:
        self.stream = stream
        self.endpoint = endpoint
        self._host = host
        self.codec = ClientCodec(LIMITS)
        self._sink: ResponseSink | None = None
        self._draining = False
        self._gone = False
        self._tunnel = False
        self._held = False
        self.capacity: int = 1
        self.requests = 0
        self.requests_seen = -1
        stream.on_data = self._receive
        stream.on_eof = self._ended
        stream.on_lost = self._lost
        stream.on_writable = self._writable
        stream.start()

    @property
    def active(self) -> int:
        return 0 if self._sink is None else 1

    # To the endpoint

    def request(self, request: HttpRequest, data: bytes, end: bool, sink: ResponseSink) -> ClientStream:
        codec, head = self.codec, request.head
        if self.requests:
            codec.next_cycle()
        self.requests += 1
        self.capacity = 0
        self._sink = sink
        self._tunnel = False
        framing = b""
        upgrade = request.upgrade
        length = request.content_length
        if upgrade:
            length, framing = 0, b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade.encode()
        elif request.kind == "CONNECT":
            length = 0
        elif length is None:
            length, framing = CHUNKED, b"Transfer-Encoding: chunked\r\n"
        codec.begin(request.kind, length, upgrade=bool(upgrade))
        if (
            head is not None
            and head.line.target is request.target
            and head.line.method is request.kind
            and head.line.version == "HTTP/1.1"
        ):
            line = head.line.raw
        else:
            target = request.target or request.authority
            line = f"{request.kind} {target} HTTP/1.1\r\n".encode("latin-1")
        block, added = request.block, request.added
        out = b"%b%b%b%b\r\n" % (line, block.made_http1 or block.http1, added.made_http1 or added.http1, framing)
        if length:
            if data:
                out += codec.data(data)
            if end:
                out += codec.end(request.trailers)
        self.stream.write_soon(out)
        return self

    def send_data(self, data: bytes, end: bool) -> None:
        codec = self.codec
        if self._tunnel:
            if data:
                self.stream.write(data)
            if end:
                self.stream.write_eof()
            return
        if not end and codec.sends(len(data)):
            self.stream.write(data)
            return
        out = codec.data(data) if data else b""
        if end:
            out += codec.end()
        if out:
            self.stream.write_soon(out)
        if end:
            self._check_done()

    def send_trailers(self, trailers: FieldBlock) -> None:
        out = self.codec.end(trailers)
        if out:
            self.stream.write_soon(out)
        self._check_done()

    def reset(self) -> None:
        if self._sink is not None:
            self._sink = None
            self._close()

    def hold_response(self) -> None:
        self._held = True
        self.stream.hold_reading(RESPONSE)

    def release_response(self) -> None:
        self._held = False
        self.stream.release_reading(RESPONSE)

    def _writable(self, writable: bool) -> None:
        if self._sink is not None:
            self._sink.on_request_writable(writable)

    # From the endpoint

    def _receive(self, data: bytes) -> None:
        sink = self._sink
        codec = self.codec
        if codec.reading is BODY and sink is not None and codec.passes(len(data)):
            sink.on_response_data(data, False)
            return
        if sink is not None and (whole := codec.receive_whole(data)) is not None:
            head, data = whole
            line = head.line
            try:
                if codec.sending is DONE:
                    self._free()
                response = ReceivedResponse(
                    line.status, head.section.fields, head.content_length, line.version, line.reason, head
                )
                sink.on_response(response, data, True)
            except Exception:
                self._failed(sink)
            return
        try:
            events = codec.receive_data(data)
        except RemoteProtocolError as error:
            self._sink = None
            self._close()
            if sink is not None:
                sink.on_response_reset(StreamError(error.code, explained(error), flag="UPE"))
            return
        if not events:
            return
        if sink is None:
            self._close()
            return
        try:
            first = events[0]
            if type(first) is ResponseHead:
                while first.line.status < 200 and not first.tunnel:
                    sink.on_informational(_response(first))
                    del events[0]
                    if not events or self._sink is not sink:
                        return
                    first = events[0]
                    assert type(first) is ResponseHead
                self._head(first, events, sink)
            else:
                self._rest(events, sink)
        except Exception:
            self._failed(sink)

    def _failed(self, sink: ResponseSink) -> None:
        """A mistake in this program, or in a plugin: nobody is to wait for what never comes."""
        log.exception("what took a response of %s failed", self.endpoint.name)
        if self._sink is None or self._sink is sink:  # it may be somebody else's already
            self._sink = None
            self._close()
        sink.on_response_reset(StreamError("internal_error", "an internal error, which is in the log"))

    def _head(self, head: ResponseHead, events: Sequence[Event], sink: ResponseSink) -> None:
        if head.tunnel:
            self._tunnel = True
            data = self.codec.switch()
            response = _response(head)
            response.tunnel = True
            sink.on_response(response, data, False)
            return
        last = events[-1]
        count = len(events)
        data = b""
        if count > 1:
            second = events[1]
            if type(second) is Data:
                data = second.data if count < 4 else b"".join([one.data for one in events if type(one) is Data])
        response = _response(head)
        if type(last) is not End:
            sink.on_response(response, data, False)
            return
        if last is not END:
            response.trailers = last.trailers
        if self.codec.sending is DONE:
            self._free()
        sink.on_response(response, data, True)

    def _rest(self, events: Sequence[Event], sink: ResponseSink) -> None:
        last = events[-1]
        end = type(last) is End
        trailers = last.trailers if type(last) is End else EMPTY
        pieces = [event.data for event in events if type(event) is Data and event.data]
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if trailers.fields and data:
            sink.on_response_data(data, False)
            if self._sink is not sink:  # it has given up
                return
        if end and self.codec.sending is DONE:
            self._free()
        if trailers.fields:
            sink.on_response_trailers(trailers)
        elif data or end:
            sink.on_response_data(data, end)

    def _check_done(self) -> None:
        """The request has ended; so may have the response, before it."""
        if self._sink is not None and self.codec.reading in (DONE, State.MUST_CLOSE):
            self._free()

    def _free(self) -> None:
        """Both messages are over."""
        self._sink = None
        if self._held:
            self.release_response()
        codec = self.codec
        if codec.reading is codec.sending is DONE and not self._draining and not self._gone:
            self.capacity = 1
            self._host.on_capacity(self)
        else:
            self._close()

    def _ended(self) -> None:
        sink = self._sink
        if self._tunnel:
            if sink is not None:
                sink.on_response_data(b"", True)
            return
        if sink is None:
            self._close()
            return
        try:
            events = self.codec.receive_data(b"")
        except RemoteProtocolError as error:
            self._sink = None
            self._close()
            sink.on_response_reset(StreamError(_how_far(self.codec), str(error)))
            return
        if events:
            self._rest(events, sink)
        else:
            self._sink = None
            self._close()
            sink.on_response_reset(StreamError("connection_closed", "the endpoint closed the connection"))

    def _lost(self, error: OSError) -> None:
        sink, self._sink = self._sink, None
        self._close()
        if sink is not None:
            sink.on_response_reset(StreamError("connection_reset", str(error)))

    # From the pool

    def drain(self) -> None:
        self._draining = True
        self.capacity = 0
        if self._sink is None:
            self._close()

    def close(self) -> None:
        self._lost(ConnectionAbortedError("closed"))

    def _close(self) -> None:
        if not self._gone:
            self._gone = True
            self.capacity = 0
            self.stream.close()
            self._host.on_gone(self)


def _how_far(codec: ClientCodec) -> str:
    return "response_cut_short" if codec.reading is State.ERROR else "connection_closed"


def _response(head: ResponseHead) -> ReceivedResponse:
    line = head.line
    return ReceivedResponse(line.status, head.section.fields, head.content_length, line.version, line.reason, head)
