"""HTTP requests and responses, as filters, routes and every version of HTTP see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from l4proxy.message import NEW, MessageFilter, Request, Response
from l4proxy.plugins.http.headers import Headers
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

if TYPE_CHECKING:
    from l4proxy.plugins.http.body import Body
    from l4proxy.plugins.http.connection import ServerStream
    from l4proxy.protocols.http1.events import RequestHead, ResponseHead

__all__ = ["HttpFilter", "HttpRequest", "HttpResponse", "ReceivedResponse"]

C = TypeVar("C")


class HttpRequest(Request):
    """A request whose head is complete; the body follows behind it.

    ``kind`` is the method. ``target`` is the path with its query, as it goes to the upstream (``*`` for ``OPTIONS *``,
    empty for CONNECT). ``added`` are fields that the proxy puts behind those of the client (``X-Forwarded-For`` ...); a
    block that many requests share. Filters find both in ``headers``.

    Every version of HTTP keeps to this:

    - Fields are end-to-end ones. What concerns one hop (``Connection`` and what it names, ``Transfer-Encoding``,
      ``Upgrade``, ``Keep-Alive``; the pseudo-headers of HTTP/2) has been taken out and is in an attribute here.
    - There is exactly one ``host`` field, whichever way the authority came. ``Content-Length`` is there when
      ``content_length`` is not None, and they agree.
    """

    __slots__ = ("_body", "_headers", "added", "block", "content_length", "exchange", "head", "original_target",
                 "scheme", "stream", "target", "trailers", "upgrade", "version")  # fmt: skip

    def __init__(
        self,
        method: str,
        target: str,
        block: FieldBlock,
        scheme: str = "http",
        version: str = "HTTP/1.1",
        content_length: int | None = None,
        upgrade: str = "",
        head: RequestHead | None = None,
    ) -> None:
        # What the base class sets, without the call: this runs for every request.
        self.kind = method
        self.expects_response = True
        self._place = NEW
        self._response: Response | None = None
        self._state: dict[str, Any] | None = None
        self._variant = 0
        self.target: str = target
        self.original_target: str = ""
        """What ``target`` was before a route rewrote it; empty: no route has."""
        self.block = block
        """The client's fields; after ``seal`` all of them but ``added``."""
        self.scheme: str = scheme
        self.version = version
        """As access logs and Via know it: ``HTTP/1.0``, ``HTTP/1.1``, ``HTTP/2``."""
        self.content_length = content_length
        """Bytes of the body: 0 without one, None when its end will show."""
        self.upgrade = upgrade
        """The protocol that the connection is to be switched to (``websocket``). The body is then what the client sends
        behind the switch, and so it is for CONNECT, if the response agrees to it (``HttpResponse.tunnel``)."""
        self.head = head
        """What it came as over HTTP/1: what nobody changes is forwarded in these bytes."""
        self.added: FieldBlock = EMPTY
        self.trailers: FieldBlock | None = None
        """Set when they have come, with the end of the body."""
        self.stream: ServerStream | None = None
        self.exchange: Any = None
        self._headers: Headers | None = None
        self._body: Body | None = None

    @property
    def method(self) -> str:
        return self.kind

    @property
    def path(self) -> str:
        """``target`` without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def client(self) -> str:
        """The address of the client: of the connection, or what a trusted proxy in front says."""
        address: str = self.exchange.client if self.exchange is not None else ""
        return address

    @property
    def authority(self) -> str:
        """Host, and port if there is one, as the client wrote it. Setting it sets the ``Host`` field."""
        return (self.block if self._headers is None else self._headers.block).index.get("host", "")

    @authority.setter
    def authority(self, value: str) -> None:
        self.headers["Host"] = value

    @property
    def headers(self) -> Headers:
        """All fields, to be read and changed."""
        if self._headers is None:
            if self.added is not EMPTY:
                block = FieldBlock(self.block.fields + self.added.fields, (*self.block.lines, *self.added.lines))
                self.block, self.added = block, EMPTY
            self._headers = Headers(self.block)
        return self._headers

    def when_done(self, callback: Callable[[str], object]) -> None:
        """Call ``callback(why)`` when this request is over, in whichever way: ``why`` is empty after a whole response,
        else the snake-case name of what came between. ``exchange`` still has everything then. Must not raise."""
        exchange = self.exchange
        if exchange is not None:
            exchange.watchers = [*(exchange.watchers or ()), callback]

    def seal(self) -> FieldBlock:
        """What filters have made of the fields: from now on it is in ``block``, for who sends it on."""
        if self._headers is not None:
            self.block = self._headers.block
        return self.block

    def field(self, name: str) -> str | None:
        """A field's value, by its name in lower case: for who reads one and changes nothing."""
        if self._headers is not None:
            return self._headers.block.index.get(name)
        value = self.block.index.get(name)
        return self.added.index.get(name) if value is None else value

    @property
    def body(self) -> Body:
        """The means to see, change or gather the body."""
        if self._body is None:
            from l4proxy.plugins.http.body import Body

            self._body = Body(self)
        return self._body


class HttpResponse(Response):
    """A response whose head is complete. Filters make them: ``HttpResponse(403, "no")``.

    Its fields keep to what `HttpRequest` says. ``added`` are the proxy's own, behind those of the upstream.
    """

    __slots__ = ("_body", "_headers", "added", "block", "content", "content_length", "details", "flags", "head",
                 "reason", "status", "trailers", "tunnel", "version")  # fmt: skip

    def __init__(
        self,
        status: int,
        content: bytes | str = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        *,
        content_type: str = "text/plain; charset=utf-8",
        details: str = "",
        flags: tuple[str, ...] = (),
    ) -> None:
        """A whole response, by the proxy or a filter; ``headers`` go before what is made here (``Content-Type``, unless
        given, and ``Content-Length``). Raises ValueError for what is no field.

        ``details`` is the snake-case reason that access logs show (``%RESPONSE_CODE_DETAILS%``), ``flags`` are response
        flags."""
        self._place = NEW
        self.complete = True
        self.status = status
        self.content = content.encode() if isinstance(content, str) else content
        """The body of a response that is made here; empty for one that comes from an upstream."""
        self.content_length: int | None = len(self.content)
        self.reason = ""
        """The words behind the status (HTTP/1); empty: the usual ones."""
        made = Headers.of(headers or ())
        if self.content and "content-type" not in made:
            made.add("Content-Type", content_type)
        if status >= 200 and status != 204:
            made["Content-Length"] = str(len(self.content))
        self.block = made.block
        self.version = "HTTP/1.1"
        self.head: ResponseHead | None = None
        self.added: FieldBlock = EMPTY
        self.trailers: FieldBlock | None = None
        self.tunnel = False
        """A 101, or a 2xx to CONNECT: bodies are from now on the bytes of another protocol, both ways."""
        self.details = details
        self.flags = flags
        self._headers: Headers | None = None
        self._body: Body | None = None

    @property
    def headers(self) -> Headers:
        """All fields, to be read and changed."""
        if self._headers is None:
            if self.added is not EMPTY:
                block = FieldBlock(self.block.fields + self.added.fields, (*self.block.lines, *self.added.lines))
                self.block, self.added = block, EMPTY
            self._headers = Headers(self.block)
        return self._headers

    def seal(self) -> FieldBlock:
        """What filters have made of the fields: from now on it is in ``block``, for who sends it on."""
        if self._headers is not None:
            self.block = self._headers.block
        return self.block

    def field(self, name: str) -> str | None:
        """A field's value, by its name in lower case: for who reads one and changes nothing."""
        return (self.block if self._headers is None else self._headers.block).index.get(name)

    @property
    def body(self) -> Body:
        """The means to see, change or gather the body."""
        if self._body is None:
            from l4proxy.plugins.http.body import Body

            self._body = Body(self)
        return self._body


class ReceivedResponse(HttpResponse):
    """The head of a response that an upstream sends. ``content_length``: as in `HttpRequest`, and 0 where there is no
    body whatever the fields say (HEAD, 304)."""

    __slots__ = ()

    def __init__(
        self,
        status: int,
        block: FieldBlock,
        content_length: int | None,
        version: str = "HTTP/1.1",
        reason: str = "",
        head: ResponseHead | None = None,
    ) -> None:
        self._place = NEW
        self.complete = True
        self.status = status
        self.content = b""
        self.content_length = content_length
        self.reason = reason
        self.block = block
        self.version = version
        self.head = head
        self.added = EMPTY
        self.trailers = None
        self.tunnel = False
        self.details = "via_upstream"
        self.flags = ()
        self._headers = None
        self._body = None


class HttpFilter(MessageFilter[C, HttpRequest, HttpResponse]):
    """Base of HTTP filters: ``on_request(request)`` and ``on_response(response)``, under every version of HTTP. The
    contract is in ``l4proxy.message``; ``wants`` names methods."""

    protocol: ClassVar[str] = "http"
