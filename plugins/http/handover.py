"""Large bodies over HTTP/1 are moved by the kernel.

When both ends speak HTTP/1 on plain sockets, a body's length is known and nobody reads it, all of it but the last piece
need not come into this process. The last piece does: with it the codecs and the exchange see the end as they always do,
and a body that is cut short is noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.plugins.http.http1_client import Http1Client
from l4proxy.plugins.http.http1_server import Http1Server

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange

__all__ = ["WORTH_IT", "hand_over_request", "hand_over_response"]

WORTH_IT = 1024 * 1024
"""Bytes of a body from which on it is worth setting this up."""
LAST_PIECE = 64 * 1024
"""Bytes that are read as usual."""


def hand_over_response(exchange: Exchange) -> None:
    """The head of a long response has been sent, with what had come of its body."""
    upstream, stream = exchange.upstream, exchange.stream
    if isinstance(upstream, Http1Client) and isinstance(stream, Http1Server):
        client = exchange.host.conn.bare_client()
        size = min(upstream.codec.body_left, stream.codec.body_to_send) - LAST_PIECE
        if client is None or size < WORTH_IT // 2:
            return
        exchange.splicer = upstream.stream.splice_next(client, size)
        if exchange.splicer is not None:
            upstream.codec.passes(size)
            stream.codec.sends(size)
            exchange.sent += size


def hand_over_request(exchange: Exchange) -> None:
    """The same of a long request."""
    upstream, stream = exchange.upstream, exchange.stream
    if isinstance(upstream, Http1Client) and isinstance(stream, Http1Server):
        client = exchange.host.conn.bare_client()
        size = min(stream.codec.body_left, upstream.codec.body_to_send) - LAST_PIECE
        if client is None or size < WORTH_IT // 2:
            return
        exchange.splicer = client.splice_next(upstream.stream, size)
        if exchange.splicer is not None:
            stream.codec.passes(size)
            upstream.codec.sends(size)
            exchange.received += size
