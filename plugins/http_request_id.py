"""``request_id``: a number for each request, the same in all logs that it passes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from l4proxy.config.types import Percent
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.protocols.trace_context import SAMPLED, TraceContext, parse_traceparent

__all__ = ["RequestId", "RequestIdConfig"]


@dataclass(frozen=True, slots=True)
class RequestIdConfig:
    keep: bool = True
    """Keep the id that a request has already."""
    respond: bool = False
    """Tell it to the client, too."""
    trace: bool = False
    """Begin a W3C trace (`traceparent`) where a request belongs to none, or `keep` is off. One that is there is passed
    on as it is, whether it is sampled or not; what is none is dropped, and its `tracestate` with it."""
    sample: Percent = Percent(100.0)
    """Share of the traces begun here that say that they are sampled: all steps record them, or none does."""


class RequestId(HttpFilter[RequestIdConfig]):
    """Give each request an `x-request-id`, a random UUID, and if wanted a trace context.

    Access logs print it with `%REQ(x-request-id)%` or `%STREAM_ID%`, and of the trace `%TRACE_ID%`, `%SPAN_ID%` and
    `%TRACE_SAMPLED%`.
    """

    name = "request_id"

    def on_request(self, request: HttpRequest) -> HttpRequest:
        config, headers = self.config, request.headers
        if not (config.keep and request.field("x-request-id")):
            headers["x-request-id"] = new_id()
        if config.trace and not (config.keep and parse_traceparent(request.field("traceparent"))):
            headers["traceparent"] = str(new_trace(config.sample))
            headers.discard("tracestate")
        return request

    def on_response(self, response: HttpResponse) -> HttpResponse:
        if self.config.respond:
            request: Any = response.request
            response.headers["x-request-id"] = request.field("x-request-id") or ""
        return response


def new_trace(percent: float) -> TraceContext:
    """A trace that begins here."""
    flags = SAMPLED if random.random() * 100 < percent else 0
    return TraceContext(f"{random.getrandbits(128) or 1:032x}", f"{random.getrandbits(64) or 1:016x}", flags)


def new_id() -> str:
    """A random UUID (RFC 9562, version 4): unique, and no secret."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RequestId)
