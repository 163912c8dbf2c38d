"""What the ``http`` filter may be told about HTTP/2, on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from l4proxy.config.types import Duration, Range, Size
from l4proxy.protocols.http2.limits import Allowances, Limits

__all__ = ["Allowances", "Http2Options"]

_MAX_WINDOW = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Http2Options:
    """HTTP/2: what a peer may have open, send ahead, and do too often."""

    max_concurrent_streams: Annotated[int, Range(1, 1_000_000)] = 100
    """Requests of one connection that may be under way at once; further ones are refused and may be sent again. Towards
    endpoints: no more than so many, whatever they allow."""
    stream_window: Annotated[Size, Range(1, _MAX_WINDOW)] = Size(64 * 1024)
    """Bytes of a body that may be sent ahead."""
    max_stream_window: Annotated[Size, Range(1, _MAX_WINDOW)] = Size(1024 * 1024)
    """What that grows to while its reader keeps up."""
    connection_window: Annotated[Size, Range(65535, _MAX_WINDOW)] = Size(1024 * 1024)
    """The same for all bodies of a connection together: what slow readers can make the proxy hold. Towards endpoints:
    16 MiB, and a connection a quarter of whose window is held gets no further requests."""
    max_continuations: Annotated[int, Range(0, 10_000)] = 16
    """CONTINUATION frames of one header section."""
    settings_timeout: Annotated[Duration, Range(0.1)] = Duration(10.0)
    """Time in which SETTINGS are to be acknowledged."""
    ping_interval: Annotated[Duration, Range(0)] = Duration(0.0)
    """Towards endpoints: ask for a sign of life when nothing has come for so long while requests are under way, and
    give the connection up when none comes for as long again. 0: never."""
    max_connection_age: Annotated[Duration, Range(0)] = Duration(0.0)
    """End a connection in order (GOAWAY) when it is so old; 0: never."""
    allowances: Allowances = Allowances()
    """How many of each at once, of what is legal in small amounts; a tenth of it comes back each second, and one with
    each stream that ends well. Whoever exceeds one is sent GOAWAY with ENHANCE_YOUR_CALM."""

    def __post_init__(self) -> None:
        if self.max_stream_window < self.stream_window:
            raise ValueError("max_stream_window: less than stream_window")
        for name in Allowances.__slots__:
            if getattr(self.allowances, name) < 1:
                raise ValueError(f"allowances.{name}: at least 1")

    def limits(self, *, max_head: int, max_fields: int, head_timeout: float, stall_timeout: float) -> Limits:
        """For the codec."""
        return Limits(
            max_concurrent_streams=self.max_concurrent_streams,
            max_header_size=max_head,
            max_header_count=max_fields,
            max_continuations=self.max_continuations,
            stream_window=self.stream_window,
            max_stream_window=self.max_stream_window,
            connection_window=self.connection_window,
            settings_timeout=self.settings_timeout,
            stall_timeout=stall_timeout or float("inf"),
            head_timeout=head_timeout or float("inf"),
            allowances=self.allowances,
        )
