"""A request with its response, as it was seen to pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l4proxy.exchange import Exchange
from l4proxy.inspector import Link
from l4proxy.protocols.grpc import MessageReader, is_grpc, method_of, status_name

__all__ = ["Call", "HttpExchange"]


class Call:
    """What is gathered of a request and its response until the last of it has come."""

    __slots__ = ("_reader", "_writer", "at", "error", "grpc_status", "host", "method", "path", "request_bytes",
                 "request_messages", "response_at", "response_bytes", "response_messages", "rpc", "status",
                 "version")  # fmt: skip

    def __init__(self, at: float, version: str, method: str, host: str, path: str, content_type: str | None) -> None:
        self.at = at
        self.version = version
        self.method = method
        self.host = host
        self.path = path
        self.rpc = method_of(path) if is_grpc(content_type) else None
        """Service and method of a gRPC call."""
        self.status = 0
        self.grpc_status = ""
        self.error = ""
        """Why it ended without a whole response."""
        self.response_at = 0.0
        self.request_bytes = self.response_bytes = 0
        self.request_messages = self.response_messages = 0
        self._reader = MessageReader(self._asked) if self.rpc else None
        self._writer = MessageReader(self._answered) if self.rpc else None

    def _asked(self, _size: int) -> None:
        self.request_messages += 1

    def _answered(self, _size: int) -> None:
        self.response_messages += 1

    def request_data(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(data)

    def response_data(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.feed(data)

    @property
    def outcome(self) -> str:
        """What went wrong, if anything did: a name, a status of gRPC, or one of HTTP."""
        if self.error:
            return self.error
        if self.rpc and self.grpc_status != "0":
            return status_name(self.grpc_status)
        return str(self.status) if self.status >= 400 else ""


class HttpExchange(Exchange):
    __slots__ = ("call",)

    def __init__(self, link: Link, call: Call, seconds: float | None) -> None:
        super().__init__(
            link,
            call.at,
            call.method,
            seconds,
            error=call.outcome,
            request_bytes=call.request_bytes,
            response_bytes=call.response_bytes,
        )
        self.call = call

    def fields(self) -> Mapping[str, Any]:
        call = self.call
        fields = {"host": call.host, "path": call.path, "status": call.status, "version": call.version}
        if call.rpc:
            fields |= {
                "service": call.rpc[0],
                "rpc": call.rpc[1],
                "grpc_status": status_name(call.grpc_status) if call.grpc_status else "",
                "request_messages": call.request_messages,
                "response_messages": call.response_messages,
            }
        return fields

    def text(self) -> str:
        call = self.call
        status = status_name(call.grpc_status) if call.rpc and call.grpc_status else str(call.status or "")
        messages = f"{call.request_messages}+{call.response_messages} messages" if call.rpc else ""
        return " ".join(filter(None, (f"{call.host}{call.path}", status, call.version, messages)))
