"""The versions of HTTP that are spoken, by name. Each is imported when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.http.config import Upstream
    from l4proxy.plugins.http.connection import ClientConnection, ClientHost, ServerConnection, ServerHost
    from l4proxy.stream import Stream

__all__ = ["client_connection", "client_version", "first_bytes_version", "server_connection"]


def first_bytes_version(data: bytes) -> str:
    """What a client speaks that has not agreed on anything by ALPN, by the first bytes it has sent."""
    return "http1"


def server_connection(version: str, host: ServerHost) -> ServerConnection:
    """A client's connection that speaks ``version``."""
    from l4proxy.plugins.http.http1_server import Http1Server

    return Http1Server(host)


def client_version(options: Upstream, stream: Stream) -> str:
    """What to speak on a new connection to an endpoint."""
    return "http1"


def client_connection(version: str, stream: Stream, endpoint: Endpoint, host: ClientHost) -> ClientConnection:
    """A connection to an endpoint that speaks ``version``. It takes over ``stream`` and starts it."""
    from l4proxy.plugins.http.http1_client import Http1Client

    return Http1Client(stream, endpoint, host)
