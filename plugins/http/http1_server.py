"""HTTP/1 towards clients: one stream at a time, which is the connection itself.

A pipelined request waits in the codec until the response to the one before it has been sent; while anything waits
there the client is not read. When a response ends the connection takes the next cycle, in a loop and not by recursion,
however many requests came in one read and however quickly they are answered. What comes behind a request for a tunnel
is never read as a request: it is the beginning of the tunnel, or, when there is none, closes the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.http.connection import RequestSink, ServerConnection, ServerHost, ServerStream, StreamError
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.protocols.http1.codec import CHUNKED, UNTIL_CLOSE, ServerCodec
from l4proxy.protocols.http1.errors import reply, violation
from l4proxy.protocols.http1.events import END, Data, End, Event, RequestHead
from l4proxy.protocols.http1.limits import Limits
from l4proxy.protocols.http1.states import State
from l4proxy.protocols.http_fields import EMPTY, FieldBlock
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from l4proxy.timers import Timer

__all__ = ["Http1Server"]

BODY, DONE = State.BODY, State.DONE
EOF = CloseReason("client", "relay", "eof")


class Http1Server(ServerConnection, ServerStream):
    """A client's connection over HTTP/1."""

    __slots__ = ("_busy", "_close", "_draining", "_gone", "_head_timer", "_held", "_host", "_in_cycle",
                 "_last", "_request", "_sink", "_tunnel", "requests", "scheme")  # fmt: skip

    version = "http1"

    def __init__(self, host: ServerHost) -> None:
        limits = host.config.limits
        self._host = host
        self.codec = ServerCodec(
            Limits(max_line=limits.max_line, max_head=limits.max_head, max_fields=limits.max_fields)
        )
        self.scheme = host.scheme
        self.requests = 0
        self._last: int = limits.max_requests_per_connection - 1
        """How many requests there are before the last one that this connection carries; -1: there is no last one."""
        self._request: HttpRequest | None = None
        self._sink: RequestSink | None = None
        self._busy = False
        """A stream is open."""
        self._close = False
        """The response under way says that the connection is closed behind it."""
        self._draining = False
        self._held = False
        """Bytes wait in the codec, so the client is not read."""
        self._in_cycle = False
        self._tunnel = False
        self._gone = False
        self._head_timer: Timer | None = None

    @property
    def idle(self) -> bool:
        return not self._busy and not self.codec.buffered

    # From the client

    def receive(self, data: bytes) -> None:
        codec = self.codec
        if self._busy and codec.passes(len(data)):
            if self._sink is not None:
                self._sink.on_request_data(data, False)
            return
        try:
            events = codec.receive_data(data)
            if events:
                self._take(events)
        except RemoteProtocolError as error:
            self._failed(error)
            return
        if codec.buffer:
            if not self._busy:
                self._head_begun()
            elif not self._held:
                self._held = True
                self._host.hold_client()
                if (request := self._request) is not None and (request.upgrade or request.kind == "CONNECT"):
                    self._close = True  # if it is no tunnel, these bytes are nobody's

    def _head_begun(self) -> None:
        """A part of a head has come: the rest has to follow in time, however slowly the client sends (slowloris)."""
        limit = self._host.config.limits.head_timeout
        if limit and self._head_timer is None:
            requests = self.requests
            self._head_timer = self._host.timers.call_later(limit, lambda: self._head_late(requests))

    def _head_late(self, requests: int) -> None:
        self._head_timer = None
        if self._gone or self._busy or not self.codec.buffered:
            return
        if requests == self.requests:
            text = "head_timeout: the head of the request did not come in time"
            self._failed(RemoteProtocolError(text, code="head_timeout", reply=reply(408, text)))
        else:
            self._head_begun()

    def receive_eof(self) -> None:
        """A client that has ended its side may still wait for the response, for a while; there will be no other
        request."""
        codec = self.codec
        self._draining = True
        if self._tunnel:
            codec.receive_data(b"")
            if self._sink is not None:
                self._sink.on_request_data(b"", True)
            return
        if codec.reading is BODY or (not self._busy and codec.buffered):
            try:
                codec.receive_data(b"")
            except RemoteProtocolError as error:
                self._failed(error)
        elif not self._busy:
            self._host.finish(EOF)
        elif limit := self._host.config.limits.half_close_timeout:
            self._host.timers.call_later(limit, self._half_closed_for_long)

    def _half_closed_for_long(self) -> None:
        """Nothing but sending would tell whether such a client is still there."""
        if self._busy and self.codec.sending is State.IDLE:
            self._host.layer.stats.timeouts_total.add("half_close_timeout")
            self._host.finish(EOF)

    def _take(self, events: list[Event]) -> None:
        first = events[0]
        if type(first) is RequestHead:
            self._begin(first, events)
            return
        sink = self._sink
        last = events[-1]
        for event in events:
            if type(event) is Data:
                if sink is not None and event.data:
                    sink.on_request_data(event.data, last is END and event is events[-2])
            elif type(event) is End and sink is not None and event is not END:
                if event.trailers.fields:
                    sink.on_request_trailers(event.trailers)
                else:
                    sink.on_request_data(b"", True)

    def _begin(self, head: RequestHead, events: list[Event]) -> None:
        line, section = head.line, head.section
        block = section.fields
        if section.underscored and (policy := self._host.config.underscores) != "keep":
            if policy == "reject":
                violation("underscore_in_name")
            block = section.hyphened
        if line.scheme == "https" != self.scheme:
            violation("https_on_plain_port")
        self._close = self._draining or not section.persists or self.requests == self._last
        last = events[-1]
        end = isinstance(last, End)
        tunnel = section.upgrade or line.method == "CONNECT"
        if tunnel and self.codec.buffered:
            self._close = True
        length = None if section.chunked or tunnel else section.content_length or 0
        request = HttpRequest(
            line.method, line.target, block, line.scheme or self.scheme, line.version, length, section.upgrade, head
        )
        if line.authority or (line.version != "HTTP/1.1" and "host" not in block.index):
            request.headers["Host"] = line.authority
        data = b""
        if last is not END or len(events) > 2:
            data = b"".join([event.data for event in events if type(event) is Data])
            if isinstance(last, End) and last.trailers.fields:
                request.trailers = last.trailers
        self._busy = True
        self._request = request
        self.requests += 1
        request.stream = self
        self._sink = self._host.take_request(self, request, data, end and not tunnel)

    def _failed(self, error: RemoteProtocolError) -> None:
        """The client broke the protocol. A response that is under way cannot be followed by another one."""
        sink, self._sink = self._sink, None
        begun = self._busy and self.codec.sending is not State.IDLE
        self._busy = False
        if sink is not None:
            sink.on_request_reset(StreamError("protocol_error", str(error), flag="DPE"))
        if begun:
            error.reply = b""
        self._gone = True
        self._host.protocol_error(error)

    # To the client

    def inform(self, response: HttpResponse) -> None:
        if self._request is None or self._request.version == "HTTP/1.0" or self.codec.sending is not State.IDLE:
            return
        self.codec.interim()
        self._host.write(b"%b%b\r\n" % (_status_line(response), response.block.http1))

    def respond(self, response: HttpResponse, data: bytes, end: bool) -> None:
        request = self._request
        assert request is not None
        if response.tunnel:
            self._switch(response, data)
            return
        length = response.content_length
        framing = b""
        if request.kind == "HEAD" or response.status in (204, 304):
            length = 0
        elif length is None:
            if request.version == "HTTP/1.1":
                length, framing = CHUNKED, b"Transfer-Encoding: chunked\r\n"
            else:
                length = UNTIL_CLOSE
        if end and self.codec.reading is BODY:
            self._close = True  # an early response: what is left of the request is not read
        if self._close or self._draining or length == UNTIL_CLOSE:
            self._close = True
            framing += b"Connection: close\r\n"
        elif request.version == "HTTP/1.0":
            framing += b"Connection: keep-alive\r\n"
        codec = self.codec
        whole = end and length == len(data)
        if whole:
            codec.whole(last=self._close)
        else:
            codec.begin(length, last=self._close)
        head = response.head
        if (
            not framing
            and head is not None
            and response.block is head.section.plain
            and response.added is EMPTY
            and head.line.status == response.status
            and head.line.version == "HTTP/1.1"
        ):
            out = head.raw
        else:
            out = b"%b%b%b%b\r\n" % (_status_line(response), response.block.http1, response.added.http1, framing)
        if whole:
            out += data
        elif length:
            if data:
                out += codec.data(data)
            if end:
                out += codec.end(response.trailers)
        self._host.write(out)
        if end:
            self._response_done()

    def _switch(self, response: HttpResponse, data: bytes) -> None:
        request = self._request
        assert request is not None
        lines = b"%b%b" % (response.block.http1, response.added.http1)
        if request.upgrade:
            lines += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade.encode()
            status = b"HTTP/1.1 101 Switching Protocols\r\n"
        else:
            status = _status_line(response)
        self._tunnel = True
        early = self.codec.switch()
        self._host.write(b"%b%b\r\n%b" % (status, lines, data))
        self._release()
        if early and self._sink is not None:
            self._sink.on_request_data(early, False)

    def send_data(self, data: bytes, end: bool) -> None:
        if self._tunnel:
            if data:
                self._host.write(data)
            if end:
                self._response_done()
            return
        codec = self.codec
        if not end and codec.sends(len(data)):
            self._host.write(data)
            return
        out = codec.data(data) if data else b""
        if end:
            out += codec.end()
        if out:
            self._host.write(out)
        if end:
            self._response_done()

    def send_trailers(self, trailers: FieldBlock) -> None:
        out = self.codec.end(trailers)
        if out:
            self._host.write(out)
        self._response_done()

    def _response_done(self) -> None:
        """The response is complete. When the request is, too, the next one may follow."""
        codec = self.codec
        if self._tunnel:
            self._finish("tunnel_closed")
        elif self._close or not (codec.reading is codec.sending is DONE):
            if codec.reading is not BODY:
                self._finish("connection_close")
        else:
            self._busy = False
            self._sink = self._request = None
            self._host.stream_done()
            if self._in_cycle or self._gone:
                return
            if codec.buffer or self._held or self._draining:
                self._cycle()
            else:
                codec.next_cycle()

    def _finish(self, why: str) -> None:
        self._busy = False
        self._sink = self._request = None
        self._gone = True
        self._host.stream_done()
        self._host.finish(why)

    def _cycle(self) -> None:
        """Begin the next request, if it has come, and so on while they are answered at once."""
        self._in_cycle = True
        codec = self.codec
        try:
            while not self._busy and not self._gone and codec.done:
                events = codec.next_cycle()
                if events:
                    self._take(events)
        except RemoteProtocolError as error:
            self._failed(error)
        finally:
            self._in_cycle = False
        if not self._gone and not (self._busy and codec.buffered):
            self._release()
            if self._draining and not self._busy:
                self._host.finish(EOF)

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._host.release_client()

    def reset(self, error: StreamError) -> None:
        self._busy = False
        self._sink = self._request = None
        self._gone = True
        self._host.abort(error.detail)

    def abandon(self) -> None:
        self._finish("request_not_wanted")

    def hold_request(self) -> None:
        if not self._held:
            self._held = True
            self._host.hold_client()

    def release_request(self) -> None:
        if not self.codec.buffered:
            self._release()

    # From the layer

    def on_writable(self, writable: bool) -> None:
        if self._sink is not None:
            self._sink.on_response_writable(writable)

    @property
    def draining(self) -> bool:
        return self._draining

    def drain(self) -> None:
        self._draining = True
        if not self._busy and not self._gone:
            self._host.finish("drain")

    def closed(self, reason: CloseReason) -> None:
        self._gone = True
        if self._head_timer is not None:
            self._head_timer.cancel()
        sink, self._sink = self._sink, None
        self._busy = False
        if sink is not None:
            sink.on_request_reset(StreamError("client_reset", str(reason), flag="DC"))


def _status_line(response: HttpResponse) -> bytes:
    head = response.head
    if head is not None and head.line.status == response.status and head.line.version == "HTTP/1.1":
        return head.line.raw
    return status_line(response.status, response.reason)


def status_line(status: int, reason: str = "") -> bytes:
    if not reason:
        from http import HTTPStatus

        try:
            reason = HTTPStatus(status).phrase
        except ValueError:
            reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1")
