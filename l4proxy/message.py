"""The contract of message filters: the filter contract, one layer up. Requests and responses instead of bytes.

Message filters are listed inside the network filter that speaks their protocol and does the bytes::

    filters = [{ use = "redis_proxy", cluster = "cache", filters = [{ use = "block", commands = ["FLUSHALL"] }] }]

The life of a message filter, in order:

1. ``provision(config, server)``: once per place in the configuration. What it returns is ``self.shared`` for every
   connection.
2. an instance per client connection; ``conn``, ``config`` and ``shared`` are set before the first call. Then
   ``on_connect()``. Where the protocol lets some requests meet the filter with other options (HTTP: those of a route),
   there is another instance for these, made for the first of them.
3. ``on_request(request)``: for every request whose kind the filter ``wants``, in the order of the list.
4. ``on_response(response)``: for the response to each of these requests, in the opposite order. ``response.request``
   is the request; what one filter has to remember between the two calls it keeps in ``request.state``.
5. ``on_close(reason)``: exactly once, always last.
6. ``cleanup(shared)``: once, after the last connection of that configuration is gone.

What a callback does with a message:

=========================== ======================================================================================
return it                   it goes on, with what was changed in place
``self.reply(request, r)``  the request goes no further; ``r`` goes back, through the filters in front of this one
return None                 it is held, until ``self.release(message)``, or for a request ``self.reply``
return another response     that one goes on instead (``on_response`` only)
=========================== ======================================================================================

**Each request gets exactly one response**, whoever gives it; a kind that has none (Kafka's produce with acks=0) says
so with ``expects_response = False``. Where a protocol answers in the order of the requests (Kafka, Redis), responses
and replies are delivered in that order, filters see both directions in that order, and what comes behind a held
message waits for it. Where requests are independent (HTTP/2 streams), a held one delays no other.

**What nobody wants is not decoded.** A request that no filter ``wants`` is forwarded as the bytes it came in, and so
is its response. Changed messages are encoded again; all others leave as they came.

**Bodies stream.** A message that can be long (HTTP) is handed over when its head is complete. The body follows behind
it, and the message itself has the means to read or change it; a body that no filter asked for passes untouched.

Callbacks are plain functions, run in one thread, and never overlap within a filter. To ask somebody first, hold::

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        self.conn.spawn(self._authorise(request))
        return None

    async def _authorise(self, request: HttpRequest) -> None:
        if await self.shared.allows(request.headers):
            self.release(request)
        else:
            self.reply(request, HttpResponse(403))

A filter that holds sets its own time limit (``conn.call_later``). An exception in a callback closes the client's
connection as ``filter_error``; with ``on_error = "bypass"`` the filter leaves the chain instead, and what it held
goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from l4proxy.filter import Conn, Peer, TlsInfo
    from l4proxy.message_chain import MessageChain
    from l4proxy.message_filters import MessageFilterUse
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server
    from l4proxy.timers import Timer

__all__ = ["MessageConn", "MessageFilter", "Request", "Response"]

NEW = -1
"""Where a message is (``_place``): not in a chain yet. At a filter, the place is that filter's position; a forwarded
request's is the length of the list."""
GIVEN = -2
"""A response that has been given, and whose turn has not come."""
DELIVERED = -3
CANCELLED = -4

C = TypeVar("C")


class Request:
    """A request, as message filters see it. A protocol derives a class of its own from this, with the protocol's words.

    ``kind`` is the word that ``MessageFilter.wants`` uses: ``"Produce"``, ``"FLUSHALL"``, ``"GET"``.
    ``expects_response`` is False where the protocol has no response to such a request.
    """

    __slots__ = ("_place", "_response", "_state", "_variant", "expects_response", "kind")

    def __init__(self, kind: str, *, expects_response: bool = True) -> None:
        self.kind = kind
        self.expects_response = expects_response
        self._place = NEW
        self._response: Response | None = None
        self._state: dict[str, Any] | None = None
        self._variant = 0

    def select(self, variant: int) -> None:
        """Let this request meet another list of filters (``MessageFilters.variant``). For the network filter, before
        the chain gets it."""
        self._variant = variant

    @property
    def state(self) -> dict[str, Any]:
        """What filters remember about this request. Keys are ``"filter_name:key"``."""
        if self._state is None:
            self._state = {}
        return self._state


class Response:
    """A response, as message filters see it; a protocol derives a class of its own. Each answers one request.

    ``request`` is set when the response is given, before any filter sees it. ``complete`` is False while more of it is
    still to come (a large value that is passed on as it arrives).
    """

    __slots__ = ("_place", "complete", "request")

    request: Request

    def __init__(self, *, complete: bool = True) -> None:
        self.complete = complete
        self._place = NEW


Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Response)


class MessageFilter(Generic[C, Q, R]):
    """Base of every message filter. ``C`` is a frozen dataclass, its options; ``Q`` and ``R`` are the protocol's
    messages.

    A protocol names them once, in a base of its own: ``class HttpFilter(MessageFilter[C, HttpRequest, HttpResponse])``.
    """

    name: ClassVar[str]
    """What a configuration file says: ``{ use = "NAME" }``. Unique within the protocol, lower case with underscores."""
    protocol: ClassVar[str]
    """What it speaks: ``http`` (all versions), ``kafka``, ``redis``. In another protocol's list it is refused."""
    wants: ClassVar[frozenset[str] | None] = None
    """The kinds of requests that this filter is to see, with their responses; None: all of them."""
    status: ClassVar[str] = "stable"
    """``stable``, ``alpha`` or ``wip``; shown by ``l4proxy plugins``."""
    posture: ClassVar[str] = "untrusted_client"
    """``untrusted_client`` (safe at the edge) or ``trusted_client``; shown by ``l4proxy plugins``."""

    conn: MessageConn
    config: C
    shared: Any

    @classmethod
    def provision(cls, config: C, server: Server) -> Any:
        """Make what all connections of this configured use share (counters, tables). Raise ValueError to refuse it."""
        return None

    @classmethod
    def cleanup(cls, shared: Any) -> None:
        """Give back what ``provision`` made."""

    @classmethod
    def wanted(cls, config: C) -> frozenset[str] | None:
        """``wants``, where it depends on the options."""
        return cls.wants

    @classmethod
    def renames(cls, config: C) -> Mapping[str, str]:
        """Kinds of requests of which this filter makes others: ``{"OPS-FLUSH": "FLUSHALL"}``. Filters behind it that
        want the other kind see those, too."""
        return {}

    def on_connect(self) -> None:
        """A client has connected. Once, before its first request."""

    def on_request(self, request: Q) -> Q | None:
        """A request on its way from the client. Return it, or None when it is answered or held."""
        return request

    def on_response(self, response: R) -> R | None:
        """The response to a request that this filter let pass, on its way to the client. Return it or another one, or
        None to hold it. Also called for what filters further along reply, and for errors that the proxy makes
        itself."""
        return response

    def on_cancel(self, request: Q) -> None:
        """The client gave this request up (an HTTP/2 stream was reset) after this filter saw it: no response will
        come by. When the whole connection ends there is only ``on_close``."""

    def on_close(self, reason: CloseReason) -> None:
        """The connection is over. Nothing is called after this, nothing can be sent."""

    def reply(self, request: Q, response: R) -> Q | None:
        """Answer a request that is at this filter: in its ``on_request``, or while it is held here.

        The filters in front of this one see the response; those behind never see the request. Where no response is
        expected none is sent, and the request just ends. Without effect when the client or the connection has gone.
        Raises RuntimeError for a request that is not here, and for a response that was given before. Returns None, for
        ``on_request`` to return in its turn.
        """
        self.conn.chain.reply(self.conn.position, request, response)
        return None

    def release(self, message: Q | R) -> None:
        """Let a message go on that this filter held. Without effect when the client or the connection has gone. Raises
        RuntimeError for a message that is not here."""
        self.conn.chain.release(self.conn.position, message)


class MessageConn:
    """The client's connection, seen from one message filter. It has no bytes to send: messages go by ``reply`` and
    ``release``."""

    __slots__ = ("_conn", "_use", "chain", "position")

    def __init__(self, conn: Conn, chain: MessageChain[Any, Any], position: int, use: MessageFilterUse) -> None:
        self._conn = conn
        self._use = use
        self.chain = chain
        self.position = position
        """Place in the list of message filters, from 0."""

    @property
    def id(self) -> int:
        """Unique in this process; the same number stands in logs, access logs and ``/connections``."""
        return self._conn.id

    @property
    def client(self) -> Peer:
        return self._conn.client

    @property
    def tls(self) -> TlsInfo | None:
        return self._conn.tls

    @property
    def destination(self) -> tuple[str, int]:
        """The ``(host, port)`` that the client meant."""
        return self._conn.destination

    @property
    def state(self) -> dict[str, Any]:
        """Shared by all filters of this connection, network filters included. Keys are ``"filter_name:key"``."""
        return self._conn.state

    @property
    def log(self) -> logging.LoggerAdapter[Any]:
        """Writes with the connection's id and the filter's name. Not for every message."""
        return _MessageFilterLog(self._conn.log, {"filter": self._use.name})

    def close(self, detail: str, *, flush: bool = True) -> None:
        """End the connection; ``detail`` is the snake-case name that logs and counters show. No further message
        passes."""
        self.chain.end(self._use.name, detail, flush=flush)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the connection. It is cancelled when the connection closes; an exception in it is this
        filter's, as if a callback had raised it."""
        self._conn.spawn(self._guard(coro))

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback()`` after ``delay`` seconds (coarse: a tenth of a second), unless the connection closes
        first. The timer returned can be cancelled; an exception in the callback is this filter's."""

        def call() -> None:
            try:
                callback()
            except Exception as error:
                self.chain.failed(self._use, error)

        return self._conn.call_later(delay, call)

    async def _guard(self, coro: Coroutine[Any, Any, None]) -> None:
        try:
            await coro
        except Exception as error:
            self.chain.failed(self._use, error)


class _MessageFilterLog(logging.LoggerAdapter[Any]):
    """Puts the filter's name in front of each line."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return f"{(self.extra or {})['filter']}: {msg}", kwargs
