"""The two roles of an HTTP/1 connection: `ServerCodec` reads requests and sends responses, `ClientCodec` the reverse.

**One message at a time.** ``receive_data`` returns the events of the message under way and stops at its end; what
follows waits in a buffer until both directions are done and ``next_cycle`` returns its events. So a pipelined request
is not even parsed before the one in front of it is answered: whether it is HTTP at all may depend on that answer
(CONNECT, Upgrade), and no bytes of it can be taken for anything else.

**Two ways to send.** ``send`` takes an event and returns its ``raw``: what was read from one connection may be sent on
another. Who composes a head himself calls ``begin`` instead, and then ``data`` and ``end``.

Both go through the tables in ``states``. The usual case, a whole head in one read, is looked up by its bytes.
"""

from __future__ import annotations

import re
from typing import ClassVar

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.bounded import remember
from l4proxy.protocols.http1.chunks import ChunkReader, encode_chunk, encode_last_chunk
from l4proxy.protocols.http1.errors import violation
from l4proxy.protocols.http1.events import END, Data, End, Event, RequestHead, ResponseHead
from l4proxy.protocols.http1.limits import Limits
from l4proxy.protocols.http1.memory import SeenOnce
from l4proxy.protocols.http1.section import Section, request_section, response_section
from l4proxy.protocols.http1.start_line import StatusLine, request_line, status_line
from l4proxy.protocols.http1.states import TRANSITIONS, Part, State
from l4proxy.protocols.http_fields import FieldBlock

__all__ = ["CHUNKED", "UNTIL_CLOSE", "ClientCodec", "ServerCodec"]

UNTIL_CLOSE = -1
"""The body ends with the connection."""
CHUNKED = -2
SECTION_LIMIT = 2048
"""Bytes of a header section, or of a whole response head, that is worth remembering."""
TABLE_SIZE = 512
"""How many of them are."""
DEFAULT_LIMITS = Limits()
_seen = SeenOnce()
_sections: dict[bytes, tuple[Section, int]] = {}
"""Of requests, by the bytes of a header section with the empty line behind it: what it says, and how many lines it
has."""
_heads: dict[bytes, tuple[StatusLine, Section, int, ResponseHead | None]] = {}
"""Of responses, by the bytes of a whole head with the empty line; the last one is for ``receive_whole``."""

_BODILESS = frozenset({"CONNECT", "HEAD"})
"""Methods whose responses have no body, whatever their fields say."""

_is_settings = re.compile(rb"\0\0.\x04\0{5}", re.DOTALL).match
"""The head of the frame that a server of HTTP/2 begins with (RFC 9113 section 3.4), whatever it was sent."""

_IDLE, _BODY, _DONE, _ERROR, _TUNNEL = State.IDLE, State.BODY, State.DONE, State.ERROR, State.TUNNEL


class _Codec:
    """What both roles share: buffer, states, bodies."""

    __slots__ = ("_chunks", "_last", "_left", "_searched", "_sent_left", "buffer", "limits", "reading", "sending")

    name: ClassVar[str] = "http1"

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.reading = State.IDLE
        self.sending = State.IDLE
        self.buffer = b""
        """Bytes that wait: of an unfinished head, or of what follows the message under way. To be read."""
        self._searched = 0
        """How much of the buffer is known to hold no end of a head: input byte by byte stays linear."""
        self._left = 0
        """Bytes of the body still to be read, or ``CHUNKED``, or ``UNTIL_CLOSE``."""
        self._chunks: ChunkReader | None = None
        self._sent_left = 0
        """The same of the body that is sent."""
        self._last = False
        """No other message follows the one under way."""

    # States

    def _read(self, part: Part) -> None:
        """The peer did ``part``. Raises RemoteProtocolError where it may not."""
        state = TRANSITIONS[self.reading].get(part)
        if state is None:
            rule = "incomplete_message" if part is Part.EOF else "unexpected_response"
            violation(rule, f"{part.name} in {self.reading.name}")
        self.reading = state

    def _send(self, part: Part) -> None:
        state = TRANSITIONS[self.sending].get(part)
        if state is None:
            raise LocalProtocolError(f"cannot send {part.name} in {self.sending.name}")
        self.sending = state

    @property
    def done(self) -> bool:
        """Both messages are complete, and others may follow: ``next_cycle``."""
        return self.reading is _DONE and self.sending is _DONE

    def next_cycle(self) -> list[Event]:
        """Both messages are complete: return what is there of the next one."""
        if self.reading is _DONE and self.sending is _DONE:
            self.reading = self.sending = _IDLE
        else:
            self._send(Part.NEXT)
            self._read(Part.NEXT)
        self._last = False
        if not self.buffer:
            return []
        data, self.buffer = self.buffer, b""
        return self.receive_data(data)

    @property
    def buffered(self) -> int:
        """How many bytes wait."""
        return len(self.buffer)

    # Reading

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the wire; ``b""`` is their end. Raises RemoteProtocolError."""
        try:
            if self.reading is _IDLE:
                return self._receive_head(data) if data else self._receive_eof()
            if not data:
                return self._receive_eof()
            if self.reading is _BODY:
                return self._receive_body(data)
            if self.reading is _TUNNEL:
                return [Data(data, data)]
            if self.reading is _ERROR:
                return []
            self.buffer += data
            return self._waiting()
        except RemoteProtocolError:
            self.reading = _ERROR
            raise

    @property
    def body_left(self) -> int:
        """Bytes still to come of a body with a length, as far as they are not buffered; 0 where there is none."""
        return max(self._left, 0) if self.reading is _BODY else 0

    @property
    def body_to_send(self) -> int:
        """The same of the body that is sent."""
        return max(self._sent_left, 0) if self.sending is _BODY else 0

    def passes(self, size: int) -> bool:
        """Whether the next ``size`` bytes are a piece from the middle of a body with a length; then they are taken, as
        ``receive_data`` would. For large bodies, of which there is nothing to be said but that."""
        if self._left > size and self.reading is _BODY:
            self._left -= size
            return True
        return False

    def sends(self, size: int) -> bool:
        """The same for sending: then the bytes are sent as they are, as ``data`` would."""
        if self._sent_left >= size and self.sending is _BODY:
            self._sent_left -= size
            return True
        return False

    def _waiting(self) -> list[Event]:
        """Bytes came behind a complete message."""
        return []

    def _receive_head(self, data: bytes) -> list[Event]:
        raise NotImplementedError

    def _take_head(self, data: bytes) -> bytes | None:
        """The bytes of a head up to the empty line, without it; None while there is more to come. What follows it is
        then in the buffer."""
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._check_unfinished(data)
            self.buffer = data
            self._searched = max(len(data) - 3, 0)
            return None
        if end + 4 > self.limits.max_head:
            self._too_large(data[: end + 4])
        self.buffer = data[end + 4 :]
        self._searched = 0
        return data[:end]

    def _check_unfinished(self, data: bytes) -> None:
        """Say what is wrong as soon as it is: nobody has to wait for the end of a head that cannot be one."""
        at = data.find(b"\n", self._searched)
        while at >= 0:
            if data[at - 1 : at] != b"\r":
                violation("bare_lf", repr(data[:80]))
            at = data.find(b"\n", at + 1)
        end = data.find(b"\r\n")
        if end >= max(self._searched - 1, 0):
            self._check_first_line(data[:end])
        if len(data) > self.limits.max_head or (len(data) > self.limits.max_line and end < 0):
            self._too_large(data)

    def _check_first_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _too_large(self, data: bytes) -> None:
        violation("head_too_large", f"more than {self.limits.max_head} bytes")

    def _lines(self, head: bytes) -> list[bytes]:
        lines = head.split(b"\r\n")
        if len(lines) > self.limits.max_fields + 1:
            violation("too_many_fields", f"more than {self.limits.max_fields}")
        return lines

    def _body_begins(self, length: int) -> list[Event]:
        """A head has been read; what is buffered behind it may be its body."""
        self._left = length
        if length == CHUNKED:
            self._chunks = ChunkReader(self.limits)
        data, self.buffer = self.buffer, b""
        return self._receive_body(data) if data else []

    def _receive_body(self, data: bytes) -> list[Event]:
        left = self._left
        if left == CHUNKED:
            chunks = self._chunks
            assert chunks is not None
            events = chunks.feed(data)
            if chunks.done:
                self.buffer, self._chunks = chunks.rest, None
                self._body_ends()
            return events
        if left == UNTIL_CLOSE:
            return [Data(data, data)]
        size = len(data)
        if size < left:
            self._left = left - size
            return [Data(data, data)]
        if size > left:
            data, self.buffer = data[:left], data[left:]
        self._body_ends()
        return [Data(data, data), END]

    def _body_ends(self) -> None:
        self._left = 0
        self._read(Part.END)

    def _receive_eof(self) -> list[Event]:
        if self.reading is _IDLE and self.buffer:
            violation("incomplete_message", "within a head")
        if self.reading is _BODY and self._left == UNTIL_CLOSE:
            self._body_ends()
            return [END]
        self._read(Part.EOF)
        return []

    def leftover(self) -> bytes:
        """What was received and is no part of an event. After a switch of protocols: what came behind it, once."""
        if self._chunks is not None:
            return self._chunks.leftover()
        data = self.buffer
        if self.reading is _TUNNEL:
            self.buffer = b""
        return data

    def switch(self) -> bytes:
        """Both sides have agreed on another protocol: return what came of it already. From now on bytes are data."""
        self._read(Part.SWITCH)
        self._send(Part.SWITCH)
        return self.leftover()

    # Sending

    def _begin_body(self, length: int) -> None:
        if length == 0:
            self._send(Part.WHOLE)
            self._message_sent()
        else:
            self._send(Part.HEAD)
            self._sent_left = length

    def whole(self, *, last: bool = False) -> None:
        """Head, body and end of a message are sent in one piece. ``last``: it says that the connection is closed behind
        it."""
        if self.sending is _IDLE and not last:
            self.sending = _DONE  # Part.WHOLE
            return
        self._last = last
        self._send(Part.WHOLE)
        self._message_sent()

    def _message_sent(self) -> None:
        """What was sent is complete."""

    def data(self, data: bytes) -> bytes:
        """The bytes of a piece of the body. Raises LocalProtocolError for more than was announced."""
        self._send(Part.DATA)
        left = self._sent_left
        if left == CHUNKED:
            return encode_chunk(data)
        if left >= 0 and self.sending is _BODY:
            if len(data) > left:
                raise LocalProtocolError(f"{len(data)} bytes of a body that has {left} left")
            self._sent_left = left - len(data)
        return data

    def end(self, trailers: FieldBlock | None = None) -> bytes:
        """The bytes that end a message. Trailers are dropped where the framing has no place for them. Raises
        LocalProtocolError for less than was announced."""
        if self._sent_left > 0:
            raise LocalProtocolError(f"{self._sent_left} bytes of the body are missing")
        self._send(Part.END)
        self._message_sent()
        return encode_last_chunk(trailers) if self._sent_left == CHUNKED else b""

    def _send_rest(self, event: Data | End) -> bytes:
        if isinstance(event, Data):
            self._send(Part.DATA)
            if self._sent_left >= 0 and self.sending is _BODY:
                self._sent_left -= len(event.data)
        elif self.sending is _BODY:
            if self._sent_left > 0:
                raise LocalProtocolError(f"{self._sent_left} bytes of the body are missing")
            self._send(Part.END)
            self._message_sent()
        return event.raw


class ServerCodec(_Codec):
    """Our side of a client's connection."""

    __slots__ = ()

    def _receive_head(self, data: bytes) -> list[Event]:
        limits = self.limits
        if not self.buffer and len(data) <= limits.max_head:
            end = data.find(b"\r\n") + 2
            rest = data[end:]
            known = _sections.get(rest)
            if known is not None and end <= limits.max_line and known[1] <= limits.max_fields:
                line = request_line(data[: end - 2])
                if line.version == "HTTP/1.1" and line.method != "CONNECT":
                    return self._begins(RequestHead(line, known[0], data))
            elif (
                2 < end <= limits.max_line
                and end - 2 < data.find(b"\r\n\r\n", end - 2) == len(data) - 4 <= end + SECTION_LIMIT
            ):
                return self._one_head(data, end, rest)
        if self.buffer:
            data, self.buffer = self.buffer + data, b""
        while data[:2] == b"\r\n":
            data = data[2:]  # RFC 9112 section 2.2: empty lines in front of a request are ignored
            self._searched = 0
        head = self._take_head(data)
        if head is None:
            return []
        first, *lines = self._lines(head)
        if len(first) > self.limits.max_line:
            violation("uri_too_long", f"more than {self.limits.max_line} bytes")
        line = request_line(first)
        section = request_section(lines, line.version)
        raw = head + b"\r\n\r\n"
        if line.version == "HTTP/1.1" and len(head) <= SECTION_LIMIT and _seen.again(raw[len(first) + 2 :]):
            remember(_sections, raw[len(first) + 2 :], (section, len(lines)), TABLE_SIZE)
        return self._begins(RequestHead(line, section, raw))

    def _one_head(self, data: bytes, end: int, rest: bytes) -> list[Event]:
        """A read that is a whole head and nothing else, and not known."""
        lines = rest[:-4].split(b"\r\n")
        if len(lines) > self.limits.max_fields:
            violation("too_many_fields", f"more than {self.limits.max_fields}")
        line = request_line(data[: end - 2])
        section = request_section(lines, line.version)
        if section.plain is not None:
            section.plain.made_http1 = rest[:-2]
        if line.version == "HTTP/1.1" and _seen.again(rest):
            remember(_sections, rest, (section, len(lines)), TABLE_SIZE)
        return self._begins(RequestHead(line, section, data))

    def _begins(self, head: RequestHead) -> list[Event]:
        section = head.section
        if section.chunked or section.content_length:
            if head.line.method == "CONNECT":
                violation("body_with_connect")
            if section.upgrade:
                violation("body_with_upgrade")
            self._read(Part.HEAD)
            return [head, *self._body_begins(CHUNKED if section.chunked else section.content_length or 0)]
        self.reading = _DONE  # Part.WHOLE
        return [head, END]

    def _too_large(self, data: bytes) -> None:
        end = data.find(b"\r\n")
        if end < 0 or end > self.limits.max_line:
            violation("uri_too_long", f"more than {self.limits.max_line} bytes")
        super()._too_large(data)

    def _check_unfinished(self, data: bytes) -> None:
        super()._check_unfinished(data)
        if data[:1] == b"\x16":
            violation("tls_on_plain_port")
        if not self._searched and len(data) > 40 and b" " not in data[:40]:
            violation("bad_request_line", repr(data[:40]))

    def _check_first_line(self, line: bytes) -> None:
        if len(line) > self.limits.max_line:
            violation("uri_too_long", f"more than {self.limits.max_line} bytes")
        request_line(line)

    def begin(self, length: int, *, last: bool = False) -> None:
        """The head of a response is sent, and its body has ``length`` bytes, or is ``CHUNKED`` or ``UNTIL_CLOSE``.
        ``last``: it says that the connection is closed behind it."""
        self._last = last or length == UNTIL_CLOSE
        self._begin_body(length)

    def interim(self) -> None:
        """The head of a 1xx response is sent."""
        self._send(Part.INTERIM)

    def _message_sent(self) -> None:
        if self._last:
            self._send(Part.LAST)

    def send(self, event: Event) -> bytes:
        """The bytes of an event as they were read. Raises LocalProtocolError."""
        if isinstance(event, ResponseHead):
            if event.tunnel:
                self._send(Part.SWITCH)
            elif event.line.status < 200:
                self._send(Part.INTERIM)
            else:
                chunked = CHUNKED if event.section.chunked else UNTIL_CLOSE
                length = chunked if event.content_length is None else event.content_length
                self.begin(length, last=event.section.close)
            return event.raw
        if isinstance(event, RequestHead):
            raise LocalProtocolError("a server sends no requests")
        return self._send_rest(event)


class ClientCodec(_Codec):
    """Our side of a connection to an upstream."""

    __slots__ = ("_interim", "_method", "_upgrade")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        self._method = ""
        self._upgrade = False
        self._interim = 0

    def begin(self, method: str, length: int, *, upgrade: bool = False) -> None:
        """The head of a request is sent, and its body has ``length`` bytes or is ``CHUNKED``. ``upgrade``: it asks for
        a switch of protocols."""
        self._method = method
        self._upgrade = upgrade
        self._interim = 0
        if length == 0 and self.sending is _IDLE:
            self.sending = _DONE  # Part.WHOLE
        else:
            self._begin_body(length)

    def send(self, event: Event) -> bytes:
        """The bytes of an event as they were read. Raises LocalProtocolError."""
        if isinstance(event, RequestHead):
            section = event.section
            length = CHUNKED if section.chunked else section.content_length or 0
            self.begin(event.line.method, length, upgrade=bool(section.upgrade))
            return event.raw
        if isinstance(event, ResponseHead):
            raise LocalProtocolError("a client sends no responses")
        return self._send_rest(event)

    def receive_whole(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """A head that is known and all of the body that it tells of, in one read: most responses, without events. None:
        it is something else, of which nothing was taken, and ``receive_data`` says what."""
        if self.reading is not _IDLE or self.sending is _IDLE or self.buffer or self._method in _BODILESS:
            return None
        end = data.find(b"\r\n\r\n") + 4
        known = _heads.get(data[:end])
        if known is None or end > self.limits.max_head or known[2] > self.limits.max_fields:
            return None
        head = known[3]
        if head is None or head.content_length != len(data) - end:
            return None
        self._last = False
        self.reading = _DONE  # Part.HEAD, DATA, END
        return head, data[end:]

    def _receive_head(self, data: bytes) -> list[Event]:
        if self.sending is _IDLE:
            violation("unexpected_response", repr(data[:80]))
        end = data.find(b"\r\n\r\n") + 4
        if end > 3 and not self.buffer:
            raw = data[:end]
            known = _heads.get(raw)
            if known is not None and end <= self.limits.max_head and known[2] <= self.limits.max_fields:
                self.buffer = data[end:]
                return self._begins(known[0], known[1], raw)
        head = self._take_head(data)
        if head is None:
            return []
        first, *lines = self._lines(head)
        if len(first) > self.limits.max_line:
            violation("bad_status_line", f"more than {self.limits.max_line} bytes")
        line = status_line(first)
        section = response_section(lines, line.version)
        raw = head + b"\r\n\r\n"
        if len(raw) <= SECTION_LIMIT and _seen.again(raw):
            remember(_heads, raw, (line, section, len(lines), _usual(line, section, raw)), TABLE_SIZE)
        return self._begins(line, section, raw)

    def _check_unfinished(self, data: bytes) -> None:
        if _is_settings(data):
            violation("http2_answer")
        super()._check_unfinished(data)

    def _check_first_line(self, line: bytes) -> None:
        status_line(line)

    def _begins(self, line: StatusLine, section: Section, raw: bytes) -> list[Event]:
        status = line.status
        if status < 200:
            return self._interim_or_switch(line, section, raw)
        known = section.content_length
        if known is not None and status not in (204, 304) and self._method != "HEAD":
            if known and known == len(self.buffer) and section.persists and self.reading is _IDLE:
                # The usual case: the whole body has come with the head. Part.HEAD, DATA, END.
                data, self.buffer = self.buffer, b""
                self._last = False
                self.reading = _DONE
                return [ResponseHead(line, section, raw, known), Data(data, data), END]
            length = known
        else:
            length = self._length_of(status, section)
        head = ResponseHead(line, section, raw, length if length >= 0 else None)
        if self._method == "CONNECT" and status < 300:
            head.tunnel = True
            self.reading = _DONE
            return [head]
        self._last = length == UNTIL_CLOSE or not section.persists
        self._read(Part.HEAD)
        if length == 0:
            self._body_ends()
            return [head, END]
        return [head, *self._body_begins(length)]

    def _length_of(self, status: int, section: Section) -> int:
        """RFC 9112 section 6.3."""
        if self._method == "HEAD" or status == 304:
            return 0
        if status == 204 or (self._method == "CONNECT" and status < 300):
            if section.chunked or section.content_length:
                violation("body_where_none_can_be", f"{status} to {self._method}")
            return 0
        return CHUNKED if section.chunked else UNTIL_CLOSE

    def _interim_or_switch(self, line: StatusLine, section: Section, raw: bytes) -> list[Event]:
        if section.chunked or section.content_length:
            violation("body_where_none_can_be", str(line.status))
        if line.status == 101:
            if not self._upgrade:
                violation("unexpected_switch")
            self.reading = _DONE
            return [ResponseHead(line, section, raw, None, tunnel=True)]
        self._interim += 1
        if self._interim > self.limits.max_interim:
            violation("too_many_interim")
        self._read(Part.INTERIM)
        head = ResponseHead(line, section, raw, 0)
        data, self.buffer = self.buffer, b""
        return [head, *self._receive_head(data)] if data else [head]

    def _waiting(self) -> list[Event]:
        """An upstream that says more than it was asked for is not to be trusted with another request."""
        violation("unexpected_response", repr(self.buffer[:80]))

    def _body_ends(self) -> None:
        super()._body_ends()
        if self._last or self.buffer:  # what comes behind the end belongs to nobody
            self._read(Part.LAST)


def _usual(line: StatusLine, section: Section, raw: bytes) -> ResponseHead | None:
    """The head as that of every response that is whole when its body has so many bytes; None where it takes more."""
    if line.status < 200 or line.status in (204, 304) or section.content_length is None or not section.persists:
        return None
    return ResponseHead(line, section, raw, section.content_length)
