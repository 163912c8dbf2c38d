"""What HTTP/1 bytes mean. Each event keeps ``raw``, the bytes that it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field

from l4proxy.protocols.http1.section import Section
from l4proxy.protocols.http1.start_line import RequestLine, StatusLine
from l4proxy.protocols.http_fields import EMPTY, FieldBlock

__all__ = ["END", "Data", "End", "Event", "RequestHead", "ResponseHead"]


@dataclass(slots=True)
class RequestHead:
    """The request line and the header section. ``raw`` is both, with the line ends."""

    line: RequestLine
    section: Section
    raw: bytes


@dataclass(slots=True)
class ResponseHead:
    """The status line and the header section. ``content_length`` is 0 where there is no body, whatever the fields say
    (the response to HEAD, 204, 304); None where it is chunked or ends with the connection. ``tunnel``: what follows is
    not HTTP."""

    line: StatusLine
    section: Section
    raw: bytes
    content_length: int | None = None
    tunnel: bool = False


@dataclass(slots=True)
class Data:
    """A piece of a body, or of what follows a switch of protocols. ``raw`` has the chunk framing where there is one."""

    data: bytes
    raw: bytes


@dataclass(slots=True)
class End:
    """The end of a message, with the last chunk and the trailers of a chunked body."""

    trailers: FieldBlock = field(default=EMPTY)
    raw: bytes = b""


END = End()
"""The end of a message that needs no bytes to say so."""

Event = RequestHead | ResponseHead | Data | End
