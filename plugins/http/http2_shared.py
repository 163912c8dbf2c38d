"""What all HTTP/2 connections of an ``http`` filter, or of a pool, share; and how an upgrade looks in it.

The layer knows upgrades as HTTP/1 writes them: GET, ``Upgrade``, and for WebSocket a key and what the server makes of
it. HTTP/2 writes the same as an extended CONNECT, without keys (RFC 8441): here is where one becomes the other.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.plugins.http.http2_config import Http2Options
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.plugins.http.stats import Http2Stats
    from l4proxy.protocols.http2.limits import Limits
    from l4proxy.server import Server

__all__ = ["Http2Shared", "accept_key"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


class Http2Shared:
    __slots__ = ("defer", "limits", "options", "stats", "timers")

    def __init__(self, options: Http2Options, limits: Limits, stats: Http2Stats, server: Server) -> None:
        self.options = options
        self.limits = limits
        self.stats = stats
        self.defer = server.poller.defer
        self.timers = server.timers

    def as_upgrade(self, request: HttpRequest) -> None:
        """A request that came as an extended CONNECT, as the layer knows it."""
        request.kind = "GET"
        request.content_length = None
        if request.upgrade == "websocket":
            key = base64.b64encode(os.urandom(16)).decode()
            request.block = FieldBlock((*request.block.fields, ("sec-websocket-key", key)))

    def tunnel_fields(self, block: FieldBlock) -> FieldBlock:
        """Of the response that agrees to it."""
        return without(block, "sec-websocket-accept")


def without(block: FieldBlock, name: str) -> FieldBlock:
    return FieldBlock([field for field in block.fields if field[0] != name]) if name in block else block


def accept_key(key: str) -> str:
    """What a WebSocket server answers to a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()
