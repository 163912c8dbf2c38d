"""The versions of HTTP that are spoken, by name. Each is imported when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.codec import RemoteProtocolError
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.http.connection import ClientConnection, ServerConnection, ServerHost
    from l4proxy.plugins.http.pool import EndpointPool
    from l4proxy.stream import Stream

__all__ = [
    "ALPN",
    "ASSUMED_STREAMS",
    "client_connection",
    "client_version",
    "explained",
    "first_bytes_version",
    "server_connection",
]

ALPN = {"auto": ("h2", "http/1.1"), "http1": ("http/1.1",), "http2": ("h2",)}
"""What to offer in a TLS handshake, by what the configuration says (``protocol``)."""
ASSUMED_STREAMS = 100
"""Requests that an HTTP/2 connection takes at a time, before its endpoint has said how many: what RFC 9113 section
6.5.2 wants all to allow at least."""
_PREFACE_START = b"PRI * HTTP/2"
"""Of the preface (RFC 9113 section 3.4), up to where nothing else can follow."""
_OTHER_VERSION = {"http1_answer": "http1", "http2_answer": "http2"}
"""What an endpoint speaks that has answered in another version than it was asked in."""


def explained(error: RemoteProtocolError) -> str:
    """What an endpoint did wrong, and what to configure where it is only another version of HTTP that it speaks."""
    version = _OTHER_VERSION.get(error.code)
    if version is None:
        return str(error)
    return f'{error}: set upstream = {{ protocol = "{version}" }} of the http filter, or --upstream-protocol {version}'


def first_bytes_version(data: bytes) -> str:
    """What a client speaks that has not agreed on anything by ALPN, by the first bytes it has sent."""
    return "http2" if data.startswith(_PREFACE_START) else "http1"


def server_connection(version: str, host: ServerHost) -> ServerConnection:
    """A client's connection that speaks ``version``."""
    if version == "http2":
        from l4proxy.plugins.http.http2_server import Http2Server

        return Http2Server(host, host.layer.http2)
    from l4proxy.plugins.http.http1_server import Http1Server

    return Http1Server(host)


def client_version(protocol: str, stream: Stream) -> str:
    """What to speak on a new connection to an endpoint, by what the configuration says."""
    if protocol != "auto":
        return protocol
    return "http2" if getattr(stream, "alpn", "") == "h2" else "http1"


def client_connection(version: str, stream: Stream, endpoint: Endpoint, pool: EndpointPool) -> ClientConnection:
    """A connection to an endpoint that speaks ``version``. It takes over ``stream`` and starts it."""
    if version == "http2":
        from l4proxy.plugins.http.http2_client import Http2Client

        owner, expected = pool.owner, pool.streams if pool.streams > 1 else ASSUMED_STREAMS
        return Http2Client(stream, endpoint, pool, owner.http2, owner.options.requests_per_connection, expected)
    from l4proxy.plugins.http.http1_client import Http1Client

    return Http1Client(stream, endpoint, pool)
