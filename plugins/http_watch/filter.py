"""The ``http_watch`` filter: the inspector in a filter chain."""

from __future__ import annotations

from l4proxy.plugins.http_watch.config import HttpWatchConfig
from l4proxy.plugins.http_watch.inspector import HttpInspector
from l4proxy.plugins.observer import Observer

__all__ = ["HttpWatch"]


class HttpWatch(Observer[HttpWatchConfig]):
    """Watch HTTP/1, HTTP/2 and gRPC pass: requests, statuses, latencies. Never changes or delays a byte."""

    name = "http_watch"
    inspector = HttpInspector
