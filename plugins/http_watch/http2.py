"""HTTP/2 from beside: heads, data and resets of each stream, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy.plugins.http_watch.exchange import Call
from l4proxy.protocols.http2.codes import error_name
from l4proxy.protocols.http2.observer import watch
from l4proxy.protocols.http_fields import Field

if TYPE_CHECKING:
    from l4proxy.plugins.http_watch.conversation import HttpConversation

__all__ = ["Http2Watch"]


class Http2Watch:
    """Both directions of a connection."""

    def __init__(self, conversation: HttpConversation) -> None:
        self.conversation = conversation
        self.open: dict[int, Call] = {}
        self._client, self._server = watch(_Requests(self), _Responses(self))

    def client_data(self, data: bytes, at: float) -> None:
        self._client.feed(data, at)

    def server_data(self, data: bytes, at: float) -> None:
        self._server.feed(data, at)

    def server_eof(self, at: float) -> None:
        pass

    def end(self, stream_id: int, at: float, error: str = "") -> None:
        call = self.open.pop(stream_id, None)
        if call is not None:
            call.error = call.error or error
            self.conversation.ended(call, at)

    def close(self, at: float) -> None:
        for stream_id, call in list(self.open.items()):
            self.end(stream_id, at, "no_response" if not call.status else "response_cut_short")


class _Requests:
    def __init__(self, connection: Http2Watch) -> None:
        self._connection = connection

    def on_head(self, stream_id: int, fields: Sequence[Field], end: bool, size: int, at: float) -> None:
        connection = self._connection
        call = connection.open.get(stream_id)
        if call is None:
            named = dict(fields)
            host = named.get(":authority") or named.get("host", "")
            method, path = named.get(":protocol") or named.get(":method", ""), named.get(":path") or host
            call = Call(at, "HTTP/2", method, host, path, named.get("content-type"))
            connection.open[stream_id] = call
            connection.conversation.opened(len(connection.open))
        call.request_bytes += size

    def on_data(self, stream_id: int, data: bytes, end: bool, size: int, at: float) -> None:
        call = self._connection.open.get(stream_id)
        if call is not None:
            call.request_bytes += size
            call.request_data(data)

    def on_reset(self, stream_id: int, code: int, at: float) -> None:
        self._connection.end(stream_id, at, f"client_{error_name(code)}")

    def on_goaway(self, last_stream_id: int, code: int, at: float) -> None:
        if code:
            self._connection.conversation.goaway("client", code, at)


class _Responses:
    def __init__(self, connection: Http2Watch) -> None:
        self._connection = connection

    def on_head(self, stream_id: int, fields: Sequence[Field], end: bool, size: int, at: float) -> None:
        call = self._connection.open.get(stream_id)
        if call is None:
            return
        named = dict(fields)
        status = named.get(":status", "")
        call.response_bytes += size
        if status.isdecimal() and int(status) >= 200:
            call.status = int(status)
            call.response_at = at
        call.grpc_status = named.get("grpc-status", call.grpc_status)
        if end:
            self._connection.end(stream_id, at)

    def on_data(self, stream_id: int, data: bytes, end: bool, size: int, at: float) -> None:
        call = self._connection.open.get(stream_id)
        if call is not None:
            call.response_bytes += size
            call.response_data(data)
            if end:
                self._connection.end(stream_id, at)

    def on_reset(self, stream_id: int, code: int, at: float) -> None:
        self._connection.end(stream_id, at, f"server_{error_name(code)}")

    def on_goaway(self, last_stream_id: int, code: int, at: float) -> None:
        if code:
            self._connection.conversation.goaway("server", code, at)
