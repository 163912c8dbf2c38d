"""What a connection tells its owner. Plain slotted objects, made one for a head and one for all the data of a stream
that a single read has brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.protocols.http2.fields import RequestHead, ResponseHead
    from l4proxy.protocols.http2.stream import Http2Stream
    from l4proxy.protocols.http_fields import FieldBlock

__all__ = [
    "DataReceived",
    "Event",
    "GoAwayReceived",
    "InformationalReceived",
    "PingAcked",
    "RequestReceived",
    "ResponseReceived",
    "SettingsChanged",
    "StreamRefused",
    "StreamReset",
    "TrailersReceived",
]


class RequestReceived:
    """To a server. A stream that was reset in the same read is ``closed`` by now: skip it."""

    __slots__ = ("end", "head", "stream")

    def __init__(self, stream: Http2Stream, head: RequestHead, end: bool) -> None:
        self.stream = stream
        self.head = head
        self.end = end


class ResponseReceived:
    """To a client: the head of the real response."""

    __slots__ = ("end", "head", "stream")

    def __init__(self, stream: Http2Stream, head: ResponseHead, end: bool) -> None:
        self.stream = stream
        self.head = head
        self.end = end


class InformationalReceived:
    """To a client: a 1xx response in front of the real one."""

    __slots__ = ("head", "stream")

    def __init__(self, stream: Http2Stream, head: ResponseHead) -> None:
        self.stream = stream
        self.head = head


class DataReceived:
    """The data of one stream in one read. ``size`` is what it took of the windows, padding included: give it back with
    ``consumed``. Until its ``data`` is asked for, it may hold on to all of the read."""

    __slots__ = ("_first", "_more", "end", "size", "stream")

    def __init__(self, stream: Http2Stream, part: bytes | memoryview, size: int, end: bool) -> None:
        self.stream = stream
        self._first = part
        self._more: list[bytes | memoryview] | None = None
        self.size = size
        self.end = end

    def add(self, part: bytes | memoryview, size: int, end: bool) -> None:
        """One more frame of the same read."""
        if self._more is None:
            self._more = []
        self._more.append(part)
        self.size += size
        self.end = end

    def add_all(self, parts: list[memoryview], size: int) -> None:
        """The same of several frames, none of which was the last."""
        if self._more is None:
            self._more = []
        self._more += parts
        self.size += size

    @property
    def data(self) -> bytes:
        data = self._first
        if self._more is not None or type(data) is not bytes:
            data = self._first = b"".join((data, *(self._more or ())))
            self._more = None
        return data


class TrailersReceived:
    """The end of a message."""

    __slots__ = ("stream", "trailers")

    def __init__(self, stream: Http2Stream, trailers: FieldBlock) -> None:
        self.stream = stream
        self.trailers = trailers


class StreamReset:
    """A stream is over before its messages were. ``detail`` names what the peer did wrong, where that was why we have
    reset it, and is empty where the peer has. ``unprocessed``: the peer has certainly not acted on the request."""

    __slots__ = ("code", "detail", "message", "stream", "unprocessed")

    def __init__(
        self, stream: Http2Stream, code: int, detail: str = "", message: str = "", *, unprocessed: bool = False
    ) -> None:
        self.stream = stream
        self.code = code
        self.detail = detail
        self.message = message
        self.unprocessed = unprocessed


class StreamRefused:
    """To a server: a stream that never became a request, and has been answered here. ``status`` is 0 where it was
    reset without a response."""

    __slots__ = ("detail", "message", "status")

    def __init__(self, detail: str, status: int, message: str) -> None:
        self.detail = detail
        self.status = status
        self.message = message


class SettingsChanged:
    """The peer has sent SETTINGS; by number (`Setting`)."""

    __slots__ = ("settings",)

    def __init__(self, settings: Mapping[int, int]) -> None:
        self.settings = settings


class GoAwayReceived:
    """The peer opens, or takes, no further streams. Behind this, streams that it did not process have
    each a `StreamReset`."""

    __slots__ = ("code", "debug", "last_stream_id")

    def __init__(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.last_stream_id = last_stream_id
        self.code = code
        self.debug = debug


class PingAcked:
    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


Event = (
    RequestReceived
    | ResponseReceived
    | InformationalReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | StreamRefused
    | SettingsChanged
    | GoAwayReceived
    | PingAcked
)
