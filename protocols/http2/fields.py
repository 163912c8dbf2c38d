"""Which fields make a message: the rules of RFC 9113 section 8, to the letter.

A field is judged once, when it is first read: it becomes an **entry**, which HPACK's tables keep. An entry that comes
again by its index costs a message no more than a look at its kind.

What is malformed is an error of its stream (section 8.1.1). Stricter than the letter, because what goes on may be
HTTP/1: values have no control characters at all, paths no blanks and no fragment, and of several ``Content-Length``
fields the message is refused even where they agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from l4proxy.protocols.http2.codes import ErrorCode
from l4proxy.protocols.http_fields import Field, FieldBlock

__all__ = [
    "ENTRY_OVERHEAD",
    "Entry",
    "HeadLimits",
    "MessageError",
    "NeverIndexed",
    "RequestHead",
    "ResponseHead",
    "make_entry",
    "read_request",
    "read_response",
    "read_trailers",
]

ENTRY_OVERHEAD = 32
"""What a field counts for in tables and limits beyond its bytes (RFC 7541 section 4.1)."""


REGULAR, COOKIE, HOST, CONTENT_LENGTH, TE, PRIORITY, UNDERSCORED = range(7)
METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, STATUS = range(8, 14)
CONNECTION, BAD_NAME, BAD_VALUE = range(16, 19)
"""What a field is to the reader of a message."""
_FIRST_PSEUDO, _FIRST_BAD = METHOD, CONNECTION

Entry = tuple[Field, int, int]
"""A field, its kind, and what it counts for in tables and limits."""

_is_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?").fullmatch
_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_scheme = re.compile(r"https?").fullmatch
_is_path = re.compile(r"/[\x21\x22\x24-\x7e]*|\*").fullmatch
_is_authority = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?").fullmatch
_is_length = re.compile(r"0|[1-9][0-9]{0,17}").fullmatch
_is_status = re.compile(r"[1-9][0-9][0-9]").fullmatch

_Check = Callable[[str], object]
_KNOWN: dict[str, tuple[int, _Check]] = {
    "cookie": (COOKIE, _is_value),
    "host": (HOST, _is_authority),
    "content-length": (CONTENT_LENGTH, _is_length),
    "te": (TE, _is_value),
    "priority": (PRIORITY, _is_value),
    ":method": (METHOD, _is_token),
    ":scheme": (SCHEME, _is_scheme),
    ":authority": (AUTHORITY, _is_authority),
    ":path": (PATH, _is_path),
    ":protocol": (PROTOCOL, _is_token),
    ":status": (STATUS, _is_status),
    # Section 8.2.2: what concerns one connection has no place here.
    "connection": (CONNECTION, _is_value),
    "proxy-connection": (CONNECTION, _is_value),
    "keep-alive": (CONNECTION, _is_value),
    "transfer-encoding": (CONNECTION, _is_value),
    "upgrade": (CONNECTION, _is_value),
}


class NeverIndexed(str):
    """A value that its sender has marked as one never to be put into a table, on no hop (RFC 7541 section 7.1.3). It is
    the string that it is; only the encoder looks whether it is marked."""

    __slots__ = ()


class MessageError(Exception):
    """A message is malformed, or larger than allowed: its stream is over, the connection goes on.

    ``detail`` is a stable snake-case name. ``status`` is what a server may answer."""

    def __init__(
        self, message: str, detail: str, *, status: int = 400, code: ErrorCode = ErrorCode.PROTOCOL_ERROR
    ) -> None:
        super().__init__(message)
        self.detail = detail
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Of one header section, as RFC 9113 section 6.5.2 counts it: each field with 32 bytes more than it has, and
    cookies by their crumbs."""

    size: int
    count: int


class RequestHead:
    """A request's head. ``block`` has the ``Host`` field in front, whichever way it came, and one ``Cookie``.

    ``target`` is the path with its query, ``*``, or empty for CONNECT; ``protocol`` is that of an extended CONNECT
    (RFC 8441). Never changed: streams with equal header blocks share one."""

    __slots__ = ("block", "content_length", "method", "priority", "protocol", "scheme", "target", "underscored")

    def __init__(
        self,
        method: str,
        scheme: str,
        target: str,
        protocol: str,
        block: FieldBlock,
        content_length: int | None,
        priority: str | None,
        underscored: bool = False,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.target = target
        self.protocol = protocol
        self.block = block
        self.content_length = content_length
        self.priority = priority
        self.underscored = underscored
        """Whether a name has an underscore, which some take for a hyphen."""

    @property
    def without_underscores(self) -> FieldBlock:
        """The fields that have none in their names."""
        return FieldBlock([field for field in self.block.fields if "_" not in field[0]])

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.scheme!r}, {self.target!r}, {self.block!r})"


class ResponseHead:
    """A response's head; shared like a `RequestHead`."""

    __slots__ = ("block", "content_length", "status")

    def __init__(self, status: int, block: FieldBlock, content_length: int | None) -> None:
        self.status = status
        self.block = block
        self.content_length = content_length

    def __repr__(self) -> str:
        return f"ResponseHead({self.status}, {self.block!r})"


def make_entry(name: str, value: str) -> Entry:
    """Judge a field. What is wrong with it shows when it is used: a table may hold anything."""
    kind, is_right = _judged.get(name) or _judge(name)
    return (name, value), kind if is_right(value) else BAD_VALUE, len(name) + len(value) + ENTRY_OVERHEAD


_judged = dict(_KNOWN)
_JUDGED_LIMIT = 512
"""Names remembered as in order. When there are more, all but those that we know are forgotten."""


def _judge(name: str) -> tuple[int, _Check]:
    if not _is_name(name):
        return BAD_NAME, _is_value
    if len(_judged) >= _JUDGED_LIMIT:
        _judged.clear()
        _judged.update(_KNOWN)
    _judged[name] = judged = (UNDERSCORED if "_" in name else REGULAR, _is_value)
    return judged


def read_request(entries: Sequence[Entry], limits: HeadLimits) -> RequestHead:
    """Raises MessageError."""
    pseudo: list[str | None] = [None] * _FIRST_BAD
    fields: list[Field] = [_NO_HOST]
    host: str | None = None
    priority: str | None = None
    length: int | None = None
    cookies: list[str] | None = None
    size = 0
    regular = underscored = False
    for field, kind, entry_size in entries:  # ``fields.append`` is faster than it bound: the interpreter knows this one
        size += entry_size
        if not kind:
            fields.append(field)
            regular = True
        elif _FIRST_PSEUDO <= kind < STATUS:
            if regular or pseudo[kind] is not None:
                raise _pseudo_error(field, regular)
            pseudo[kind] = field[1]
        else:
            regular = True
            if kind == COOKIE:
                if cookies is None:
                    cookies = []
                    fields.append(field)  # its place
                cookies.append(field[1])
            elif kind == CONTENT_LENGTH and length is None:
                length = int(field[1])
                fields.append(field)
            elif kind == HOST and host is None:
                host = field[1]
            elif kind == PRIORITY:
                priority = field[1]
                fields.append(field)
            elif kind == UNDERSCORED:
                underscored = True
                fields.append(field)
            elif kind != TE or field[1] != "trailers":
                raise _refused(field, kind)
    if size > limits.size or len(entries) > limits.count:
        raise _too_large(size, len(entries))
    if cookies is not None and len(cookies) > 1:
        fields = _with_one_cookie(fields, "; ".join(cookies))
    authority = pseudo[AUTHORITY]
    if authority is None or (host is not None and host.lower() != authority.lower()):
        authority = _authority(authority, host)
    fields[0] = ("host", authority)
    method, scheme, target = pseudo[METHOD], pseudo[SCHEME], pseudo[PATH]
    if method is None or scheme is None or target is None or method == "CONNECT" or target == "*":
        method, scheme, target = _unusual(pseudo)
    elif pseudo[PROTOCOL] is not None:
        raise MessageError(":protocol with another method than CONNECT", "malformed_connect")
    return RequestHead(
        method, scheme, target, pseudo[PROTOCOL] or "", FieldBlock(fields), length, priority, underscored
    )


_NO_HOST = ("host", "")


def _unusual(pseudo: Sequence[str | None]) -> tuple[str, str, str]:
    """Method, scheme and target where one is missing, or is one of those that have rules of their own."""
    method, scheme, path = pseudo[METHOD], pseudo[SCHEME], pseudo[PATH]
    if method == "CONNECT" and pseudo[PROTOCOL] is None:
        if scheme is not None or path is not None or pseudo[AUTHORITY] is None:
            raise MessageError("CONNECT has an :authority, no :scheme and no :path", "malformed_connect")
        return method, "", ""
    if method is None or scheme is None or path is None:
        missing = ":method" if method is None else ":scheme" if scheme is None else ":path"
        raise MessageError(f"a request without {missing}", "missing_pseudo_header")
    if path == "*" and method != "OPTIONS":
        raise MessageError("the path * with another method than OPTIONS", "bad_path")
    return method, scheme, path


def _authority(authority: str | None, host: str | None) -> str:
    """The one that counts, of the two that may name it (section 8.3.1). Where both do and differ, somebody tries to be
    understood in two ways."""
    if authority is not None:
        raise MessageError(f":authority is {authority[:100]!r} and Host is {host!r:.100}", "authority_mismatch")
    if host is None:
        raise MessageError("neither :authority nor Host", "missing_authority")
    return host


def read_response(entries: Sequence[Entry], limits: HeadLimits) -> ResponseHead:
    """Raises MessageError."""
    status: str | None = None
    length: int | None = None
    fields: list[Field] = []
    size = 0
    for field, kind, entry_size in entries:
        size += entry_size
        if not kind or kind in (COOKIE, HOST, PRIORITY, UNDERSCORED):
            fields.append(field)
        elif kind == STATUS:
            if fields or status is not None:
                raise _pseudo_error(field, bool(fields))
            status = field[1]
        elif kind == CONTENT_LENGTH and length is None:
            length = int(field[1])
            fields.append(field)
        else:
            raise _refused(field, kind)
    if size > limits.size or len(entries) > limits.count:
        raise _too_large(size, len(entries))
    if status is None:
        raise MessageError("a response without :status", "missing_pseudo_header")
    if status == "101":
        raise MessageError("the status 101 belongs to HTTP/1", "bad_status")
    if length is not None and (status[0] == "1" or (status == "204" and length)):
        raise MessageError(f"Content-Length with the status {status}", "bad_content_length")
    return ResponseHead(int(status), FieldBlock(fields), length)


def read_trailers(entries: Sequence[Entry], limits: HeadLimits) -> FieldBlock:
    """Raises MessageError."""
    size = 0
    for field, kind, entry_size in entries:
        size += entry_size
        if kind and kind != UNDERSCORED:
            if kind < _FIRST_BAD:
                raise MessageError(f"{field[0]} in trailers", "bad_trailer")
            raise _refused(field, kind)
    if size > limits.size or len(entries) > limits.count:
        raise _too_large(size, len(entries))
    return FieldBlock([field for field, _, _ in entries])


def _with_one_cookie(fields: list[Field], cookie: str) -> list[Field]:
    """Crumbs become one field again, since HTTP/1 and most who read it know nothing of them (section 8.2.3)."""
    return [("cookie", cookie) if field[0] == "cookie" else field for field in fields]


def _too_large(size: int, count: int) -> MessageError:
    return MessageError(
        f"{count} fields with {size} bytes", "headers_too_large", status=431, code=ErrorCode.ENHANCE_YOUR_CALM
    )


def _pseudo_error(field: Field, regular: bool) -> MessageError:
    if regular:
        return MessageError(f"{field[0]} behind a regular field", "pseudo_header_order")
    return MessageError(f"{field[0]} twice", "repeated_pseudo_header")


def _refused(field: Field, kind: int) -> MessageError:
    """Why a field is refused that has no place."""
    name, value = field
    if kind == BAD_NAME:
        return MessageError(f"{name[:100]!r} is not the name of a field here", "bad_header_name")
    if kind == BAD_VALUE:
        return MessageError(f"{value[:100]!r} is not a value of {name[:100]}", "bad_header_value")
    if kind in (CONNECTION, TE):
        return MessageError(f"{name}: {value[:100]!r} belongs to HTTP/1", "connection_header")
    if kind >= _FIRST_PSEUDO:
        return MessageError(f"{name} where it does not belong", "bad_pseudo_header")
    return MessageError(f"{name} twice", "repeated_header")
