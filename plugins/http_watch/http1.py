"""HTTP/1 from beside: the codec of either role reads one direction, a message at a time.

What an end would make of several messages in a row depends on what it answered; whoever only watches takes each
message by itself, and gives what is behind it to the next reader.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from l4proxy.inspector import StopWatching
from l4proxy.plugins.http_watch.exchange import Call
from l4proxy.protocols.http1.codec import ClientCodec, ServerCodec
from l4proxy.protocols.http1.events import Data, End, RequestHead, ResponseHead
from l4proxy.protocols.http1.limits import Limits

if TYPE_CHECKING:
    from l4proxy.plugins.http_watch.conversation import HttpConversation

__all__ = ["Http1Watch"]

LIMITS = Limits(max_line=64 * 1024, max_head=256 * 1024, max_fields=1000, max_trailers=64 * 1024, max_interim=100)


class Http1Watch:
    """Both directions of a connection."""

    def __init__(self, conversation: HttpConversation) -> None:
        self._conversation = conversation
        self._requests = ServerCodec(LIMITS)
        self._responses: ClientCodec | None = None
        self._asking: Call | None = None
        """Whose request is being read."""
        self._open: deque[tuple[Call, str]] = deque()
        """Requests without their whole response, and the upgrades that they ask for."""

    def client_data(self, data: bytes, at: float) -> None:
        while data:
            codec = self._requests
            size = len(data) + codec.buffered
            events = codec.receive_data(data)
            data = b""
            for event in events:
                if isinstance(event, RequestHead):
                    self._begin(event, at)
                elif isinstance(event, Data) and self._asking is not None:
                    self._asking.request_data(event.data)
            if self._asking is not None:
                self._asking.request_bytes += size - codec.buffered
            if events and isinstance(events[-1], End):
                self._asking = None
                data = codec.leftover()
                self._requests = ServerCodec(LIMITS)

    def _begin(self, head: RequestHead, at: float) -> None:
        line, index = head.line, head.section.fields.index
        path = line.target or line.authority
        call = Call(at, line.version, line.method, index.get("host", line.authority), path, index.get("content-type"))
        self._asking = call
        self._open.append((call, head.section.upgrade))
        self._conversation.opened(len(self._open))

    def server_data(self, data: bytes, at: float) -> None:
        while data and self._open:
            call, upgrade = self._open[0]
            codec = self._responses
            if codec is None:
                codec = self._responses = ClientCodec(LIMITS)
                codec.begin(call.method, 0, upgrade=bool(upgrade))
            size = len(data) + codec.buffered
            events = codec.receive_data(data)
            data = b""
            for event in events:
                if isinstance(event, ResponseHead):
                    self._answered(call, event, at)
                elif isinstance(event, Data):
                    call.response_data(event.data)
            call.response_bytes += size - codec.buffered
            if events and isinstance(events[-1], End):
                if trailers := events[-1].trailers:
                    call.grpc_status = trailers.get("grpc-status") or call.grpc_status
                data = codec.leftover()
                self._close(at)

    def _answered(self, call: Call, head: ResponseHead, at: float) -> None:
        if head.line.status < 200 and not head.tunnel:
            return
        call.status = head.line.status
        call.response_at = at
        call.grpc_status = head.section.fields.index.get("grpc-status", "")
        if head.tunnel:
            upgrade = self._open[0][1] or call.method
            self._close(at)
            raise StopWatching("upgrade", f"it goes on as {upgrade}")

    def _close(self, at: float) -> None:
        self._responses = None
        self._conversation.ended(self._open.popleft()[0], at)

    def server_eof(self, at: float) -> None:
        """The end of a body without a length."""
        codec = self._responses
        if codec is not None and self._open and any(isinstance(event, End) for event in codec.receive_data(b"")):
            self._close(at)

    def close(self, at: float) -> None:
        for call, _ in self._open:
            call.error = "no_response" if not call.status else "response_cut_short"
            self._conversation.ended(call, at)
        self._open.clear()
