"""The sending half of a connection: heads, bodies under two windows, and who may send next.

Frames are collected and leave joined, when the owner asks for them (``data_to_send``): once a turn of its loop, for all
streams. A body that fits both windows goes straight there. One that does not waits in its stream, and the streams that
could send take turns, a frame each, the more urgent before the less, but for those that are to be sent one by one
(``priority``). Only so much is handed out at once
as one write should hold; the owner asks again when that has left. So a large body delays a small one by no more than
one write, and what a slow reader makes us keep is in the streams, where it is counted.
"""

from __future__ import annotations

from collections import deque

from l4proxy.codec import LocalProtocolError
from l4proxy.protocols.http2.frames import FRAME_HEAD, header_frames, reset_frame, window_update_frame
from l4proxy.protocols.http2.hpack_encoder import Encoder
from l4proxy.protocols.http2.limits import Guard, Limits
from l4proxy.protocols.http2.stream import Http2Stream
from l4proxy.protocols.http2.stream_state import NEXT, Input, State
from l4proxy.protocols.http_fields import EMPTY, Field, FieldBlock

__all__ = ["QUEUE_HIGH", "WRITE_LIMIT", "Output"]

WRITE_LIMIT = 128 * 1024
"""Bytes of bodies that are handed out at once."""
QUEUE_HIGH = 64 * 1024
"""Bytes that may wait in a stream before it is ``full``; at half of that it is not any more."""
CONNECTION_QUEUE_HIGH = 1024 * 1024
"""Bytes that may wait in all streams of a connection together before each that adds to them is ``full``."""
BULK = 64 * 1024
"""Bytes of bodies in one write from which on it is worth while not to join them."""
INITIAL_WINDOW = 65_535
"""Of the connection, and of streams before SETTINGS say otherwise (section 6.9.2)."""

_END_STREAM = 1
_CLOSED = int(State.CLOSED)
_HALF_CLOSED_REMOTE = int(State.HALF_CLOSED_REMOTE)
_pack = FRAME_HEAD.pack
_SEND_HEADERS, _SEND_HEADERS_END = int(Input.SEND_HEADERS), int(Input.SEND_HEADERS_END)
_SEND_DATA, _SEND_DATA_END = int(Input.SEND_DATA), int(Input.SEND_DATA_END)
_RECEIVING = (State.OPEN, State.HALF_CLOSED_LOCAL)
_STATUS: dict[int, Field] = {status: (":status", str(status)) for status in range(100, 1000)}


class Output:
    """What `Http2Connection` inherits; not used by itself."""

    __slots__ = ("_drained", "_give_back_at", "_out", "_out_size", "_ready", "_recv_window", "_unacked",
                 "bulk", "encoder", "guard", "limits", "peer_frame_size", "peer_window", "queued",
                 "reset_ids", "reset_ids_forgotten", "send_window", "streams")  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.guard = Guard(limits.allowances)
        self.encoder = Encoder()
        self.streams: dict[int, Http2Stream] = {}
        """Those that are not over, by number."""
        self.send_window = INITIAL_WINDOW
        self.peer_window = INITIAL_WINDOW
        """With which the send window of a stream begins."""
        self.peer_frame_size = 16384
        self.reset_ids: dict[int, None] = {}
        """Streams that we have reset, and for which frames may still be on their way; the oldest are forgotten."""
        self.reset_ids_forgotten = 0
        """The highest of those that were."""
        self._out: list[bytes | memoryview] = []
        self._out_size = 0
        """Bytes of bodies in there."""
        self.bulk = False
        """Whether what ``parts_to_send`` has returned last is mostly large pieces."""
        self._ready: dict[int, deque[Http2Stream]] = {}
        """By urgency: the streams that wait for their turn. Never empty deques."""
        self._drained: list[Http2Stream] = []
        self.queued = 0
        """Bytes of bodies that wait in streams."""
        self._recv_window = limits.connection_window
        self._unacked = 0
        """Bytes that were consumed, and not yet given back to the window of the connection."""
        self._give_back_at = limits.connection_window >> 1

    # Taken by the owner

    def data_to_send(self) -> bytes:
        """What is to be written now; empty when there is nothing, or nothing that the peer's windows allow. More may be
        there when that was written."""
        return b"".join(self.parts_to_send())

    def parts_to_send(self) -> list[bytes | memoryview]:
        """The same in pieces, for who can write them without joining them: that is a copy less of a large body."""
        if self._ready and self.send_window > 0:
            self._take_turns()
        out = self._out
        if out:
            self._out = []
            self.bulk = self._out_size >= BULK
            self._out_size = 0
        return out

    @property
    def has_output(self) -> bool:
        """``parts_to_send``, or ``drained``, may have something to say."""
        return bool(self._out or self._ready or self._drained)

    def drained(self) -> list[Http2Stream]:
        """Streams that were full and, since this was last asked, are not any more."""
        if not self._drained:
            return []
        drained, self._drained = self._drained, []
        return [stream for stream in drained if stream.state != _CLOSED]

    # Heads

    def respond(
        self, stream: Http2Stream, status: int, block: FieldBlock, added: FieldBlock = EMPTY, *, end: bool = False
    ) -> None:
        """The head of a response. ``added`` are fields behind those of ``block``. Raises LocalProtocolError where the
        stream is in no state for it."""
        self._send_headers(stream, self.encoder.head(_STATUS[status], block, added), end)

    def respond_whole(
        self, stream: Http2Stream, status: int, block: FieldBlock, data: bytes, added: FieldBlock = EMPTY
    ) -> None:
        """The head of a response, all of its body and its end: ``respond`` and ``send_data`` in one, which most
        responses are. Where everything is there and fits, this is all that is done for it."""
        size = len(data)
        if (
            stream.state != _HALF_CLOSED_REMOTE
            or stream.ends
            or self._ready
            or size > stream.send_window
            or size > self.send_window
            or size > self.peer_frame_size
            or self._out_size >= WRITE_LIMIT
        ):
            self.respond(stream, status, block, added)
            self.send_data(stream, data, True)
            return
        number = stream.id
        head = self.encoder.head(_STATUS[status], block, added)
        if len(head) <= self.peer_frame_size:
            self._out.append(_pack(len(head) << 8 | 1, 4, number) + head + _pack(size << 8, _END_STREAM, number))
        else:
            self._out.append(header_frames(number, head, False, self.peer_frame_size))
            self._out.append(_pack(size << 8, _END_STREAM, number))
        self._out.append(data)
        self._out_size += size
        self.send_window -= size
        self.guard.work += 2
        stream.state = _CLOSED
        stream.ends = True
        self.streams.pop(number, None)
        if stream.withheld:
            self._give_back(stream.withheld)
            stream.withheld = 0

    def send_trailers(self, stream: Http2Stream, trailers: FieldBlock) -> None:
        """End the message with trailers, behind what is queued."""
        self._may_send(stream, _SEND_HEADERS_END)
        stream.ends = True
        if stream.queue is None:
            self._finish_with(stream, trailers)
        else:
            stream.trailers = trailers

    def _finish_with(self, stream: Http2Stream, trailers: FieldBlock) -> None:
        encoder = self.encoder
        if trailers.fields:
            self._send_headers(stream, encoder.begin() + encoder.encode_block(trailers), True)
        else:  # a header section without fields is legal and helps nobody
            self._out.append(_pack(0, _END_STREAM, stream.id))
            self._sent_end(stream)

    def _send_headers(self, stream: Http2Stream, block: bytes, end: bool) -> None:
        state = NEXT[stream.state << 4 | (_SEND_HEADERS_END if end else _SEND_HEADERS)]
        if state > _CLOSED:
            raise self._bug(stream, "a header section")
        size = len(block)
        if size <= self.peer_frame_size:
            self._out.append(_pack(size << 8 | 1, 5 if end else 4, stream.id) + block)
        else:
            self._out.append(header_frames(stream.id, block, end, self.peer_frame_size))
        stream.state = state
        if end:
            stream.ends = True
            if state == _CLOSED:
                self._over_well(stream)
            elif stream.abandoned is not None:
                self.reset(stream, stream.abandoned)

    # Bodies

    def send_data(self, stream: Http2Stream, data: bytes, end: bool) -> None:
        """A piece of a body. What the windows do not let through now is kept: see that ``stream.full`` stops whoever
        makes more."""
        self._may_send(stream, _SEND_DATA)
        size = len(data)
        if not size and not end:
            return
        if (
            stream.queue is None
            and not self._ready
            and size <= stream.send_window
            and size <= self.send_window
            and (self._out_size < WRITE_LIMIT or not size)
        ):
            stream.send_window -= size
            self.send_window -= size
            self._emit(stream, data, end)
            return
        if stream.queue is None:
            stream.queue = deque()
        if size:
            stream.queue.append(data)
            stream.queued += size
            self.queued += size
            if stream.queued > QUEUE_HIGH or self.queued > CONNECTION_QUEUE_HIGH:
                stream.full = True
        if end:
            stream.ends = True
        self._schedule(stream)

    def _emit(self, stream: Http2Stream, data: bytes | memoryview, end: bool) -> None:
        """DATA frames that both windows have room for."""
        out = self._out
        size = len(data)
        limit = self.peer_frame_size
        if size > limit:
            view = memoryview(data)
            head = _pack(limit << 8, 0, stream.id)
            start = 0
            while size - start > limit:
                out += (head, view[start : start + limit])
                start += limit
            data = view[start:]
            self._out_size += start
            size -= start
        out.append(_pack(size << 8, 1 if end else 0, stream.id))
        if size:
            out.append(data)
            self._out_size += size
            self.guard.work += 1
        if end:
            self._sent_end(stream)

    def _sent_end(self, stream: Http2Stream) -> None:
        stream.ends = True
        stream.queue = None
        stream.state = NEXT[stream.state << 4 | _SEND_DATA_END]
        if stream.state == _CLOSED:
            self._over_well(stream)
        elif stream.abandoned is not None:
            self.reset(stream, stream.abandoned)

    # Turns

    def _schedule(self, stream: Http2Stream) -> None:
        """Let a stream that has something queued take its turns, if its window allows."""
        if stream.scheduled or stream.queue is None or (stream.send_window <= 0 and stream.queued):
            return
        stream.scheduled = True
        ready = self._ready.get(stream.urgency)
        if ready is None:
            self._ready[stream.urgency] = deque((stream,))
        elif stream.sequential and (not ready[0].sequential or ready[0].id > stream.id):
            ready.appendleft(stream)
        else:
            ready.append(stream)

    def _take_turns(self) -> None:
        """Move what the windows allow from the streams to the output, until that is enough for one write."""
        while self._ready and self._out_size < WRITE_LIMIT:
            urgency = min(self._ready)
            turns = self._ready[urgency]
            stream = turns.popleft()
            stream.scheduled = False
            if not turns:
                del self._ready[urgency]
            if stream.state != _CLOSED:
                self._take_turn(stream)
                if self.send_window <= 0:
                    break

    def _take_turn(self, stream: Http2Stream) -> None:
        queue = stream.queue
        assert queue is not None
        limit = min(stream.send_window, self.send_window, self.peer_frame_size)
        while queue and limit > 0:
            data = queue[0]
            size = len(data)
            if size > limit:
                view = memoryview(data)
                queue[0] = view[limit:]
                data, size = view[:limit], limit
            else:
                queue.popleft()
            limit -= size
            stream.queued -= size
            self.queued -= size
            stream.moved = True
            stream.send_window -= size
            self.send_window -= size
            if queue or not stream.ends or stream.trailers is not None:
                self._emit(stream, data, False)
            else:
                self._emit(stream, data, True)
                return
        if stream.full and stream.queued <= (QUEUE_HIGH // 2 if self.queued <= CONNECTION_QUEUE_HIGH else 0):
            stream.full = False
            self._drained.append(stream)
        if queue:
            self._schedule(stream)
            return
        stream.queue = None
        if stream.trailers is not None:
            self._finish_with(stream, stream.trailers)
        elif stream.ends:
            self._emit(stream, b"", True)

    # The end of a stream

    def reset(self, stream: Http2Stream, code: int) -> None:
        """Give a stream up. Harmless when it is over."""
        if stream.state == _CLOSED:
            return
        self._out.append(reset_frame(stream.id, code))
        self._remember_reset(stream.id)
        stream.state = _CLOSED
        self._over(stream)

    def abandon(self, stream: Http2Stream, code: int) -> None:
        """Give up what the peer still sends, when what waits to be sent has left."""
        if stream.queue is None:
            self.reset(stream, code)
        else:
            stream.abandoned = code

    def _remember_reset(self, stream_id: int) -> None:
        ids = self.reset_ids
        ids[stream_id] = None
        if len(ids) > 2 * self.limits.max_concurrent_streams:
            oldest = next(iter(ids))
            del ids[oldest]
            self.reset_ids_forgotten = max(self.reset_ids_forgotten, oldest)

    def _over_well(self, stream: Http2Stream) -> None:
        if self.streams.pop(stream.id, None) is not None:  # else it was refused
            self.guard.work += 1
        if stream.queue is not None or stream.withheld:
            self._over(stream)

    def _over(self, stream: Http2Stream) -> None:
        """A stream has become closed, whichever way."""
        self.streams.pop(stream.id, None)
        stream.queue = None
        self.queued -= stream.queued
        stream.queued = 0
        if stream.withheld:
            self._give_back(stream.withheld)
            stream.withheld = 0

    def _may_send(self, stream: Http2Stream, what: int) -> None:
        if stream.ends or NEXT[stream.state << 4 | what] > _CLOSED:
            raise self._bug(stream, "a body or its end")

    @staticmethod
    def _bug(stream: Http2Stream, what: str) -> LocalProtocolError:
        state = State(stream.state).name
        return LocalProtocolError(
            f"{what} may not be sent on stream {stream.id}, which is {state}", code="stream_state"
        )

    # The peer's windows for us, and ours for the peer

    def open_window(self, stream: Http2Stream | None, increment: int) -> bool:
        """The peer has opened a window; return False where that makes it larger than it may be."""
        if stream is None:
            self.send_window += increment
            return self.send_window <= 0x7FFFFFFF
        stream.send_window += increment
        if stream.queue is not None:
            self._schedule(stream)
        return stream.send_window <= 0x7FFFFFFF

    def change_peer_window(self, size: int) -> bool:
        """SETTINGS_INITIAL_WINDOW_SIZE: the windows of all open streams move, also below 0 (section 6.9.2)."""
        difference = size - self.peer_window
        self.peer_window = size
        return all(self.open_window(stream, difference) for stream in self.streams.values())

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """``size`` bytes (`DataReceived.size`) have gone to where they go: let the peer send as many more; once the
        stream is released, where it is held."""
        if stream.state == _CLOSED:  # nothing more comes, nor does ``release``
            self._unacked += size
            if self._unacked >= self._give_back_at:
                self._give_back(0)
            return
        if stream.held:
            stream.withheld += size
            return
        self._give_back(size)
        stream.unacked += size
        target = stream.recv_target
        if stream.unacked >= target >> 1 and stream.state in _RECEIVING:
            increment = stream.unacked
            stream.unacked = 0
            if stream.recv_window < target >> 2 and target < self.limits.max_stream_window:
                # The peer has waited for this, and the reader keeps up: let it be further ahead.
                stream.recv_target = min(2 * target, self.limits.max_stream_window)
                increment += stream.recv_target - target
            stream.recv_window += increment
            self._out.append(window_update_frame(stream.id, increment))

    @property
    def withheld(self) -> int:
        """Bytes that have come and whose readers are held: the window of the connection is smaller by so much, for all
        streams."""
        return self.limits.connection_window - self._recv_window - self._unacked

    def hold(self, stream: Http2Stream) -> None:
        """Open the window of a stream no further for now. What the peer may send already may still come."""
        stream.held = True

    def release(self, stream: Http2Stream) -> None:
        if stream.held:
            stream.held = False
            size, stream.withheld = stream.withheld, 0
            if size:
                self.consumed(stream, size)

    def _give_back(self, size: int) -> None:
        """To the window of the connection."""
        self._unacked += size
        if self._unacked >= self._give_back_at:
            self._recv_window += self._unacked
            self._out.append(window_update_frame(0, self._unacked))
            self._unacked = 0
