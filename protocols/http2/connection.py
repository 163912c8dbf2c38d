"""HTTP/2 (RFC 9113), both roles, without IO: bytes in, events out, and bytes to be sent.

::

    connection = Http2Connection()                # a server; Http2Connection(client=True)
    for event in connection.receive_data(data):   # raises RemoteProtocolError: send its ``reply``, close
        ...
        connection.respond(event.stream, 200, block, end=True)
    write(connection.data_to_send())

This file is the receiving half, ``output`` the sending one. Why it is as it is:

**A read is one loop.** A busy client's read has dozens of frames, so what is done for each decides what a request
costs. The loop knows the frames that matter, HEADERS and DATA, and gives all others to a table. A request is one event
that holds its head; the data of a stream in one read is one event, however many frames it came in.

**A head is read once.** A header block that has come before means what it meant then, for as long as HPACK's table is
the same (``Decoder.generation``), and so the very same `RequestHead` is found by the block's bytes, with whatever has
been made of it since. Blocks are remembered when they come the second time: most differ in something, and come once.

**Streams that are over are gone.** Of those that we have reset, numbers are kept for a while, because the peer could
not know (section 5.1); of the others nothing is. What comes for them is an error of the connection.

**Why it is one file, and long.** What can be told apart is elsewhere: frames, HPACK, the rules of messages
(``fields``), the table of states, floods and limits (``limits``), priorities, and all of sending with both its windows
(``output``). What is left are the reactions to ten types of frames, and each of them is a few lines that touch the same
things: the streams, the block that is open, what was reset, whether the end was said. Parted, they would share all
their state by an object that every frame asks for it; in one object they are attributes.

**Nothing here has a clock.** The owner says what time it is (``at``), which is when time limits are looked at.

**Errors.** What breaks the connection raises, with GOAWAY in ``reply``; events of the same read are dropped with it,
and the GOAWAY says so: its last stream is one that an event has told of. What breaks a stream is answered with
RST_STREAM and told in an event. Which of the two it is follows RFC 9113, section by section.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.bounded import remember
from l4proxy.protocols.http2.codes import PREFACE, ErrorCode, Flag, FrameType, Setting
from l4proxy.protocols.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    InformationalReceived,
    PingAcked,
    RequestReceived,
    ResponseReceived,
    SettingsChanged,
    StreamRefused,
    StreamReset,
    TrailersReceived,
)
from l4proxy.protocols.http2.fields import (
    Entry,
    HeadLimits,
    MessageError,
    RequestHead,
    ResponseHead,
    read_request,
    read_response,
    read_trailers,
)
from l4proxy.protocols.http2.frames import (
    FRAME_HEAD,
    FRAME_HEAD_SIZE,
    MAX_STREAM_ID,
    MAX_WINDOW,
    goaway_frame,
    header_frames,
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from l4proxy.protocols.http2.hpack_decoder import DEFAULT_TABLE_SIZE, Decoder
from l4proxy.protocols.http2.limits import FloodError, Limits
from l4proxy.protocols.http2.output import INITIAL_WINDOW, Output
from l4proxy.protocols.http2.priority import NO_PRIORITY, Priority, read_priority
from l4proxy.protocols.http2.stream import Http2Stream
from l4proxy.protocols.http2.stream_state import NEXT, Fault, Input, State
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

__all__ = ["LAST_STREAMS", "Http2Connection", "Http2Error"]

HEADS_LIMIT = 64
"""Header blocks remembered by their bytes. When there are more, all are forgotten."""
_SEEN_LIMIT = 256
_VIEWED = 4096
"""From this many bytes on, payloads of DATA are looked at where they are, and copied once, when they are joined."""
_SETTINGS_PER_FRAME = 32
"""Settings in one frame; there are seven (CVE-2020-11080)."""
_ASSUMED_CONCURRENCY = 100
"""Streams that a client may open before it has the server's SETTINGS: what RFC 9113 section 6.5.2 wants servers to
allow at least."""
_RAPID = 2.0
"""Seconds: a stream that a client resets when it is older is one that somebody has waited for, and no flood. What time
it is, is known to a second."""
LAST_STREAMS = 0x7FFFFF00
"""From this number on a connection is wound up: numbers are not used twice."""
_SHUTDOWN_PING = b"shutdown"

_DATA, _HEADERS, _CONTINUATION = int(FrameType.DATA), int(FrameType.HEADERS), int(FrameType.CONTINUATION)
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x4, 0x8, 0x20
_OPEN, _HALF_CLOSED_LOCAL = int(State.OPEN), int(State.HALF_CLOSED_LOCAL)
_HALF_CLOSED_REMOTE, _CLOSED = int(State.HALF_CLOSED_REMOTE), int(State.CLOSED)
_RECV_DATA, _RECV_DATA_END = int(Input.RECV_DATA), int(Input.RECV_DATA_END)
_RECV_HEADERS, _RECV_HEADERS_END = int(Input.RECV_HEADERS), int(Input.RECV_HEADERS_END)

_DEFAULT_FRAME_SIZE = 16384
_LONG = struct.Struct("!I")
_SETTING = struct.Struct("!HI")
_GOAWAY = struct.Struct("!II")


class Http2Error(RemoteProtocolError):
    """The peer broke the connection. ``error_code`` is what GOAWAY tells it, ``code`` the name of what it did.

    ``streams`` are all that were open when the read began that showed it."""

    def __init__(
        self, message: str, *, code: str, error_code: ErrorCode, reply: bytes, streams: list[Http2Stream]
    ) -> None:
        super().__init__(message, code=code, reply=reply)
        self.error_code = error_code
        self.streams = streams


class _Fatal(Exception):
    """An error of the connection, on its way to whoever called."""

    def __init__(self, error_code: ErrorCode, code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.code = code


class _OpenBlock:
    """A header section whose CONTINUATION frames are still to come."""

    __slots__ = ("end", "frames", "parts", "self_dependent", "since", "size", "stream_id")

    def __init__(self, stream_id: int, part: bytes, end: bool, self_dependent: bool, since: float) -> None:
        self.stream_id = stream_id
        self.parts = [part]
        self.size = len(part)
        self.frames = 0
        self.end = end
        self.self_dependent = self_dependent
        self.since = since


class Http2Connection(Output):
    """One end of a connection. ``at`` a given time; ``receive_data`` for each read; ``data_to_send`` after it, and
    after whatever else was sent."""

    name = "http2"

    __slots__ = ("_block", "_client", "_cut", "_data_events", "_decoder", "_delivered", "_ending", "_failed",
                 "_fixed_heads", "_goaway_last", "_head_limits", "_heads", "_last_id", "_needed",
                 "_next_id", "_now", "_parts", "_parts_since", "_parts_size", "_preface", "_priorities",
                 "_seen", "_settings_sent", "_shutdown_sent", "_skipped", "_trailers", "goaway_received",
                 "peer_concurrency", "peer_settings")  # fmt: skip

    def __init__(self, *, client: bool = False, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        limits = self.limits
        self._client = client
        self.goaway_received: GoAwayReceived | None = None
        self.peer_settings: dict[int, int] | None = None
        """None until the first SETTINGS have come."""
        self.peer_concurrency = _ASSUMED_CONCURRENCY if client else 0
        """How many streams the peer lets us have open."""
        # What a read left over: the beginning of a frame.
        self._preface = b"" if client else PREFACE
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._needed = 0
        self._cut = 0
        """The stream of a DATA frame that is waited for, of which nothing is in ``_parts`` but its head."""
        self._parts_since: float | None = None
        # Heads.
        self._decoder = Decoder(limits.header_table_size)
        self._head_limits = HeadLimits(limits.max_header_size, limits.max_header_count)
        self._heads: dict[bytes, Any] = {}
        self._fixed_heads: dict[bytes, tuple[Any, list[Entry]]] = {}
        self._trailers: dict[bytes, FieldBlock] = {}
        self._seen: set[int] = set()
        self._block: _OpenBlock | None = None
        # Streams.
        self._data_events: dict[int, DataReceived] = {}
        """Of the read under way, by stream."""
        self._last_id = 0
        """The highest that the peer has opened."""
        self._delivered = 0
        """The highest that an event has told of."""
        self._skipped: list[tuple[int, int]] = []
        """Numbers below ``_last_id`` that were never used, as ranges."""
        self._next_id = 1
        self._priorities: dict[int, Priority] = {}
        """Of streams that are still to be opened."""
        # The connection's life.
        self._now = 0.0
        self._settings_sent: float | None = None
        self._shutdown_sent: float | None = None
        self._goaway_last: int | None = None
        self._failed = False
        self._ending = False
        """There are to be no further streams."""
        self._begin()

    def _begin(self) -> None:
        limits = self.limits
        settings: dict[int, int] = {
            Setting.MAX_HEADER_LIST_SIZE: limits.max_header_size,
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
        }
        if limits.header_table_size != DEFAULT_TABLE_SIZE:
            settings[Setting.HEADER_TABLE_SIZE] = limits.header_table_size
        if limits.max_frame_size != _DEFAULT_FRAME_SIZE:
            settings[Setting.MAX_FRAME_SIZE] = limits.max_frame_size
        if self._client:
            self._out.append(PREFACE)
            settings[Setting.ENABLE_PUSH] = 0
        else:
            settings[Setting.MAX_CONCURRENT_STREAMS] = limits.max_concurrent_streams
            settings[Setting.ENABLE_CONNECT_PROTOCOL] = 1
            settings[Setting.NO_RFC7540_PRIORITIES] = 1
        self._out.append(settings_frame(settings))
        if limits.connection_window > INITIAL_WINDOW:
            self._out.append(window_update_frame(0, limits.connection_window - INITIAL_WINDOW))

    # Time

    def at(self, now: float) -> list[Event]:
        """Say what time it is (seconds, of a clock that only goes forward), now and then and before ``receive_data``.
        Returns which streams have come to a standstill. Raises RemoteProtocolError when a time limit of the connection
        is over."""
        self._now = now
        self.guard.at(now)
        if self._settings_sent is None:
            self._settings_sent = now
        limits = self.limits
        if self._settings_sent >= 0 and now - self._settings_sent > limits.settings_timeout:
            raise self._fail(ErrorCode.SETTINGS_TIMEOUT, "settings_timeout", "SETTINGS were not acknowledged")
        since = self._block.since if self._block is not None else self._parts_since
        if since is not None and now - since > limits.head_timeout:
            raise self._fail(ErrorCode.ENHANCE_YOUR_CALM, "head_timeout", "a header section, or a frame, does not end")
        if self._shutdown_sent is not None and now - self._shutdown_sent > limits.shutdown_timeout:
            self._finish_shutdown()
        return self._stalled(now) if self.queued else []

    def _stalled(self, now: float) -> list[Event]:
        """Streams on which something waits to be sent and nothing has been for too long: the peer opens no window, or
        does not read at all."""
        events: list[Event] = []
        for stream in list(self.streams.values()):
            if stream.queue is None:
                continue
            if stream.moved:
                stream.moved, stream.moved_at = False, now
            elif now - stream.moved_at > self.limits.stall_timeout:
                self.reset(stream, ErrorCode.CANCEL)
                message = f"nothing could be sent for {self.limits.stall_timeout:g} s"
                events.append(StreamReset(stream, ErrorCode.CANCEL, "stalled", message))
        return events

    @property
    def waiting(self) -> bool:
        """Whether there is a time limit that ``at`` has to look at soon."""
        return (
            (self._settings_sent or 0.0) >= 0
            or self._block is not None
            or self._parts_since is not None
            or self._shutdown_sent is not None
            or self.queued > 0
        )

    # Reading

    def receive_data(self, data: bytes) -> list[Event]:
        """Take what a read has brought, return what it means. Raises RemoteProtocolError; no more is taken then."""
        if self._failed:
            return []
        frame, pos = b"", 0
        cut, self._cut = self._cut, 0
        if self._parts:
            missing = self._needed - self._parts_size
            if len(data) < missing:
                self._parts.append(data)
                self._parts_size += len(data)
                return []
            if cut:  # the rest of the frame is read where it is
                pos = missing
            elif len(data) - missing < _VIEWED or self._needed <= len(PREFACE):
                data = b"".join((*self._parts, data))
            else:  # not all of a large read has to be copied because of the frame in front
                frame, pos = b"".join((*self._parts, data[:missing])), missing
            self._parts = []
        events: list[Event] = []
        try:
            if cut:
                self._on_data(data, 0, pos, 0, cut, events)
            elif frame:
                self._read_frames(frame, 0, events)
            pos = self._read_frames(data, pos, events) if not self._preface else self._read_preface(data, events)
        except _Fatal as fatal:
            code, message = fatal.code, str(fatal)
            if self._client and self.peer_settings is None and data.startswith(b"HTTP/"):
                code, message = "http1_answer", "the answer is HTTP/1"
            elif self.peer_settings is None and code == "frame_too_large":
                message = f"{data[:24]!r} is no frame"
            raise self._fail(fatal.error_code, code, message, events) from None
        except FloodError as flood:
            raise self._fail(ErrorCode.ENHANCE_YOUR_CALM, f"{flood.kind}_flood", str(flood), events) from None
        except RemoteProtocolError as error:
            raise self._fail(ErrorCode.COMPRESSION_ERROR, error.code, str(error), events) from None
        if pos < len(data):
            self._keep(data[pos:] if pos else data)
        else:
            self._parts_since = None
        self._delivered = self._last_id
        if self._data_events:
            self._data_events.clear()
        return events

    def _keep(self, rest: bytes) -> None:
        """A frame is not complete: wait for the rest of it, however many pieces that comes in."""
        self._parts = [rest]
        self._parts_size = len(rest)
        if self._preface:
            self._needed = len(PREFACE)
        elif len(rest) < FRAME_HEAD_SIZE:
            self._needed = FRAME_HEAD_SIZE
        else:
            head, _, _ = FRAME_HEAD.unpack_from(rest)
            self._needed = FRAME_HEAD_SIZE + (head >> 8)
            if head & 0xFF == _DATA:  # how slow a body may be is not ours to say
                self._parts_since = None
                return
        if self._parts_since is None:
            self._parts_since = self._now

    def _read_preface(self, data: bytes, events: list[Event]) -> int:
        preface = self._preface
        if not data.startswith(preface):
            if preface.startswith(data):
                return 0
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_preface", f"{data[:24]!r} is not the preface of HTTP/2")
        self._preface = b""
        return self._read_frames(data, len(preface), events)

    def _read_frames(self, data: bytes, pos: int, events: list[Event]) -> int:
        """The loop, from ``pos`` on. Returns where the frames ended that are complete."""
        unpack = FRAME_HEAD.unpack_from
        limit = self.limits.max_frame_size
        size = len(data)
        while size - pos >= 9:
            head, flags, stream_id = unpack(data, pos)
            length = head >> 8
            kind = head & 0xFF
            if length > limit:
                raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "frame_too_large", f"a frame of {length} bytes")
            start = pos + 9
            pos = start + length
            if pos > size:
                if self.peer_settings is None and kind != FrameType.SETTINGS:
                    raise self._no_settings(kind)
                return start - 9
            stream_id &= MAX_STREAM_ID
            if self._block is not None and (kind != _CONTINUATION or stream_id != self._block.stream_id):
                raise _Fatal(ErrorCode.PROTOCOL_ERROR, "header_block_interrupted", "a frame inside a header section")
            if self.peer_settings is None and kind != FrameType.SETTINGS:
                raise self._no_settings(kind)
            if kind == _HEADERS:
                if flags & 0x2C == _END_HEADERS:
                    block = data[start:pos]
                    head = self._heads.get(block)
                    if head is not None and stream_id == self._last_id + 2 and not self._client:
                        try:
                            self._open(stream_id, head, flags & _END_STREAM, events)
                        except MessageError as error:
                            self._on_message_error(stream_id, flags & _END_STREAM, error, events)
                    else:
                        self._on_block(stream_id, block, flags & _END_STREAM, events)
                else:
                    self._on_headers(data[start:pos], flags, stream_id, events)
            elif kind == _DATA:
                if flags or length < _VIEWED or not data.startswith(data[start - FRAME_HEAD_SIZE : start], pos):
                    self._on_data(data, start, pos, flags, stream_id, events)
                else:
                    pos = self._on_data_run(data, start, length, stream_id, events)
            else:
                handler = _HANDLERS.get(kind)
                if handler is None:
                    self.guard.spend("unknown_frames")
                else:
                    handler(self, data[start:pos], flags, stream_id, events)
        return pos

    @staticmethod
    def _no_settings(kind: int) -> _Fatal:
        return _Fatal(ErrorCode.PROTOCOL_ERROR, "no_settings", f"the first frame is of type {kind}, not SETTINGS")

    # Header sections

    def _on_headers(self, payload: bytes, flags: int, stream_id: int, events: list[Event]) -> None:
        """HEADERS that are padded, have a priority, or go on in CONTINUATION."""
        start, end = 0, len(payload)
        self_dependent = False
        try:
            if flags & _PADDED:
                start, end = 1, end - payload[0]
            if flags & _PRIORITY:
                self_dependent = _LONG.unpack_from(payload, start)[0] & MAX_STREAM_ID == stream_id
                start += 5
        except (IndexError, struct.error):
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", "HEADERS without what its flags say") from None
        if start > end:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_padding", "more padding than there is room for")
        block = payload[start:end]
        if flags & _END_HEADERS:
            self._on_block(stream_id, block, flags & _END_STREAM, events, self_dependent=self_dependent)
            return
        if not stream_id:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", "HEADERS on stream 0")
        self._block = _OpenBlock(stream_id, block, bool(flags & _END_STREAM), self_dependent, self._now)
        if not block:
            self.guard.spend("empty_frames")

    def _on_continuation(self, payload: bytes, flags: int, stream_id: int, events: list[Event]) -> None:
        block = self._block
        if block is None:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "unexpected_continuation", "CONTINUATION outside a header section")
        block.frames += 1
        block.size += len(payload)
        if block.frames > self.limits.max_continuations or block.size > self.limits.max_header_size:
            raise _Fatal(
                ErrorCode.ENHANCE_YOUR_CALM,
                "continuation_flood",
                f"a header section of {block.size} bytes in {block.frames} CONTINUATION frames",
            )
        if payload:
            block.parts.append(payload)
        elif not flags & _END_HEADERS:
            self.guard.spend("empty_frames")
        if flags & _END_HEADERS:
            self._block = None
            self._on_block(stream_id, b"".join(block.parts), block.end, events, self_dependent=block.self_dependent)

    def _on_block(
        self, stream_id: int, block: bytes, end: int, events: list[Event], *, self_dependent: bool = False
    ) -> None:
        """A header section is complete. Whatever becomes of it, it has to pass through HPACK."""
        stream = self.streams.get(stream_id)
        try:
            if stream is None or stream.has_head:
                self._on_other_block(stream, stream_id, block, end, events, self_dependent)
            else:
                self._on_response(stream, block, end, events)
        except MessageError as error:
            self._on_message_error(stream or stream_id, end, error, events)

    def _on_other_block(
        self, stream: Http2Stream | None, stream_id: int, block: bytes, end: int, events: list[Event], bad: bool
    ) -> None:
        if stream is not None:
            self._on_trailers(stream, block, end, events)
        elif stream_id > self._last_id and stream_id & 1 and not self._client:
            self._on_request(stream_id, block, end, events, bad)
        else:
            self._decode_unread(block)
            self._on_late_frame(stream_id)

    def _on_request(self, stream_id: int, block: bytes, end: int, events: list[Event], self_dependent: bool) -> None:
        if stream_id != self._last_id + 2:
            self._skip(stream_id)
        self._last_id = stream_id
        head = self._heads.get(block) or self._fixed_head(block) or self._read_head(block, read_request)
        self._open(stream_id, head, end, events, self_dependent)

    def _open(
        self, stream_id: int, head: RequestHead, end: int, events: list[Event], self_dependent: bool = False
    ) -> None:
        """A request, unless there are too many. Raises MessageError."""
        self._last_id = stream_id
        limits = self.limits
        streams = self.streams
        if len(streams) >= limits.max_concurrent_streams or self._goaway_last is not None:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM, end)
            if self._goaway_last is None:
                self.guard.spend("refused_streams")
                events.append(StreamRefused("max_concurrent_streams", 0, "more streams than are allowed"))
            return
        if self_dependent:
            raise MessageError("a stream that depends on itself", "self_dependency")
        state = _HALF_CLOSED_REMOTE if end else _OPEN
        stream = Http2Stream(stream_id, state, limits.stream_window, self.peer_window, self._now)
        stream.has_head = True
        if head.content_length is not None:
            if end and head.content_length:
                raise MessageError("the end comes before what Content-Length promises", "content_length_mismatch")
            stream.expected = head.content_length
        if self._priorities or head.priority is not None:
            said = NO_PRIORITY if head.priority is None else read_priority(head.priority)
            stream.urgency, stream.sequential = self._priorities.pop(stream_id, said)
        streams[stream_id] = stream
        events.append(RequestReceived(stream, head, bool(end)))
        if stream_id >= LAST_STREAMS:
            self.shutdown()

    def _on_response(self, stream: Http2Stream, block: bytes, end: int, events: list[Event]) -> None:
        head: ResponseHead = self._heads.get(block) or self._fixed_head(block) or self._read_head(block, read_response)
        state = NEXT[stream.state << 4 | (_RECV_HEADERS_END if end else _RECV_HEADERS)]
        if head.status < 200:
            if end:
                raise MessageError(f"a response that ends with the status {head.status}", "informational_end")
            self.guard.spend("informational", glitch=False)
            events.append(InformationalReceived(stream, head))
            return
        stream.has_head = True
        if not stream.body_allowed or head.status == 304:
            stream.expected = 0
        elif head.content_length is not None:
            if end and head.content_length:
                raise MessageError("the end comes before what Content-Length promises", "content_length_mismatch")
            stream.expected = head.content_length
        elif head.status == 204:
            stream.expected = 0
        stream.state = state
        events.append(ResponseReceived(stream, head, bool(end)))
        if state == _CLOSED:
            self._over_well(stream)

    def _on_trailers(self, stream: Http2Stream, block: bytes, end: int, events: list[Event]) -> None:
        state = NEXT[stream.state << 4 | (_RECV_HEADERS_END if end else _RECV_HEADERS)]
        if state > _CLOSED:
            self._decode_unread(block)
            self._on_fault(stream, state, events)
            return
        trailers = self._trailers.get(block)
        if trailers is None:
            trailers = self._read_head(block, read_trailers, self._trailers)
        if not end:
            raise MessageError("a second header section that does not end the stream", "trailers_without_end")
        if stream.expected > 0:
            raise MessageError("the end comes before what Content-Length promises", "content_length_mismatch")
        stream.state = state
        events.append(TrailersReceived(stream, trailers))
        if state == _CLOSED:
            self._over_well(stream)

    def _read_head(
        self,
        block: bytes,
        read: Callable[[Sequence[Entry], HeadLimits], Any],
        known: dict[bytes, Any] | None = None,
    ) -> Any:
        """Read a block that is not known, and remember it if it has come before and will mean the same the next time.
        Raises MessageError."""
        decoder = self._decoder
        before = decoder.generation
        entries = decoder.decode(block)
        if decoder.generation != before:
            self._forget_heads()
        head = read(entries, self._head_limits)
        inserted = decoder.inserted
        if decoder.referred and inserted:
            return head
        seen, key = self._seen, hash(block)
        if key in seen:
            if inserted:
                if known is None:
                    remember(self._fixed_heads, block, (head, inserted), HEADS_LIMIT)
            else:
                remember(self._heads if known is None else known, block, head, HEADS_LIMIT)
        else:
            if len(seen) >= _SEEN_LIMIT:
                seen.clear()
            seen.add(key)
        return head

    def _fixed_head(self, block: bytes) -> Any:
        """What a block means that adds to the table and refers to nothing in it, if it has come before."""
        known = self._fixed_heads.get(block)
        if known is None:
            return None
        self._decoder.insert(known[1])
        self._forget_heads()
        return known[0]

    def _decode_unread(self, block: bytes) -> None:
        """Of a stream that is over: what it adds to the table counts all the same."""
        before = self._decoder.generation
        self._decoder.decode(block)
        if self._decoder.generation != before:
            self._forget_heads()

    def _forget_heads(self) -> None:
        if self._heads:
            self._heads.clear()
        if self._trailers:
            self._trailers.clear()

    def _skip(self, stream_id: int) -> None:
        """The peer leaves numbers out: it may not use them any more (section 5.1.1)."""
        first = self._last_id + 2 if self._last_id else 1
        if first < stream_id:
            self._skipped.append((first, stream_id))
            del self._skipped[:-16]

    # Data

    def _on_data(self, data: bytes, start: int, stop: int, flags: int, stream_id: int, events: list[Event]) -> None:
        size = stop - start
        self._recv_window -= size
        if self._recv_window < 0:
            raise _Fatal(ErrorCode.FLOW_CONTROL_ERROR, "flow_control", "more data than the connection's window")
        if flags & _PADDED:
            start, stop = self._unpad(data, start, stop)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._give_back(size)
            self._on_late_frame(stream_id)
            return
        end = flags & _END_STREAM
        state = NEXT[stream.state << 4 | (_RECV_DATA_END if end else _RECV_DATA)]
        stream.recv_window -= size
        length = stop - start
        if not length and not end:
            self.guard.spend("empty_frames")
        if state > _CLOSED or stream.recv_window < 0 or not stream.has_head:
            self._give_back(size)
            self._on_bad_data(stream, state, events)
            return
        if stream.expected >= 0:
            stream.expected -= length
            if stream.expected < 0 or (end and stream.expected):
                self._give_back(size)
                message = "more or less data than Content-Length promises"
                self._break(stream, ErrorCode.PROTOCOL_ERROR, "content_length_mismatch", message, events)
                return
        if length:
            self.guard.work += 1
        part = data[start:stop] if length < _VIEWED else memoryview(data)[start:stop]
        event = self._data_events.get(stream_id)
        if event is not None:
            event.add(part, size, bool(end))
        else:
            self._data_events[stream_id] = event = DataReceived(stream, part, size, bool(end))
            events.append(event)
        if end:
            stream.state = state
            if state == _CLOSED:
                self._over_well(stream)

    def _on_data_run(self, data: bytes, start: int, length: int, stream_id: int, events: list[Event]) -> int:
        """Large bodies come in frames that are alike. Step over all here that have the head of this one and fit the
        windows, and account for them together, as `_on_data` does for each; where the read ends within one more, so
        much of it is taken. Returns where they end."""
        stream = self.streams.get(stream_id)
        pos = start + length
        room = 0
        if stream is not None and stream.state in (_OPEN, _HALF_CLOSED_LOCAL) and stream.has_head:
            room = min(stream.recv_window, self._recv_window)
            if stream.expected >= 0:
                room = min(room, stream.expected)
        if stream is None or room < length:
            self._on_data(data, start, pos, 0, stream_id, events)
            return pos
        view, head = memoryview(data), data[start - FRAME_HEAD_SIZE : start]
        parts = [view[start:pos]]
        step = FRAME_HEAD_SIZE + length
        last = min(len(data), pos + (room // length - 1) * step)
        while pos + step <= last and data.startswith(head, pos):
            pos += step
            parts.append(view[pos - length : pos])
        size = len(parts) * length
        self.guard.work += len(parts)
        begun = len(data) - pos - FRAME_HEAD_SIZE
        if 0 < begun < length <= room - size and data.startswith(head, pos):  # the read ends within another one
            parts.append(view[-begun:])
            size += begun
            pos = len(data)
            self._cut_short(stream_id, length - begun)
        self._recv_window -= size
        stream.recv_window -= size
        if stream.expected >= 0:
            stream.expected -= size
        event = self._data_events.get(stream_id)
        if event is None:
            self._data_events[stream_id] = event = DataReceived(stream, b"", 0, False)
            events.append(event)
        event.add_all(parts, size)
        return pos

    def _cut_short(self, stream_id: int, rest: int) -> None:
        """The beginning of a DATA frame has been taken. What is still to come of it, ``rest`` bytes, is a frame of its
        own, whose head is here already."""
        self._cut = stream_id
        self._parts = [FRAME_HEAD.pack(rest << 8 | _DATA, 0, stream_id)]
        self._parts_size = FRAME_HEAD_SIZE
        self._needed = FRAME_HEAD_SIZE + rest

    @staticmethod
    def _unpad(data: bytes, start: int, stop: int) -> tuple[int, int]:
        if start == stop:
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", "padded DATA without the length of its padding")
        padding = data[start]
        if start + 1 + padding > stop:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_padding", "more padding than there is room for")
        return start + 1, stop - padding

    def _on_bad_data(self, stream: Http2Stream, state: int, events: list[Event]) -> None:
        if state > _CLOSED:
            self._on_fault(stream, state, events)
        elif stream.recv_window < 0:
            self._break(stream, ErrorCode.FLOW_CONTROL_ERROR, "flow_control", "more data than the window", events)
        else:
            self._break(stream, ErrorCode.PROTOCOL_ERROR, "data_before_head", "data without a head", events)

    # What is wrong with a stream

    def _break(self, stream: Http2Stream, code: ErrorCode, detail: str, message: str, events: list[Event]) -> None:
        """An error of the stream: reset it, and go on with the connection."""
        self.reset(stream, code)
        events.append(StreamReset(stream, code, detail, message))
        self.guard.spend("provoked_resets")

    def _on_fault(self, stream: Http2Stream, fault: int, events: list[Event]) -> None:
        if fault == Fault.STREAM_CLOSED:
            self._break(stream, ErrorCode.STREAM_CLOSED, "stream_closed", "a frame behind the end", events)
            return
        raise _Fatal(ErrorCode.STREAM_CLOSED, "stream_closed", f"a frame for stream {stream.id}, which is over")

    def _on_message_error(self, stream: Http2Stream | int, end: int, error: MessageError, events: list[Event]) -> None:
        if isinstance(stream, Http2Stream):
            self._break(stream, error.code, error.detail, str(error), events)
            return
        # A request that never was one. The response in front of the reset tells people what the code does not.
        refused = Http2Stream(stream, _HALF_CLOSED_REMOTE if end else _OPEN, 0, 0)
        too_large = error.status == 431
        self.respond(refused, error.status, EMPTY, end=too_large)
        if refused.state != _CLOSED:
            self.reset(refused, ErrorCode.NO_ERROR if too_large else error.code)
        events.append(StreamRefused(error.detail, error.status, str(error)))
        self.guard.spend("provoked_resets")

    def _refuse(self, stream_id: int, code: ErrorCode, end: int) -> None:
        self._out.append(reset_frame(stream_id, code))
        if not end:
            self._remember_reset(stream_id)

    def _on_late_frame(self, stream_id: int) -> None:
        """HEADERS or DATA for a stream that is not open."""
        if stream_id in self.reset_ids or 0 < stream_id <= self.reset_ids_forgotten:
            self.guard.spend("late_frames", glitch=False)
            return
        self._check_not_idle(stream_id)
        if any(first <= stream_id < behind for first, behind in self._skipped):
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", f"stream {stream_id} after a higher one")
        raise _Fatal(ErrorCode.STREAM_CLOSED, "stream_closed", f"a frame for stream {stream_id}, which is over")

    def _check_not_idle(self, stream_id: int) -> None:
        """That there has been such a stream."""
        if not stream_id & 1:  # 0, or one of the server's own: push is refused
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", f"there is no stream {stream_id}")
        if stream_id >= self._next_id if self._client else stream_id > self._last_id:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "idle_stream", f"a frame for stream {stream_id}, which is idle")

    # All other frames

    def _on_priority(self, payload: bytes, _flags: int, stream_id: int, events: list[Event]) -> None:
        """RFC 9113 section 6.3: of no effect, but not of any form."""
        if not stream_id:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", "PRIORITY on stream 0")
        self.guard.spend("priorities", glitch=False)
        size = len(payload)
        if size == 5 and _LONG.unpack_from(payload)[0] & MAX_STREAM_ID != stream_id:
            return
        code = ErrorCode.PROTOCOL_ERROR if size == 5 else ErrorCode.FRAME_SIZE_ERROR
        stream = self.streams.get(stream_id)
        if stream is None:
            raise _Fatal(code, "bad_priority", f"PRIORITY of {size} bytes for stream {stream_id}")
        self._break(stream, code, "bad_priority", f"PRIORITY of {size} bytes, or of a stream for itself", events)

    def _on_priority_update(self, payload: bytes, _flags: int, stream_id: int, _events: list[Event]) -> None:
        """RFC 9218 section 7.1."""
        if stream_id or self._client or len(payload) < 4:
            code = ErrorCode.PROTOCOL_ERROR if stream_id or self._client else ErrorCode.FRAME_SIZE_ERROR
            raise _Fatal(code, "bad_priority", "PRIORITY_UPDATE where it does not belong, or too short")
        about = _LONG.unpack_from(payload)[0] & MAX_STREAM_ID
        if not about & 1:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_priority", f"PRIORITY_UPDATE for stream {about}")
        self.guard.spend("priorities", glitch=False)
        priority = read_priority(str(payload[4:], "latin-1"))
        stream = self.streams.get(about)
        if stream is not None:
            stream.urgency, stream.sequential = priority
        elif self._last_id < about <= self._last_id + 2 * self.limits.max_concurrent_streams:
            self._priorities[about] = priority

    def _on_rst_stream(self, payload: bytes, _flags: int, stream_id: int, events: list[Event]) -> None:
        if len(payload) != 4:
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", f"RST_STREAM of {len(payload)} bytes")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id)
            self.guard.spend("late_frames", glitch=False)
            return
        code: int = _LONG.unpack(payload)[0]
        stream.state = _CLOSED
        self._over(stream)
        events.append(StreamReset(stream, code, unprocessed=self._client and code == ErrorCode.REFUSED_STREAM))
        if not self._client and self._now - stream.opened_at < _RAPID:
            self.guard.spend("resets", glitch=False)

    def _on_settings(self, payload: bytes, flags: int, stream_id: int, events: list[Event]) -> None:
        size = len(payload)
        if stream_id:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", "SETTINGS on a stream")
        if size % 6 or (flags & Flag.ACK and size):
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", f"SETTINGS of {size} bytes")
        if flags & Flag.ACK:
            if self.peer_settings is None:
                raise self._no_settings(FrameType.SETTINGS)
            self._settings_sent = -1.0
            return
        self.guard.spend("settings", glitch=self.peer_settings is not None)
        if size > 6 * _SETTINGS_PER_FRAME:
            raise _Fatal(ErrorCode.ENHANCE_YOUR_CALM, "settings_flood", f"SETTINGS with {size // 6} settings")
        settings = dict(_SETTING.iter_unpack(payload))
        self._apply(settings)
        self.peer_settings = settings if self.peer_settings is None else {**self.peer_settings, **settings}
        self._out.append(settings_frame((), ack=True))
        events.append(SettingsChanged(settings))

    def _apply(self, settings: dict[int, int]) -> None:
        for number, value in settings.items():
            if not self._is_allowed(number, value):
                raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_setting", f"setting {number} may not be {value}")
            if number == Setting.HEADER_TABLE_SIZE:
                self.encoder.set_limit(value)
            elif number == Setting.MAX_CONCURRENT_STREAMS:
                self.peer_concurrency = value
            elif number == Setting.MAX_FRAME_SIZE:
                self.peer_frame_size = value
            elif number == Setting.INITIAL_WINDOW_SIZE and (value > MAX_WINDOW or not self.change_peer_window(value)):
                raise _Fatal(ErrorCode.FLOW_CONTROL_ERROR, "flow_control", f"initial windows of {value} bytes")
        if self.peer_settings is None and self._client and Setting.MAX_CONCURRENT_STREAMS not in settings:
            self.peer_concurrency = MAX_STREAM_ID

    def _is_allowed(self, number: int, value: int) -> bool:
        if number == Setting.ENABLE_PUSH:
            return value == 0 or (value == 1 and not self._client)
        if number == Setting.MAX_FRAME_SIZE:
            return _DEFAULT_FRAME_SIZE <= value < 1 << 24
        if number == Setting.ENABLE_CONNECT_PROTOCOL:
            return value == 1 or (value == 0 and not (self.peer_settings or {}).get(number))
        return number != Setting.NO_RFC7540_PRIORITIES or value <= 1

    def _on_push_promise(self, _payload: bytes, _flags: int, _stream_id: int, _events: list[Event]) -> None:
        raise _Fatal(ErrorCode.PROTOCOL_ERROR, "push_promise", "PUSH_PROMISE, which was refused")

    def _on_ping(self, payload: bytes, flags: int, stream_id: int, events: list[Event]) -> None:
        if stream_id:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", "PING on a stream")
        if len(payload) != 8:
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", f"PING of {len(payload)} bytes")
        if not flags & Flag.ACK:
            self.guard.spend("pings", glitch=False)
            self._out.append(ping_frame(payload, ack=True))
        elif payload == _SHUTDOWN_PING and self._shutdown_sent is not None:
            self._finish_shutdown()
        else:
            events.append(PingAcked(payload))

    def _on_goaway(self, payload: bytes, _flags: int, stream_id: int, events: list[Event]) -> None:
        if stream_id:
            raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_stream_id", "GOAWAY on a stream")
        if len(payload) < 8:
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", f"GOAWAY of {len(payload)} bytes")
        last, code = _GOAWAY.unpack_from(payload)
        last &= MAX_STREAM_ID
        before = self.goaway_received
        if before is not None:
            if last > before.last_stream_id:
                raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_goaway", "GOAWAY that takes back an earlier one")
            self.guard.spend("unknown_frames")
        self._ending = True
        self.goaway_received = GoAwayReceived(last, code, payload[8:])
        events.append(self.goaway_received)
        if self._client:
            for stream in [stream for stream in self.streams.values() if stream.id > last]:
                stream.state = _CLOSED
                self._over(stream)
                self._remember_reset(stream.id)
                events.append(StreamReset(stream, code, unprocessed=True))

    def _on_window_update(self, payload: bytes, _flags: int, stream_id: int, events: list[Event]) -> None:
        if len(payload) != 4:
            raise _Fatal(ErrorCode.FRAME_SIZE_ERROR, "bad_frame_size", f"WINDOW_UPDATE of {len(payload)} bytes")
        increment = _LONG.unpack(payload)[0] & MAX_WINDOW
        self.guard.spend("window_updates", glitch=False)
        if not stream_id:
            if not increment:
                raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_window_update", "WINDOW_UPDATE by 0")
            if not self.open_window(None, increment):
                raise _Fatal(ErrorCode.FLOW_CONTROL_ERROR, "flow_control", "a window of more than 2^31-1 bytes")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id)
            if not increment:
                raise _Fatal(ErrorCode.PROTOCOL_ERROR, "bad_window_update", "WINDOW_UPDATE by 0")
        elif not increment:
            self._break(stream, ErrorCode.PROTOCOL_ERROR, "bad_window_update", "WINDOW_UPDATE by 0", events)
        elif not self.open_window(stream, increment):
            message = "a window of more than 2^31-1 bytes"
            self._break(stream, ErrorCode.FLOW_CONTROL_ERROR, "flow_control", message, events)

    # For clients

    def request(
        self,
        method: str,
        scheme: str,
        target: str,
        authority: str,
        block: FieldBlock,
        added: FieldBlock = EMPTY,
        *,
        protocol: str = "",
        te_trailers: bool = False,
        end: bool = False,
    ) -> Http2Stream:
        """Open a stream with the head of a request. ``block`` and ``added`` may have a ``Host``: it is left out, for
        ``authority`` says the same. CONNECT without ``protocol`` has neither scheme nor target. See ``capacity``."""
        if self._ending or len(self.streams) >= self.peer_concurrency:
            raise LocalProtocolError("no further stream may be opened", code="no_capacity")
        encoder = self.encoder
        encoded = encoder.begin() + encoder.encode_request(method, scheme, authority, target, protocol, te_trailers)
        encoded += encoder.encode_block(block, without_host=True)
        if added is not EMPTY:
            encoded += encoder.encode_block(added, without_host=True)
        number = self._next_id
        stream = Http2Stream(number, _HALF_CLOSED_LOCAL if end else _OPEN, self.limits.stream_window, self.peer_window)
        stream.ends = end
        stream.body_allowed = method != "HEAD"
        self._next_id = number + 2
        if self._next_id >= LAST_STREAMS:
            self._ending = True
        self.streams[number] = stream
        self._out.append(header_frames(number, encoded, end, self.peer_frame_size))
        return stream

    @property
    def capacity(self) -> int:
        """How many further streams a client may open now."""
        return 0 if self._ending else max(self.peer_concurrency - len(self.streams), 0)

    @property
    def extended_connect(self) -> bool:
        """Whether the peer takes CONNECT with a protocol (RFC 8441)."""
        return bool((self.peer_settings or {}).get(Setting.ENABLE_CONNECT_PROTOCOL))

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life of eight bytes: `PingAcked` tells of the answer."""
        self._out.append(ping_frame(payload))

    # The end of a connection

    def shutdown(self) -> None:
        """End in two steps (section 6.8): a GOAWAY that refuses nothing yet, and when the peer has certainly seen it,
        one that says which stream was the last. Open streams go on."""
        if self._shutdown_sent is not None or self._goaway_last is not None:
            return
        self._shutdown_sent = self._now
        self._ending = True
        if self._client:
            self._finish_shutdown()
        else:
            # In this order, because some clients (Python's h2) take a PING behind a GOAWAY for an error.
            self._out.append(ping_frame(_SHUTDOWN_PING))
            self._out.append(goaway_frame(MAX_STREAM_ID, ErrorCode.NO_ERROR))

    def _finish_shutdown(self) -> None:
        self._goaway_last = 0 if self._client else self._last_id
        self._out.append(goaway_frame(self._goaway_last, ErrorCode.NO_ERROR))
        if not self._client:
            self._shutdown_sent = None

    @property
    def ending(self) -> bool:
        """One of the two sides has said that this is to be the end."""
        return self._ending

    @property
    def exhausted(self) -> bool:
        """No numbers are left for further streams; another connection has them all again."""
        return (self._next_id if self._client else self._last_id) >= LAST_STREAMS

    @property
    def finished(self) -> bool:
        """Nothing is open, and nothing will be: the connection can be closed."""
        ending = self._goaway_last is not None or (self._client and self.goaway_received is not None)
        return self._failed or (ending and not self.streams)

    def _fail(self, error_code: ErrorCode, code: str, message: str, events: Sequence[Event] = ()) -> Http2Error:
        self._failed = self._ending = True
        last = 0 if self._client else self._delivered
        self._out.append(goaway_frame(last, error_code, code.encode()))
        out, self._out = self._out, []
        streams = {stream.id: stream for event in events if (stream := getattr(event, "stream", None)) is not None}
        streams |= self.streams
        self.streams.clear()
        return Http2Error(
            f"HTTP/2: {message}",
            code=code,
            error_code=error_code,
            reply=b"".join(out),
            streams=[stream for stream in streams.values() if self._client or stream.id <= self._delivered],
        )


_Handler = Callable[[Http2Connection, bytes, int, int, list[Event]], None]
_HANDLERS: dict[int, _Handler] = {
    FrameType.PRIORITY: Http2Connection._on_priority,
    FrameType.RST_STREAM: Http2Connection._on_rst_stream,
    FrameType.SETTINGS: Http2Connection._on_settings,
    FrameType.PUSH_PROMISE: Http2Connection._on_push_promise,
    FrameType.PING: Http2Connection._on_ping,
    FrameType.GOAWAY: Http2Connection._on_goaway,
    FrameType.WINDOW_UPDATE: Http2Connection._on_window_update,
    FrameType.CONTINUATION: Http2Connection._on_continuation,
    FrameType.PRIORITY_UPDATE: Http2Connection._on_priority_update,
}
