"""HTTP/2 towards clients: a stream for each request, and one write for all that a turn of the loop has to say.

The codec knows the protocol; what is left to do here is to give each request an exchange, to pass on who may send and
who shall wait, and to collect what is written. Neither reading nor writing goes by the request: a read brings many, and
whatever is answered until the turn ends leaves together.

A client that does not read is not read: at the socket's high watermark nothing more is taken from it, so that whatever
its frames make us answer stays bounded. Bodies wait in their streams, where each stops its own endpoint.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.http.connection import RequestSink, ServerConnection, ServerHost, ServerStream, StreamError
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.protocols.http2.codes import ErrorCode
from l4proxy.protocols.http2.connection import Http2Connection, Http2Error
from l4proxy.protocols.http2.events import (
    DataReceived,
    Event,
    RequestReceived,
    StreamRefused,
    StreamReset,
    TrailersReceived,
)
from l4proxy.protocols.http2.stream_state import State
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.plugins.http.http2_shared import Http2Shared
    from l4proxy.protocols.http2.stream import Http2Stream
    from l4proxy.reason import CloseReason
    from l4proxy.timers import Timer

__all__ = ["Http2Server"]

_TICK = 1.0
"""Seconds between two looks at the time limits, as long as there is one to look at."""
_monotonic = time.monotonic
_CLOSED = int(State.CLOSED)
_HALF_CLOSED_REMOTE = int(State.HALF_CLOSED_REMOTE)


class Http2Server(ServerConnection):
    """A client's connection over HTTP/2."""

    __slots__ = ("_age_timer", "_blocked", "_codec", "_defer", "_draining", "_eof", "_flushing", "_gone",
                 "_host", "_looked", "_scheme", "_shared", "_timer", "counts_streams")  # fmt: skip

    version = "http2"

    def __init__(self, host: ServerHost, shared: Http2Shared) -> None:
        self._host = host
        self._shared = shared
        self._codec = Http2Connection(limits=shared.limits)
        self._defer = shared.defer
        self._scheme = host.scheme
        self._blocked = False
        self._draining = False
        self._eof = False
        self._flushing = False
        self._gone = False
        self._looked = 0.0
        self.counts_streams = host.config.limits.max_requests_per_connection > 0
        """Whether somebody wants to know of each stream that is over."""
        self._timer: Timer | None = None
        self._age_timer: Timer | None = None
        if shared.options.max_connection_age:
            self._age_timer = host.timers.call_later(shared.options.max_connection_age, self.drain)
        self._flush_soon()

    @property
    def idle(self) -> bool:
        return not self._codec.streams

    @property
    def draining(self) -> bool:
        return self._draining or self._codec.ending

    # From the client

    def receive(self, data: bytes) -> None:
        if self._gone:
            return
        codec = self._codec
        now = _monotonic()
        try:
            if now - self._looked > _TICK:
                self._looked = now
                self._take_all(codec.at(now))
            events = codec.receive_data(data)
        except RemoteProtocolError as error:
            self._failed(error)
            return
        for event in events:
            if type(event) is RequestReceived:
                if event.stream.state != _CLOSED:
                    self._begin(event)
            else:
                self._take(event)
        if not self._flushing and (codec.has_output or self._draining or codec.ending):
            self._flush_soon()
        if self._timer is None and codec.waiting:
            self._timer = self._host.timers.call_later(_TICK, self._tick)

    def _begin(self, event: RequestReceived) -> None:
        head, end = event.head, event.end
        block = head.block
        if head.underscored and (policy := self._host.config.underscores) != "keep":
            if policy == "reject":
                self._shared.stats.stream_errors_total.add("underscore_in_name")
                self._codec.reset(event.stream, ErrorCode.PROTOCOL_ERROR)
                return
            block = head.without_underscores
        length = head.content_length
        if length is None and end:
            length = 0
        method, upgrade = head.method, head.protocol
        request = HttpRequest(method, head.target, block, self._scheme, "HTTP/2", length, upgrade)
        stream = request.stream = event.stream.owner = _Stream(self, event.stream)
        if upgrade or method == "CONNECT":
            stream.early, stream.tunnel = [], True
            end = False
            if upgrade:
                self._shared.as_upgrade(request)
        elif length == 0 and not end:
            stream.whole = end = True
        sink = self._host.take_request(stream, request, b"", end)
        if not stream.over:
            stream.sink = sink

    def _take_all(self, events: list[Event]) -> None:
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        kind = type(event)
        if kind is DataReceived:
            self._on_data(event)  # type: ignore[arg-type]
        elif kind is TrailersReceived:
            owner: _Stream | None = event.stream.owner  # type: ignore[union-attr]
            if owner is not None and owner.tunnel:  # which has an end, and no place for trailers
                owner.take(b"", 0, True)
            elif owner is not None and owner.sink is not None and not owner.whole:
                owner.sink.on_request_trailers(event.trailers)  # type: ignore[union-attr]
        elif kind is StreamReset:
            self._on_reset(event)  # type: ignore[arg-type]
        elif kind is StreamRefused:
            self._shared.stats.stream_errors_total.add(event.detail)  # type: ignore[union-attr]

    def _on_data(self, event: DataReceived) -> None:
        codec, stream = self._codec, event.stream
        owner: _Stream | None = stream.owner
        if owner is None:
            codec.consumed(stream, event.size)
        else:
            owner.take(event.data, event.size, event.end)

    def _on_reset(self, event: StreamReset) -> None:
        owner: _Stream | None = event.stream.owner
        if event.detail:
            self._shared.stats.stream_errors_total.add(event.detail)
        if owner is not None:
            if event.detail:
                flag = "SI" if event.detail == "stalled" else "DPE"
                error = StreamError(event.detail, event.message, flag=flag, code=event.code)
            else:
                error = StreamError("client_reset", flag="DR", code=event.code)
            owner.lose(error)

    def receive_eof(self) -> None:
        """A client that has ended its side may still wait for responses, for a while; there will be no other
        request."""
        self._draining = self._eof = True
        for stream in list(self._codec.streams.values()):
            if not stream.remote_ended and stream.owner is not None:
                self._codec.reset(stream, ErrorCode.CANCEL)
                stream.owner.lose(StreamError("client_reset", "the client ended the connection", flag="DC"))
        if self._codec.queued:
            self.flush_soon()
        self._check_finished("eof")
        if not self._gone and (limit := self._host.config.limits.half_close_timeout):
            self._host.timers.call_later(limit, self._half_closed_for_long)

    def _half_closed_for_long(self) -> None:
        """Nothing but sending would tell whether such a client is still there: what has no response yet is given up."""
        late = [one for one in self._codec.streams.values() if one.owner is not None and one.owner.waits]
        for stream in late:
            self._codec.reset(stream, ErrorCode.CANCEL)
            text = "the client ended the connection, and no response came in time (half_close_timeout)"
            stream.owner.lose(StreamError("client_reset", text, flag="DC"))
        if late:
            self._host.layer.stats.timeouts_total.add("half_close_timeout")
            self.flush_soon()

    def _tick(self) -> None:
        self._timer = None
        if self._gone:
            return
        codec = self._codec
        try:
            self._take_all(codec.at(_monotonic()))
        except RemoteProtocolError as error:
            self._failed(error)
            return
        self._flush_soon()
        if codec.waiting:
            self._timer = self._host.timers.call_later(_TICK, self._tick)

    def _failed(self, error: RemoteProtocolError) -> None:
        self._gone = True
        shared = self._shared
        if error.code.endswith("_flood"):
            shared.stats.floods_total.add(error.code.removesuffix("_flood"))
        if isinstance(error, Http2Error):
            self._lose(error.streams, StreamError("protocol_error", str(error), flag="DPE"))
        self._host.protocol_error(error)

    # To the client

    def flush_soon(self) -> None:
        """Something was sent: let it leave when the turn of the loop ends, with all that comes until then."""
        if not self._flushing:
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flushing = True
        self._defer(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._gone:
            return
        codec, host = self._codec, self._host
        while not self._blocked:
            parts = codec.parts_to_send()
            if not parts:
                break
            if codec.bulk and host.bare_client is not None:
                host.bare_client.write_parts(parts)
            else:
                host.write(b"".join(parts))
        for stream in codec.drained():
            if stream.owner is not None and stream.owner.sink is not None:
                stream.owner.sink.on_response_writable(True)
        if codec.queued and not self._blocked:
            self._wait_for_windows()
        if codec.finished or (self._draining and not codec.streams):
            self._check_finished("eof" if self._eof else "drain")

    def _wait_for_windows(self) -> None:
        """All has left that may. The rest waits for the client to open windows: not for ever, and of one that has ended
        its side not at all."""
        if not self._eof:
            if self._timer is None:
                self._timer = self._host.timers.call_later(_TICK, self._tick)
            return
        for stream in list(self._codec.streams.values()):
            if stream.queue is not None:
                self._codec.reset(stream, ErrorCode.CANCEL)
                if stream.owner is not None:
                    stream.owner.lose(StreamError("client_reset", "the client ended the connection", flag="DC"))
        self.flush_soon()

    def stream_over(self) -> None:
        self._host.stream_done()

    def on_writable(self, writable: bool) -> None:
        self._blocked = not writable
        if writable:
            self._host.release_client()
            self.flush_soon()
        else:
            self._host.hold_client()

    # From the layer

    def drain(self) -> None:
        if not self._gone:
            self._codec.shutdown()
            self._flush_soon()
            if self._timer is None:
                self._timer = self._host.timers.call_later(_TICK, self._tick)

    def _check_finished(self, why: str) -> None:
        if not self._gone and not self._codec.streams:
            self._gone = True
            if data := self._codec.data_to_send():
                self._host.write(data)
            self._host.finish(why)

    def closed(self, reason: CloseReason) -> None:
        self._gone = True
        for timer in (self._timer, self._age_timer):
            if timer is not None:
                timer.cancel()
        self._shared.stats.glitches_total += self._codec.guard.glitches_total
        self._shared.stats.stream_ids_exhausted_total += self._codec.exhausted
        streams = list(self._codec.streams.values())
        self._codec.streams.clear()
        self._lose(streams, StreamError("client_reset", str(reason), flag="DC"))

    def _lose(self, streams: list[Http2Stream], error: StreamError) -> None:
        for stream in streams:
            if stream.owner is not None:
                stream.owner.lose(error)


class _Stream(ServerStream):
    """A request and its response."""

    __slots__ = ("_codec", "_connection", "_http2", "early", "over", "sink", "tunnel", "whole")

    def __init__(self, connection: Http2Server, http2: Http2Stream) -> None:
        self._connection = connection
        self._codec = connection._codec
        self._http2 = http2
        self.sink: RequestSink | None = None
        self.early: list[tuple[bytes, int, bool]] | None = None
        """Of CONNECT and upgrades: what came before the response that says whether it is a tunnel. As much as the
        window lets through, which opens no further."""
        self.tunnel = False
        """It is CONNECT or an upgrade."""
        self.whole = False
        """It has said that it has no body (``content-length: 0``), before its end: nothing of it is waited for."""
        self.over = False
        """Nothing more is to be told to the sink."""

    @property
    def waits(self) -> bool:
        """No response has begun."""
        return self.sink is not None and not self.sink.responded

    def take(self, data: bytes, size: int, end: bool) -> None:
        """Some of the request's body, or of what goes through the tunnel; ``size`` is what the windows know of it."""
        if self.early is not None:
            self.early.append((data, size, end))
            return
        if self.sink is not None and not self.whole:
            self.sink.on_request_data(data, end)
        if size:
            self._codec.consumed(self._http2, size)

    def inform(self, response: HttpResponse) -> None:
        if self._http2.state != _CLOSED:
            self._codec.respond(self._http2, response.status, response.block)
            self._connection.flush_soon()

    def respond(self, response: HttpResponse, data: bytes, end: bool) -> None:
        codec, http2 = self._codec, self._http2
        if http2.state == _CLOSED:
            return
        status, block = response.status, response.block
        if end and data and response.trailers is None and not self.tunnel:
            codec.respond_whole(http2, status, block, data, response.added)
            connection = self._connection
            if http2.state >= _HALF_CLOSED_REMOTE:  # as ``_ended``, without the calls
                self.over = True
                self.sink = http2.owner = None
                if connection.counts_streams:
                    connection.stream_over()
            else:
                self._ended()
            if not connection._flushing:
                connection._flush_soon()
            return
        if response.tunnel:
            status, block = 200, self._connection._shared.tunnel_fields(block)
        trailers = response.trailers if end else None
        bare = end and not data and trailers is None
        codec.respond(http2, status, block, response.added, end=bare)
        if trailers is not None:
            if data:
                codec.send_data(http2, data, False)
            codec.send_trailers(http2, trailers)
        elif data:
            codec.send_data(http2, data, end)
            if http2.full and self.sink is not None and not end:
                self.sink.on_response_writable(False)
        if self.early is not None:
            self._decided(response.tunnel)
        if end:
            self._ended()
        self._connection.flush_soon()

    def _decided(self, tunnel: bool) -> None:
        """What has come early goes into the tunnel, or is nobody's."""
        early, self.early = self.early or (), None
        self.whole = not tunnel
        for data, size, end in early:
            if tunnel and self.sink is not None:
                self.sink.on_request_data(data, end)
            self._codec.consumed(self._http2, size)

    def send_data(self, data: bytes, end: bool) -> None:
        http2 = self._http2
        if http2.state == _CLOSED:
            return
        self._codec.send_data(http2, data, end)
        if end:
            self._ended()
        elif http2.full and self.sink is not None:
            self.sink.on_response_writable(False)
        self._connection.flush_soon()

    def send_trailers(self, trailers: FieldBlock) -> None:
        if self._http2.state != _CLOSED:
            self._codec.send_trailers(self._http2, trailers)
            self._ended()
            self._connection.flush_soon()

    def _ended(self) -> None:
        """The response is complete, though some of it may wait for the client's windows. What is left of a request
        with a body, ``abandon`` is called for; of a tunnel, nobody is."""
        if self._http2.remote_ended:
            self._finish()
        elif self.tunnel or self.whole:
            self.abandon()

    def _finish(self) -> None:
        if not self.over:
            self.over = True
            self.sink = self._http2.owner = None
            if self.early:
                self._decided(False)
            if self._connection.counts_streams:
                self._connection.stream_over()

    def reset(self, error: StreamError) -> None:
        code = ErrorCode.INTERNAL_ERROR if error.code is None else error.code
        self._break_off(code)

    def abandon(self) -> None:
        if self._http2.queue is None:
            self._break_off(ErrorCode.NO_ERROR)
        else:  # what waits is to leave first
            self._codec.abandon(self._http2, ErrorCode.NO_ERROR)
            self._connection.flush_soon()
            self._finish()

    def _break_off(self, code: int) -> None:
        self._codec.reset(self._http2, code)
        self._connection.flush_soon()
        self._finish()

    def hold_request(self) -> None:
        self._codec.hold(self._http2)

    def release_request(self) -> None:
        self._codec.release(self._http2)
        self._connection.flush_soon()

    def lose(self, error: StreamError) -> None:
        """The stream is over, and not by us."""
        sink = self.sink
        self._finish()
        if sink is not None:
            sink.on_request_reset(error)
