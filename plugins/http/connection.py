"""The contract between versions of HTTP and the layer above: what HTTP/1 and HTTP/2 each implement, on both sides.

A client's connection is a `ServerConnection`, one to an endpoint a `ClientConnection` (we are the server of the one and
the client of the other). Each request and its response are a **stream** of such a connection, and an **exchange**
(``l4proxy.plugins.http.exchange``) stands between two of them::

    client ◄─► ServerConnection ─ ServerStream ◄─► Exchange ◄─► ClientStream ─ ClientConnection ◄─► endpoint
               HTTP/1 or HTTP/2                   filters, routes,             HTTP/1 or HTTP/2
                                                  retries, time limits

The two sides are chosen independently. HTTP/1 has one stream at a time, and there the connection object is the stream.

A message moves in one direction as: a head (with the bytes of the body that came with it), pieces of the body, an end,
which trailers may come with. ``end`` says that this was the last of it, so that a message without a body is one call.
A piece may be empty only together with ``end``. What is called here may call back at once, from inside.

Rules that both versions keep:

- **Order**: head, data ..., end or trailers, or at any point one ``reset`` instead of all that would follow. Nothing
  after the end or the reset.
- **Half-close**: the two directions end independently. A response may begin and end before the request has ended. Then
  the stream is over when the request has ended, too, or is given up (``abandon``).
- **Backpressure** is per stream. ``hold_*`` asks not to be given more of the body, ``release_*`` to go on; both may be
  repeated without harm. What was read before may still come. Who writes is told by ``on_*_writable(False)`` and then
  ``(True)`` that it should hold the other side, and is bounded by doing so.
- **1xx** responses come before the head of the real one, any number of them. 101 is not one of them: it is the head of
  a response with ``tunnel`` set.
- **Tunnels**: a request with ``upgrade``, or CONNECT, has a body without a length (``content_length`` None, ``end``
  False). When the response has ``tunnel`` set, both bodies are the bytes of the tunnel, and each ends by itself. When
  it has not, the request is an ordinary one without a body, whose end nobody has to say. A `ServerStream` gives none
  of the body on before the response says which; what came of it for nothing closes the connection.
- **Strictness**: whatever could be read in two ways never becomes a message. It is a ``RemoteProtocolError``, handled
  within the connection: `ServerHost.protocol_error`, or a reset of the stream.

HTTP/2 to HTTP/1 and back needs nothing beyond `HttpRequest` and `HttpResponse`: both keep hop-by-hop fields out of
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from l4proxy.codec import RemoteProtocolError
    from l4proxy.endpoint import Endpoint
    from l4proxy.filter import Peer
    from l4proxy.plugins.http.config import HttpConfig
    from l4proxy.plugins.http.layer import Layer
    from l4proxy.plugins.http.message import HttpRequest, HttpResponse
    from l4proxy.protocols.http_fields import FieldBlock
    from l4proxy.reason import CloseReason
    from l4proxy.stream import Stream
    from l4proxy.timers import Timers

__all__ = [
    "ClientConnection",
    "ClientHost",
    "ClientStream",
    "RequestSink",
    "ResponseSink",
    "ServerConnection",
    "ServerHost",
    "ServerStream",
    "StreamError",
]


class StreamError(Exception):
    """Why a stream ended before its messages did.

    ``detail`` is the snake-case name that logs and counters show: ``client_reset``, ``connection_lost``,
    ``refused_stream``, ``protocol_error``, ``connection_closed`` ... ``unprocessed`` says that the endpoint has
    certainly not acted on the request, so that any request may be tried again (RFC 9113 section 8.7; a connection that
    was closed before the request could be written). ``flag`` is Envoy's response flag. ``code`` is the HTTP/2 error
    code, where there is one.
    """

    def __init__(
        self, detail: str, message: str = "", *, unprocessed: bool = False, flag: str = "UC", code: int | None = None
    ) -> None:
        super().__init__(message or detail.replace("_", " "))
        self.detail = detail
        self.unprocessed = unprocessed
        self.flag = flag
        self.code = code


# Downstream


class RequestSink(Protocol):
    """Who takes a client's request: the exchange, as a `ServerStream` sees it."""

    responded: bool
    """The head of the response has been sent."""

    def on_request_data(self, data: bytes, end: bool) -> None:
        """A piece of the request's body."""

    def on_request_trailers(self, trailers: FieldBlock) -> None:
        """The end of the request, with trailers."""

    def on_request_reset(self, error: StreamError) -> None:
        """The client gave the request up, or its connection is lost: nobody wants the response any more. The stream is
        over."""

    def on_response_writable(self, writable: bool) -> None:
        """The client takes no more of this response for now, or does again."""


class ServerStream(ABC):
    """A request and its response on a client's connection, as the exchange sees it."""

    __slots__ = ()

    @abstractmethod
    def inform(self, response: HttpResponse) -> None:
        """Send a 1xx response; dropped where the client's version does not know them (HTTP/1.0)."""

    @abstractmethod
    def respond(self, response: HttpResponse, data: bytes, end: bool) -> None:
        """Send the head of the response, with the beginning of its body; once. The response is sealed. Where the
        request forbids a body (HEAD) the caller gives none; its length in the fields stays."""

    @abstractmethod
    def send_data(self, data: bytes, end: bool) -> None:
        """Send a piece of the body."""

    @abstractmethod
    def send_trailers(self, trailers: FieldBlock) -> None:
        """End the response with trailers; they are dropped where the client cannot be sent any."""

    @abstractmethod
    def reset(self, error: StreamError) -> None:
        """Break the response off, so that the client cannot take what it has for the whole. The stream is over."""

    @abstractmethod
    def abandon(self) -> None:
        """The response is complete and what is left of the request is not wanted: stop reading it. HTTP/2 sends
        RST_STREAM with NO_ERROR, HTTP/1 closes the connection behind the response. The stream is over."""

    @abstractmethod
    def hold_request(self) -> None:
        """Read no more of the request's body for now."""

    @abstractmethod
    def release_request(self) -> None:
        """Read on."""


class ServerHost(Protocol):
    """What a `ServerConnection` asks of the ``http`` filter that it works for."""

    @property
    def timers(self) -> Timers: ...

    @property
    def layer(self) -> Layer:
        """What all connections of the filter share."""

    @property
    def config(self) -> HttpConfig:
        """The options of the filter: limits and policies."""

    @property
    def scheme(self) -> str:
        """``http``, or ``https`` where TLS is terminated here."""

    @property
    def bare_client(self) -> Stream | None:
        """The client's stream, where no other filter is to see what is written to it."""

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""

    def take_request(self, stream: ServerStream, request: HttpRequest, data: bytes, end: bool) -> RequestSink:
        """The head of a request is complete. Returns who takes the rest of it. The response may have been sent before
        this returns."""

    def stream_done(self) -> None:
        """A stream is over, both ways: the connection may have become idle, or be done with draining."""

    def protocol_error(self, error: RemoteProtocolError) -> None:
        """The client broke the protocol: count ``error.code``, send ``error.reply``, close. Exchanges that are open
        have been told (`RequestSink.on_request_reset`) by the caller."""

    def finish(self, reason: CloseReason | str) -> None:
        """Close the connection in order, behind what was written."""

    def abort(self, reason: CloseReason | str) -> None:
        """Close with RST: what the client has is not the whole."""

    def hold_client(self) -> None:
        """Do not read the client's socket (HTTP/1: nobody takes the body, or a pipelined request waits)."""

    def release_client(self) -> None: ...


class ServerConnection(ABC):
    """A client's connection, speaking one version of HTTP. Made for the first bytes of the client, or for what ALPN
    said."""

    version: ClassVar[str]
    """``http1`` or ``http2``, as in configurations."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Bytes of the client."""

    @abstractmethod
    def receive_eof(self) -> None:
        """The client has ended its side."""

    @abstractmethod
    def on_writable(self, writable: bool) -> None:
        """The client's socket takes no more for now, or does again: pass it on to the streams that are concerned."""

    @abstractmethod
    def drain(self) -> None:
        """End soon: no further requests, and close when the open ones are answered (``Connection: close``, GOAWAY)."""

    @abstractmethod
    def closed(self, reason: CloseReason) -> None:
        """The connection is gone. Open exchanges are told with ``on_request_reset``. Nothing is called after this."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """No stream is open, and no part of a request has come."""

    @property
    @abstractmethod
    def draining(self) -> bool:
        """It takes no further requests: a response that would never end should come to an end."""


# Upstream


class ResponseSink(Protocol):
    """Who takes an endpoint's response: one try of an exchange, as a `ClientStream` sees it."""

    def on_informational(self, response: HttpResponse) -> None:
        """A 1xx response other than 101."""

    def on_response(self, response: HttpResponse, data: bytes, end: bool) -> None:
        """The head of the response, with the beginning of its body; once."""

    def on_response_data(self, data: bytes, end: bool) -> None:
        """A piece of the body."""

    def on_response_trailers(self, trailers: FieldBlock) -> None:
        """The end of the response, with trailers."""

    def on_response_reset(self, error: StreamError) -> None:
        """No (more) response will come. The stream is over."""

    def on_request_writable(self, writable: bool) -> None:
        """The endpoint takes no more of the request's body for now, or does again."""


class ClientStream(ABC):
    """A request and its response on a connection to an endpoint, as the exchange sees it.

    It is over when both messages have ended. A response that ends before its request does leaves the stream open until
    the request ends or ``reset`` is called.
    """

    __slots__ = ()

    @abstractmethod
    def send_data(self, data: bytes, end: bool) -> None:
        """Send a piece of the request's body."""

    @abstractmethod
    def send_trailers(self, trailers: FieldBlock) -> None:
        """End the request with trailers."""

    @abstractmethod
    def reset(self) -> None:
        """Give the request up, at any time: the sink hears nothing more. HTTP/1 closes the connection, unless both
        messages have ended; HTTP/2 sends RST_STREAM."""

    @abstractmethod
    def hold_response(self) -> None:
        """Read no more of the response for now."""

    @abstractmethod
    def release_response(self) -> None:
        """Read on."""


class ClientHost(Protocol):
    """What a `ClientConnection` tells the pool that it belongs to."""

    def on_capacity(self, connection: ClientConnection) -> None:
        """``connection.capacity`` has grown: a stream is over, or the endpoint allows more of them."""

    def on_gone(self, connection: ClientConnection) -> None:
        """It takes no more requests and has no stream left: closed, or about to be. Called once."""


class ClientConnection(ABC):
    """A connection to an endpoint, speaking one version of HTTP, in a pool."""

    version: ClassVar[str]
    stream: Stream
    """The bytes. Its callbacks belong to this object."""
    endpoint: Endpoint
    requests: int
    """How many it has carried."""
    most: int
    """How many it takes at a time, as far as is known: 1 over HTTP/1."""
    requests_seen: int
    """How many they were when the pool last looked for idle connections: kept by the pool, -1 at first."""
    peer: Peer
    """The endpoint's address; set by the pool."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many further streams may be opened now; 0 when it drains or is gone. HTTP/1: 1 when it is idle."""

    @property
    @abstractmethod
    def active(self) -> int:
        """Streams that are open."""

    @abstractmethod
    def request(self, request: HttpRequest, data: bytes, end: bool, sink: ResponseSink) -> ClientStream:
        """Open a stream and send the request's head, with the beginning of its body. Only while ``capacity`` is above
        0. The request is sealed. That the endpoint has closed the connection meanwhile is told to the sink, possibly
        before this returns."""

    @abstractmethod
    def drain(self) -> None:
        """Take no further requests, and close when the open ones are over."""

    @abstractmethod
    def close(self) -> None:
        """Close at once; the sinks of open streams are told."""
