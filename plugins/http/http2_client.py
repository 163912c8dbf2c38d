"""HTTP/2 towards endpoints: many requests on one connection, as many as the endpoint's SETTINGS allow.

What is hard is that several things end without each other's knowledge. A stream may be over while its request still
waits for a window; the endpoint may say in the middle of a read (GOAWAY, smaller SETTINGS) that it takes no more, while
events in front of it make requests be tried again; and who takes a response may close the connection from inside of the
callback. So the codec alone says what is open and what may be opened (``capacity``), a stream's owner is told at most
once how it ended, and whatever is written leaves when the loop turn ends, in one flush for all streams.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.http.connection import ClientConnection, ClientHost, ClientStream, ResponseSink, StreamError
from l4proxy.plugins.http.http2_client_stream import Http2ClientStream
from l4proxy.plugins.http.http2_shared import accept_key, without
from l4proxy.plugins.http.message import HttpRequest, ReceivedResponse
from l4proxy.plugins.http.versions import explained
from l4proxy.protocols.http2.codes import error_name
from l4proxy.protocols.http2.connection import LAST_STREAMS, Http2Connection, Http2Error
from l4proxy.protocols.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    InformationalReceived,
    PingAcked,
    ResponseReceived,
    SettingsChanged,
    StreamReset,
    TrailersReceived,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.http.http2_shared import Http2Shared
    from l4proxy.protocols.http2.stream import Http2Stream
    from l4proxy.stream import Stream
    from l4proxy.timers import Timer

__all__ = ["Http2Client"]

MAX_REQUESTS = LAST_STREAMS >> 1
"""For so many a connection has numbers: a stream takes every second one."""
_TICK = 1.0
"""Seconds between two looks at the time limits, as long as there is one to look at."""
_PING = b"l4proxy?"
_BLOCKED = 64
"""Why an endpoint is not read: it does not read what we have to answer."""
_monotonic = time.monotonic


class Http2Client(ClientConnection):
    """A connection to an endpoint over HTTP/2."""

    __slots__ = ("_age_timer", "_blocked", "_crowded", "_draining", "_flushing", "_full", "_gone", "_heard_at", "_host",
                 "_limit", "_looked", "_ping_at", "_scheme", "_shared", "_timer", "_upgrades", "codec", "endpoint",
                 "most", "peer", "requests", "requests_seen", "stream")  # fmt: skip

    version = "http2"

    def __init__(
        self, stream: Stream, endpoint: Endpoint, host: ClientHost, shared: Http2Shared, limit: int, expected: int
    ) -> None:
        """``limit``: how many requests it may carry; 0: any number. ``expected``: how many at a time, until the
        endpoint has said so."""
        self.stream = stream
        self.endpoint = endpoint
        self.requests = 0
        self.requests_seen = -1
        self._host = host
        self._shared = shared
        self._limit = min(limit or MAX_REQUESTS, MAX_REQUESTS)
        self._crowded = shared.limits.connection_window >> 2
        """With more bytes than this that clients do not take, it gets no further requests: slow readers leave no window
        to the others, who share it. At half of it, it could be shut: so much may be consumed and not given back yet."""
        self.codec = Http2Connection(client=True, limits=shared.limits)
        self.most = min(expected, shared.options.max_concurrent_streams)
        self._scheme = "http" if stream.spliceable else "https"
        self._blocked = False
        self._draining = False
        self._flushing = False
        self._full = False
        self._gone = False
        self._looked = 0.0
        self._heard_at = self._ping_at = 0.0
        self._timer: Timer | None = None
        self._age_timer: Timer | None = None
        self._upgrades: list[tuple[HttpRequest, Http2ClientStream]] = []
        """Requests that wait for the endpoint's SETTINGS, because those say whether it takes such."""
        if shared.options.max_connection_age:
            self._age_timer = shared.timers.call_later(shared.options.max_connection_age, self.drain)
        stream.on_data = self._receive
        stream.on_eof = self._ended
        stream.on_lost = self._lost
        stream.on_writable = self._writable
        stream.start()
        self.flush_soon()
        self._tick_later()

    @property
    def capacity(self) -> int:
        codec = self.codec
        if self._draining or self._gone or codec.ending:  # the codec knows what is told further behind in a read
            return 0
        if codec.withheld > self._crowded:
            self._full = True
            return 0
        return min(self.most, codec.peer_concurrency) - len(codec.streams) - len(self._upgrades)

    @property
    def active(self) -> int:
        return len(self.codec.streams) + len(self._upgrades)

    # To the endpoint

    def request(self, request: HttpRequest, data: bytes, end: bool, sink: ResponseSink) -> ClientStream:
        self.requests += 1
        stream = Http2ClientStream(self, sink)
        if request.upgrade or request.kind == "CONNECT":
            stream.wants_tunnel = True
            if request.upgrade and self.codec.peer_settings is None:
                self._upgrades.append((request, stream))
            else:
                self._open_tunnel(request, stream)
            return stream
        block = request.block
        index = block.index
        codec = self.codec
        http2 = stream.http2 = codec.request(
            request.kind,
            self._scheme,
            request.target,
            index.get("host", ""),
            block,
            request.added,
            te_trailers=index.get("content-type", "").startswith("application/grpc"),
            end=end and not data and request.trailers is None,
        )
        http2.owner = stream
        if data or (end and not http2.ends):
            trailers = request.trailers if end else None
            codec.send_data(http2, data, end and trailers is None)
            if trailers is not None:
                codec.send_trailers(http2, trailers)
            elif http2.full:
                sink.on_request_writable(False)
        if not self._flushing:
            self.flush_soon()
        if self.requests >= self._limit:
            self.drain()
        elif len(codec.streams) >= self.most:
            self._full = True
        return stream

    def _open_tunnel(self, request: HttpRequest, stream: Http2ClientStream) -> None:
        codec, block = self.codec, request.block
        authority = block.index.get("host", "")
        if not request.upgrade:
            http2 = codec.request("CONNECT", "", "", authority, block, request.added)
        elif codec.extended_connect:
            key = block.index.get("sec-websocket-key")
            if key is not None:
                stream.accept = accept_key(key)
                block = without(block, "sec-websocket-key")
            http2 = codec.request(
                "CONNECT", self._scheme, request.target, authority, block, request.added, protocol=request.upgrade
            )
        else:
            text = "the endpoint takes no extended CONNECT (RFC 8441), and so no upgrade"
            stream.lose(StreamError("no_extended_connect", text, flag="UPE"))
            return
        stream.http2 = http2
        http2.owner = stream
        self.flush_soon()

    def forget_upgrade(self, stream: Http2ClientStream) -> None:
        """It does not wait any more."""
        self._upgrades = [one for one in self._upgrades if one[1] is not stream]

    def flush_soon(self) -> None:
        """Something was sent: let it leave when the turn of the loop ends, with all that comes until then."""
        if not self._flushing:
            self._flushing = True
            self._shared.defer(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._gone:
            return
        codec, stream = self.codec, self.stream
        while not self._blocked:
            parts = codec.parts_to_send()
            if not parts:
                break
            if codec.bulk:
                stream.write_parts(parts)
            else:
                stream.write(b"".join(parts))
        for http2 in codec.drained():
            owner: Http2ClientStream | None = http2.owner
            if owner is not None and owner.sink is not None:
                owner.sink.on_request_writable(True)
        if codec.queued and self._timer is None:  # for windows, and not for ever
            self._tick_later()
        if self._draining and not self.active:
            self._close()

    def _writable(self, writable: bool) -> None:
        self._blocked = not writable
        if writable:
            self.stream.release_reading(_BLOCKED)
            self.flush_soon()
        else:
            self.stream.hold_reading(_BLOCKED)

    # From the endpoint

    def _receive(self, data: bytes) -> None:
        codec = self.codec
        now = _monotonic()
        self._heard_at = now
        try:
            if now - self._looked > _TICK:
                self._looked = now
                self._take(codec.at(now))
            events = codec.receive_data(data)
        except RemoteProtocolError as error:
            self._failed(error)
            return
        self._take(events)
        if not self._flushing:
            self.flush_soon()
        if self._timer is None and codec.waiting:
            self._tick_later()

    def _take(self, events: Sequence[Event]) -> None:
        count = len(events)
        at = 0
        while at < count:
            event = events[at]
            at += 1
            kind = type(event)
            if kind is ResponseReceived:
                following = events[at] if at < count else None
                if type(following) is DataReceived and following.stream is event.stream:  # type: ignore[union-attr]
                    at += 1
                    self._on_response(event, following)  # type: ignore[arg-type]
                else:
                    self._on_response(event, None)  # type: ignore[arg-type]
            elif kind is DataReceived:
                self._on_data(event)  # type: ignore[arg-type]
            else:
                self._on_other(event)

    def _on_response(self, event: ResponseReceived, following: DataReceived | None) -> None:
        http2, head = event.stream, event.head
        owner: Http2ClientStream | None = http2.owner
        data, end = b"", event.end
        if following is not None:
            data, end = following.data, following.end
        if owner is not None and owner.sink is not None:
            owner.respond(head, data, end)
        if following is not None:
            self.codec.consumed(http2, following.size)

    def _on_data(self, event: DataReceived) -> None:
        owner: Http2ClientStream | None = event.stream.owner
        if owner is not None and owner.sink is not None:
            owner.pass_on(event.data, event.end)
        self.codec.consumed(event.stream, event.size)

    def _on_other(self, event: Event) -> None:
        if isinstance(event, TrailersReceived):
            owner: Http2ClientStream | None = event.stream.owner
            if owner is not None and owner.sink is not None:
                owner.end(event.trailers)
        elif isinstance(event, StreamReset):
            self._on_reset(event)
        elif isinstance(event, InformationalReceived):
            owner = event.stream.owner
            if owner is not None and owner.sink is not None:
                owner.sink.on_informational(ReceivedResponse(event.head.status, event.head.block, 0, "HTTP/2"))
        elif isinstance(event, SettingsChanged):
            upgrades, self._upgrades = self._upgrades, []
            for request, stream in upgrades:
                if stream.sink is None:
                    continue
                if self.codec.capacity:
                    self._open_tunnel(request, stream)
                else:
                    stream.lose(StreamError("refused_stream", unprocessed=True, flag="URX"))
            self.most = min(self.codec.peer_concurrency, self._shared.options.max_concurrent_streams)
            if self.capacity > 0:
                self._host.on_capacity(self)
        elif isinstance(event, GoAwayReceived):
            self._shared.stats.goaways_total.add(error_name(event.code))
            self._draining = True
        elif isinstance(event, PingAcked):
            self._ping_at = 0.0

    def _on_reset(self, event: StreamReset) -> None:
        owner: Http2ClientStream | None = event.stream.owner
        if event.detail:
            self._shared.stats.stream_errors_total.add(event.detail)
        if owner is not None:
            if event.detail:
                error = StreamError(event.detail, event.message, flag="UPE", code=event.code)
            elif event.unprocessed:
                error = StreamError("refused_stream", unprocessed=True, flag="URX", code=event.code)
            else:
                text = f"the endpoint reset the stream: {error_name(event.code)}"
                error = StreamError("upstream_reset", text, flag="UR", code=event.code)
            owner.lose(error)
        self.stream_over()

    def stream_over(self) -> None:
        """A stream has ended, or is read again: tell the pool where that makes a difference, because the connection was
        full, or is idle now."""
        if self._gone:
            return
        active = len(self.codec.streams) + len(self._upgrades)
        if self._draining:
            if not active:
                self.flush_soon()
        elif not active or (self._full and active < self.most):
            self._full = False
            self._host.on_capacity(self)

    def _failed(self, error: RemoteProtocolError) -> None:
        shared = self._shared
        if error.code.endswith("_flood"):
            shared.stats.floods_total.add(error.code.removesuffix("_flood"))
        else:
            shared.stats.stream_errors_total.add(error.code)
        if error.reply:
            self.stream.write(error.reply)
        streams = error.streams if isinstance(error, Http2Error) else []
        self._break(StreamError(error.code, explained(error), flag="UPE"), streams)

    def _ended(self) -> None:
        self._break(StreamError("connection_closed", "the endpoint closed the connection"))

    def _lost(self, error: OSError) -> None:
        self._break(StreamError("connection_reset", str(error)))

    def _break(self, error: StreamError, open_streams: Sequence[Http2Stream] = ()) -> None:
        """The connection is over, whatever is open on it."""
        open_streams = [*open_streams, *self.codec.streams.values()]
        streams = [http2.owner for http2 in open_streams] + [stream for _, stream in self._upgrades]
        self.codec.streams.clear()
        self._upgrades = []
        self._close()
        for stream in streams:
            if stream is not None:
                stream.lose(error)

    # Time

    def _tick_later(self) -> None:
        self._timer = self._shared.timers.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._gone:
            return
        now = _monotonic()
        try:
            self._take(self.codec.at(now))
        except RemoteProtocolError as error:
            self._failed(error)
            return
        interval = self._shared.options.ping_interval
        if interval and self.codec.streams:
            if self._ping_at and now - self._ping_at > interval:
                self._break(StreamError("ping_timeout", f"no sign of life within {interval:g} s"))
                return
            if not self._ping_at and now - self._heard_at > interval:
                self._ping_at = now
                self.codec.ping(_PING)
        self.flush_soon()
        if self.codec.waiting or interval:
            self._tick_later()

    # From the pool

    def drain(self) -> None:
        if not self._gone and not self._draining:
            self._draining = True
            self.codec.shutdown()
            self.flush_soon()

    def close(self) -> None:
        if not self._gone:
            self.codec.shutdown()
            if not self._blocked:
                self.stream.write(self.codec.data_to_send())
            self._break(StreamError("connection_aborted", "closed"))

    def _close(self) -> None:
        if not self._gone:
            self._gone = True
            for timer in (self._timer, self._age_timer):
                if timer is not None:
                    timer.cancel()
            self._shared.stats.glitches_total += self.codec.guard.glitches_total
            self._shared.stats.stream_ids_exhausted_total += self.codec.exhausted
            self.stream.close()
            self._host.on_gone(self)
