"""``decompression``: bodies in gzip or deflate, made plain on their way, and never out of proportion."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import Range, Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.plugins.http_compression import accepts_gzip
from l4proxy.stats import Stats, counter, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Decompression", "DecompressionConfig"]

FORMATS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""What zlib calls them. ``deflate`` is zlib's own format (RFC 9110 section 8.4.1.2)."""
CHUNK = 16 * 1024
"""Bytes that are read at a time: what they become is sent before more are."""
STEP = 256 * 1024
"""Bytes that are made before somebody looks whether they are too many."""
FREE = 1024 * 1024
"""Bytes that may be made of anything."""
DIGESTS = ("content-md5", "digest", "content-digest")
"""Of the compressed bytes."""


@dataclass(frozen=True, slots=True)
class DecompressionConfig:
    requests: bool = True
    """Decompress requests, for upstreams that take them plain only."""
    responses: bool = False
    """Decompress responses for clients that do not take gzip. Upstreams are then always asked for it."""
    max_ratio: Annotated[int, Range(2, 1100)] = 100
    """A body that becomes more than so many times as long, and more than 1 MiB, is a bomb: 413, or a response that is
    broken off. What people write is compressed to a tenth; the format can do 1:1032."""
    max_bytes: Size = Size(0)
    """A body that becomes longer than this is refused in the same way; 0: any length."""

    def __post_init__(self) -> None:
        if not (self.requests or self.responses):
            raise ValueError("requests: write requests, or responses, or both")


class DecompressionStats(Stats, subsystem="http_decompression", labels=("direction",)):
    """Bodies of requests, or of responses."""

    decompressed_total = counter("Bodies decompressed.")
    compressed_bytes_total = counter("Bytes before.")
    decompressed_bytes_total = counter("Bytes after.")
    refused_total = labelled_counter("Bodies broken off, by why.", label="reason")


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Inflater:
    """One body."""

    def __init__(self, form: int, config: DecompressionConfig, stats: DecompressionStats) -> None:
        self._form = form
        self._config = config
        self._stats = stats
        self._zlib = zlib.decompressobj(form)
        self._read = 0
        self._made = 0

    def inflate(self, data: bytes) -> bytes:
        """Raises _Refused."""
        stats = self._stats
        stats.compressed_bytes_total += len(data)
        self._read += len(data)
        made = []
        while data:
            if self._zlib.eof:  # gzip may have several members, one behind the other
                if self._form != FORMATS["gzip"]:
                    raise _Refused("corrupt", "something follows the end of the compressed body")
                self._zlib = zlib.decompressobj(self._form)
            try:
                piece = self._zlib.decompress(data, STEP)
            except zlib.error as error:
                raise _Refused("corrupt", f"the compressed body is corrupt: {error}") from None
            made.append(piece)
            self._made += len(piece)
            self._check()
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
        whole = b"".join(made)
        stats.decompressed_bytes_total += len(whole)
        return whole

    def _check(self) -> None:
        limit, made = self._config.max_bytes, self._made
        if limit and made > limit:
            raise _Refused("max_bytes", "the body becomes too long")
        if made > FREE and made > self._config.max_ratio * self._read:
            raise _Refused("max_ratio", "the body becomes too long for what it is made of")

    def end(self) -> bytes:
        """Raises _Refused."""
        if not self._zlib.eof and self._read:
            raise _Refused("corrupt", "the compressed body is cut short")
        return b""


class Decompression(HttpFilter[DecompressionConfig]):
    """Decompress bodies in gzip or deflate while they pass, with limits for those that are made to burst.

    Requests with other encodings, or with several, pass as they are, and so do parts of a response (206) and what says
    `no-transform`.
    """

    name = "decompression"
    shared: dict[str, DecompressionStats]

    @classmethod
    def provision(cls, config: DecompressionConfig, server: Server) -> dict[str, DecompressionStats]:
        return {
            direction: server.stats.group(DecompressionStats, direction=direction)
            for direction in ("requests", "responses")
        }

    def on_request(self, request: HttpRequest) -> HttpRequest:
        config = self.config
        if config.responses and not accepts_gzip(accepted := request.field("accept-encoding") or ""):
            request.headers["Accept-Encoding"] = "gzip"
            request.state["decompression:accepted"] = accepted
        if config.requests and request.content_length != 0 and not request.upgrade:
            self._decompress("requests", request, request)
        return request

    def on_response(self, response: HttpResponse) -> HttpResponse:
        request: Any = response.request
        accepted = request.state.pop("decompression:accepted", None) if self.config.responses else None
        if accepted is not None:
            request.headers["Accept-Encoding"] = accepted  # for filters in front, such as compression
            if response.status not in (204, 206, 304):
                self._decompress("responses", request, response)
        return response

    def _decompress(self, direction: str, request: HttpRequest, message: HttpRequest | HttpResponse) -> None:
        form = FORMATS.get((message.field("content-encoding") or "").strip().lower())
        if form is None or "no-transform" in (message.field("cache-control") or "").lower():
            return
        headers = message.headers
        del headers["content-encoding"]
        for name in DIGESTS:
            headers.discard(name)
        if isinstance(message, HttpResponse):
            if "accept-encoding" not in (headers.get("vary") or "").lower():
                headers.append("Vary", "Accept-Encoding")
            etag = headers.get("etag")
            if etag and not etag.startswith("W/"):
                headers["ETag"] = f"W/{etag}"
        stats = self.shared[direction]
        stats.decompressed_total += 1
        inflater = _Inflater(form, self.config, stats)

        def guarded(step: Callable[..., bytes], *data: bytes) -> bytes:
            try:
                return step(*data)
            except _Refused as refused:
                stats.refused_total.add(refused.reason)
                status = 400 if refused.reason == "corrupt" else 413
                if request.exchange is not None:
                    request.exchange.fail(status, f"decompression_{refused.reason}", str(refused))
                return b""

        message.body.in_chunks(CHUNK)
        message.body.change(lambda data: guarded(inflater.inflate, data), lambda: guarded(inflater.end))


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(Decompression)
