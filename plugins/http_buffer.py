"""``buffer``: whole bodies before upstreams hear of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from l4proxy.config.types import Range, Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse

__all__ = ["Buffer", "BufferConfig"]


@dataclass(frozen=True, slots=True)
class BufferConfig:
    max_bytes: Annotated[Size, Range(1, 64 << 20)] = Size(1 << 20)
    """A body that is longer is refused with 413."""
    set_length: bool = True
    """Give a body that came in chunks a `Content-Length`."""


class Buffer(HttpFilter[BufferConfig]):
    """Hold a request until all of its body is there: slow clients then keep no upstream waiting, and a body that came
    in chunks can be given a length.

    A body in memory costs memory: `max_bytes` for each request at a time.
    """

    name = "buffer"

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        length = request.content_length
        if length == 0 or request.upgrade or request.kind == "CONNECT":
            return request
        if length is not None and length > self.config.max_bytes:
            self._refuse(request)
            return None
        request.body.gather(self.config.max_bytes, lambda body: self._gathered(request, body))
        return None

    def _gathered(self, request: HttpRequest, body: bytes | None) -> None:
        if body is None:
            self._refuse(request)
            return
        if request.content_length is None and self.config.set_length and request.trailers is None:
            request.body.set_length(len(body))
        self.release(request)

    def _refuse(self, request: HttpRequest) -> None:
        self.reply(request, HttpResponse(413, "the body is too large\n", details="buffer_too_large"))


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(Buffer)
