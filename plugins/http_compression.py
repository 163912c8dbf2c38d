"""``compression``: responses in gzip, for clients that take it (RFC 9110 section 8.4)."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import Range, Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Compression", "CompressionConfig", "accepts_gzip"]

GZIP = 31
"""What zlib calls the gzip format with a window of 32 KiB."""


@dataclass(frozen=True, slots=True)
class CompressionConfig:
    content_types: tuple[str, ...] = (
        "text/html",
        "text/plain",
        "text/css",
        "text/xml",
        "text/javascript",
        "application/javascript",
        "application/json",
        "application/xml",
        "image/svg+xml",
    )
    """What is worth it. What is compressed by its nature (pictures, archives) is not."""
    min_length: Size = Size(1024)
    """A body that is known to be shorter is left as it is."""
    level: Annotated[int, Range(1, 9)] = 4
    """From 1, fast, to 9, small."""
    flush: bool = False
    """Send each piece at once, for clients that read while the response is made, at the price of more bytes."""


class CompressionStats(Stats, subsystem="http_compression"):
    """Responses that were compressed."""

    compressed_total = counter("Responses compressed.")
    original_bytes_total = counter("Bytes before.")
    compressed_bytes_total = counter("Bytes after.")


class Compression(HttpFilter[CompressionConfig]):
    """Compress responses with gzip while they pass, for clients that say they take it.

    Left alone are responses that are encoded already, parts of one (206), those that say `no-transform`, and all that
    is not of one of `content_types`. A strong `ETag` becomes a weak one. Secrets beside text that a stranger chose
    should not be compressed over TLS (BREACH): leave such pages out.
    """

    name = "compression"
    shared: CompressionStats

    @classmethod
    def provision(cls, config: CompressionConfig, server: Server) -> CompressionStats:
        return server.stats.group(CompressionStats)

    def on_response(self, response: HttpResponse) -> HttpResponse:
        request: Any = response.request
        if not self._is_worth_it(request, response):
            return response
        headers = response.headers
        if "accept-encoding" not in (headers.get("vary") or "").lower():
            headers.append("Vary", "Accept-Encoding")
        if not accepts_gzip(request.field("accept-encoding") or ""):
            return response
        headers["Content-Encoding"] = "gzip"
        headers.discard("accept-ranges")
        etag = headers.get("etag")
        if etag and not etag.startswith("W/"):
            headers["ETag"] = f"W/{etag}"
        self._compress(response)
        return response

    def _is_worth_it(self, request: HttpRequest, response: HttpResponse) -> bool:
        config = self.config
        kind = (response.field("content-type") or "").partition(";")[0].strip().lower()
        length = response.content_length
        return (
            request.kind != "HEAD"
            and response.status not in (204, 206, 304)
            and not response.tunnel
            and kind in config.content_types
            and (length is None or length >= config.min_length)
            and response.field("content-encoding") is None
            and "no-transform" not in (response.field("cache-control") or "").lower()
        )

    def _compress(self, response: HttpResponse) -> None:
        stats = self.shared
        stats.compressed_total += 1
        compressor = zlib.compressobj(self.config.level, zlib.DEFLATED, GZIP)
        flush = self.config.flush

        def piece(data: bytes) -> bytes:
            made = compressor.compress(data)
            if flush:
                made += compressor.flush(zlib.Z_SYNC_FLUSH)
            stats.original_bytes_total += len(data)
            stats.compressed_bytes_total += len(made)
            return made

        def last() -> bytes:
            made = compressor.flush()
            stats.compressed_bytes_total += len(made)
            return made

        response.body.change(piece, last)


_GZIP = re.compile(r"(?:^|,)[ \t]*(gzip|x-gzip|\*)[ \t]*(?:;[ \t]*q=([0-9.]+))?[ \t]*(?=,|$)", re.IGNORECASE)


def accepts_gzip(field: str) -> bool:
    """Whether ``Accept-Encoding`` allows it. A weight of 0 forbids, and a name goes before the star."""
    found = {name.lower().removeprefix("x-"): weight for name, weight in _GZIP.findall(field)}
    weight = found.get("gzip", found.get("*"))
    return weight is not None and (weight == "" or weight.strip("0.") != "")


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(Compression)
