"""``http``: the terminal filter that takes requests of any version of HTTP and routes them to clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy import CloseReason, Filter, Side
from l4proxy.message_chain import MessageChain
from l4proxy.plugins.http.config import HttpConfig
from l4proxy.plugins.http.connection import ServerConnection
from l4proxy.plugins.http.exchange import Exchange
from l4proxy.plugins.http.layer import Layer
from l4proxy.plugins.http.versions import ALPN, first_bytes_version, server_connection

if TYPE_CHECKING:
    from l4proxy.codec import RemoteProtocolError
    from l4proxy.filter import Peer
    from l4proxy.plugins.http.connection import ServerStream
    from l4proxy.plugins.http.message import HttpRequest, HttpResponse
    from l4proxy.server import Server
    from l4proxy.timers import Timers

__all__ = ["Http"]


class Http(Filter[HttpConfig]):
    """Take HTTP requests and route them to clusters, each over connections that are kept and shared.

    The shortest configuration has a cluster and nothing else:

        { use = "http", cluster = "app" }

    Requests are read strictly: whatever two programs could read in two ways is refused with the name of the rule it
    breaks. What is in order is passed on as it came, in the spelling and order of the client.
    """

    name = "http"
    terminal = True
    shared: Layer

    def __init__(self) -> None:
        self._connection: ServerConnection | None = None
        self._requests = 0
        self._activity = -1

    @classmethod
    def provision(cls, config: HttpConfig, server: Server) -> Layer:
        return Layer(config, server)

    @classmethod
    def cleanup(cls, shared: Layer) -> None:
        shared.close()

    @classmethod
    def application_protocols(cls, config: HttpConfig) -> tuple[str, ...]:
        return ALPN[config.protocol]

    def on_connect(self) -> None:
        conn, layer = self.conn, self.shared
        tls = conn.tls
        self.layer = layer
        self.peer: Peer = conn.client
        self.id: int = conn.id
        self.listener: str = conn.listener_name
        self.chain_name: str = conn.chain_name
        self.logs = conn.logs_access
        self.log_access = conn.log_access
        self.bare_client = bare = conn.bare_client()
        self.write = conn.send_client if bare is None else bare.write_soon
        self.scheme = "https" if tls is not None and tls.version else "http"
        self.forwarding = layer.forwarding(self.peer.host, self.scheme)
        self.chain: MessageChain[HttpRequest, HttpResponse] | None = None
        if layer.filters:
            self.chain = MessageChain(layer.filters, conn, forward=_forward, deliver=_deliver)
        if tls is not None and tls.alpn:
            self._speak("http2" if tls.alpn == "h2" else "http1")
        elif layer.config.protocol != "auto":
            self._speak(layer.config.protocol)
        self._watch(layer.config.limits.idle_timeout)

    def _speak(self, version: str) -> ServerConnection:
        self.shared.stats.connections_total.add(version)
        self._connection = server_connection(version, self)
        return self._connection

    @property
    def timers(self) -> Timers:
        return self.shared.server.timers

    # Bytes

    def on_client_data(self, data: bytes) -> None:
        connection = self._connection
        if connection is None:
            connection = self._speak(first_bytes_version(data))
        connection.receive(data)

    def on_client_eof(self) -> None:
        if self._connection is None:
            self.conn.close(CloseReason("client", "relay", "eof"))
        else:
            self._connection.receive_eof()

    def on_writable(self, side: Side, writable: bool) -> None:
        if side is Side.CLIENT and self._connection is not None:
            self._connection.on_writable(writable)

    def on_drain(self) -> None:
        if self._connection is None:
            self.conn.close(CloseReason("proxy", "relay", "drain"))
        else:
            self._connection.drain()

    @property
    def draining(self) -> bool:
        """The client's connection takes no further requests."""
        return self._connection is not None and self._connection.draining

    def on_close(self, reason: CloseReason) -> None:
        connection, self._connection = self._connection, None  # each knows the other: that would outlive the client
        if connection is not None:
            connection.closed(reason)
        if self.chain is not None:
            self.chain.close(reason)

    # What a connection of any version asks for

    def take_request(self, stream: ServerStream, request: HttpRequest, data: bytes, end: bool) -> Exchange:
        self._requests += 1
        exchange = request.exchange = Exchange(self, self.shared, stream, request)
        exchange.begin(data, end)
        return exchange

    def stream_done(self) -> None:
        limit = self.shared.config.limits.max_requests_per_connection
        if limit and self._requests >= limit and self._connection is not None:
            self._connection.drain()

    def protocol_error(self, error: RemoteProtocolError) -> None:
        self.shared.stats.protocol_errors_total.add(error.code)
        self.conn.log.info("%s: %s", error.code, error)
        if error.reply:
            self.conn.send_client(error.reply)
        reason = CloseReason("client", "relay", error.code, flags=("DPE",), message=str(error))
        self.finish(reason)

    def finish(self, reason: CloseReason | str) -> None:
        whole = _by_proxy(reason)
        self.conn.finish(whole)

    def abort(self, reason: CloseReason | str) -> None:
        whole = _by_proxy(reason)
        self.conn.close(whole, reset=True)

    def hold_client(self) -> None:
        self.conn.pause(Side.CLIENT)

    def release_client(self) -> None:
        self.conn.resume(Side.CLIENT)

    # Time

    def _watch(self, seconds: float) -> None:
        if seconds:
            self.conn.call_later(seconds, self._look)

    def _look(self) -> None:
        """Between requests: nothing may come for ``idle_timeout``, and what begins has ``head_timeout`` to be whole."""
        limits, connection = self.shared.config.limits, self._connection
        quiet, self._activity = self._activity == self._requests, self._requests
        if quiet and (connection is None or connection.idle):
            if connection is None:
                self.conn.close(CloseReason("proxy", "relay", "idle_timeout"))
            else:
                connection.drain()
            return
        self._watch(limits.idle_timeout)


def _by_proxy(reason: CloseReason | str) -> CloseReason:
    return CloseReason("proxy", "relay", reason) if isinstance(reason, str) else reason


def _forward(request: HttpRequest) -> None:
    if request.exchange is not None:
        request.exchange.forward()


def _deliver(response: HttpResponse) -> None:
    request: Any = response.request
    if request.exchange is not None:
        request.exchange.deliver(response)
