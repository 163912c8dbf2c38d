"""One connection that speaks HTTP of any version, from its first bytes on or, over HTTP/1, from any request on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.filter import Side
from l4proxy.inspector import Conversation, Link, StopWatching
from l4proxy.plugins.http_watch.http1 import Http1Watch
from l4proxy.plugins.http_watch.http2 import Http2Watch
from l4proxy.protocols.detect import is_http1, is_http2
from l4proxy.protocols.http2.codes import error_name
from l4proxy.protocols.http2.frames import are_frames

if TYPE_CHECKING:
    from l4proxy.plugins.http_watch.exchange import Call
    from l4proxy.plugins.http_watch.inspector import HttpInspector

__all__ = ["HttpConversation"]

EARLY = 64 * 1024
"""Bytes of either side that are looked at before it is known what they are."""


class HttpConversation(Conversation):
    __slots__ = ("_early", "_inspector", "_link", "_reader", "_skipped", "_unread")

    def __init__(self, inspector: HttpInspector, link: Link) -> None:
        self._inspector = inspector
        self._link = link
        self._reader: Http1Watch | Http2Watch | None = None
        self._early: list[tuple[bytes, float]] = []
        """What a server says before its client has been seen to speak: SETTINGS, or what a capture had first."""
        self._skipped = 0
        self._unread = b""
        """What the client has said, while it is not clear what that is."""

    def client_data(self, data: bytes, at: float) -> None:
        if self._reader is not None:
            self._reader.client_data(data, at)
            return
        data = self._unread + data
        self._unread = b""
        one, two = is_http1(data), is_http2(data)
        if two:
            self._reader = Http2Watch(self)
        elif one:
            self._reader = Http1Watch(self)
        elif self._link.midway:
            self._wait(data)
            return
        elif (one is None or two is None) and len(data) <= EARLY:
            self._unread = data
            return
        else:
            self._reader = Http1Watch(self)  # which says what is wrong
        self._reader.client_data(data, at)
        early, self._early = self._early, []
        if not self._link.midway:
            for piece, then in early:
                self._reader.server_data(piece, then)

    def _wait(self, data: bytes) -> None:
        """From the middle: the first chunk that begins like a request is taken for one."""
        if are_frames(data):
            text = "HTTP/2 that began before it was watched: it can be read from its beginning alone"
            raise StopWatching("http2_midway", text)
        self._skipped += len(data)
        if self._skipped > EARLY:
            raise StopWatching("midway", "no request begins where one could be seen to")

    def server_data(self, data: bytes, at: float) -> None:
        if self._reader is not None:
            self._reader.server_data(data, at)
        elif not self._link.midway:
            self._early.append((data, at))
            if sum(len(piece) for piece, _ in self._early) > EARLY:
                raise StopWatching("server_speaks_first", "the server speaks, and no client has")

    def server_eof(self, at: float) -> None:
        if self._reader is not None:
            self._reader.server_eof(at)

    def lost(self, side: Side, size: int | None, at: float) -> bool:
        return False

    def close(self, at: float) -> None:
        if self._reader is not None:
            self._reader.close(at)

    # For the readers

    def opened(self, count: int) -> None:
        if count > self._inspector.config.max_open:
            raise StopWatching("max_open", f"more than {self._inspector.config.max_open} requests without a response")

    def ended(self, call: Call, at: float) -> None:
        self._inspector.ended(self._link, call, at)

    def goaway(self, who: str, code: int, at: float) -> None:
        self._inspector.notice(self._link, at, "GOAWAY", f"the {who} ends the connection", error=error_name(code))
