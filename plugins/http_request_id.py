"""``request_id``: a number for each request, the same in all logs that it passes."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse

__all__ = ["RequestId", "RequestIdConfig"]

_TRACE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class RequestIdConfig:
    keep: bool = True
    """Keep the id that a request has already."""
    respond: bool = False
    """Tell it to the client, too."""
    trace: bool = False
    """Begin a W3C trace (`traceparent`) where a request belongs to none; one that is there is passed on."""


class RequestId(HttpFilter[RequestIdConfig]):
    """Give each request an `x-request-id`, a random UUID, and if wanted a trace context.

    Access logs print it with `%REQ(x-request-id)%` or `%STREAM_ID%`, and the trace with `%TRACE_ID%`.
    """

    name = "request_id"

    def on_request(self, request: HttpRequest) -> HttpRequest:
        config, headers = self.config, request.headers
        if not (config.keep and request.field("x-request-id")):
            headers["x-request-id"] = new_id()
        if config.trace and not _TRACE.fullmatch(request.field("traceparent") or ""):
            headers["traceparent"] = f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-01"
            headers.discard("tracestate")
        return request

    def on_response(self, response: HttpResponse) -> HttpResponse:
        if self.config.respond:
            request: Any = response.request
            response.headers["x-request-id"] = request.field("x-request-id") or ""
        return response


def new_id() -> str:
    """A random UUID (RFC 9562, version 4): unique, and no secret."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RequestId)
