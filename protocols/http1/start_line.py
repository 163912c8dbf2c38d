"""Request lines and status lines (RFC 9112 sections 3 and 4). Both repeat, and are looked up by their bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from l4proxy.protocols.bounded import remember
from l4proxy.protocols.http1.errors import violation
from l4proxy.protocols.http1.memory import SeenOnce

__all__ = ["RequestLine", "StatusLine", "request_line", "status_line"]

METHOD_LIMIT = 32
"""Bytes of a method; the longest registered one, UPDATEREDIRECTREF, has 17."""
TABLE_SIZE = 1024
"""Lines that are remembered; when there are more, all are forgotten."""
LINE_LIMIT = 512
"""Bytes of a line that is worth remembering."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"{1,%d}) (/[\x21\x22\x24-\x7e]*) HTTP/1\.([01])" % METHOD_LIMIT)
"""The usual form, with a path. The others are rare, and so is everything that is wrong."""
_ANY_REQUEST_LINE = re.compile(rb"([^ ]*) ([^ ]*) HTTP/([0-9])\.([0-9])")
_METHOD = re.compile(_TOKEN + rb"{1,%d}" % METHOD_LIMIT)
_ABSOLUTE = re.compile(rb"(?i:(https?))://([^/?#]*)(/[\x21\x22\x24-\x7e]*|\?[\x21\x22\x24-\x7e]*|)")
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._~!$&'()*+,;=%-]{1,255})(?::[0-9]{1,5})?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")


@dataclass(slots=True)
class RequestLine:
    """A request line. ``target`` is path and query, ``*``, or empty for CONNECT; an absolute target's ``scheme`` and
    authority stand apart, as does the authority of CONNECT. ``raw`` is the line with its end, in origin form where the
    client named more."""

    method: str
    target: str
    version: str
    raw: bytes
    scheme: str = ""
    authority: str = ""


@dataclass(slots=True)
class StatusLine:
    status: int
    reason: str
    version: str
    raw: bytes


_requests: dict[bytes, RequestLine] = {}
_statuses: dict[bytes, StatusLine] = {}
_seen = SeenOnce()


def request_line(line: bytes) -> RequestLine:
    """Raises RemoteProtocolError."""
    known = _requests.get(line)
    if known is not None:
        return known
    found = _REQUEST_LINE.fullmatch(line)
    if found is None or found[1] == b"CONNECT":
        return _unusual(line)
    method, target, minor = found.groups()
    made = RequestLine(method.decode(), target.decode(), "HTTP/1.1" if minor == b"1" else "HTTP/1.0", line + b"\r\n")
    if len(line) <= LINE_LIMIT and _seen.again(line):
        remember(_requests, line, made, TABLE_SIZE)
    return made


def _unusual(line: bytes) -> RequestLine:
    """The forms of a target other than a path, and all that is wrong."""
    found = _ANY_REQUEST_LINE.fullmatch(line)
    if found is None:
        if line.startswith(b"\x16\x03"):
            violation("tls_on_plain_port")
        violation("bare_lf" if b"\n" in line else "bad_request_line", repr(line[:80]))
    method, target, major, minor = found.groups()
    if not _METHOD.fullmatch(method):
        violation("bad_method", repr(method[:40]))
    if major != b"1" or minor not in b"01":
        violation("unsupported_version", f"HTTP/{major.decode()}.{minor.decode()}")
    if b"#" in target:
        violation("fragment_in_target")
    version = f"HTTP/1.{minor.decode()}"
    name = method.decode()
    if name == "CONNECT":
        if not _AUTHORITY.fullmatch(target) or b":" not in target.rpartition(b"]")[2]:
            violation("bad_target", repr(target[:80]))
        return RequestLine(name, "", version, line + b"\r\n", authority=target.decode())
    if target == b"*" and name == "OPTIONS":
        return RequestLine(name, "*", version, line + b"\r\n")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        violation("bad_target", repr(target[:80]))
    scheme, authority, path = absolute.groups()
    if not _AUTHORITY.fullmatch(authority):
        violation("bad_host", repr(authority[:80]))
    if not path.startswith(b"/"):
        path = b"*" if name == "OPTIONS" and not path else b"/" + path
    raw = b"%b %b %b\r\n" % (method, path, version.encode())
    return RequestLine(name, path.decode(), version, raw, scheme.decode().lower(), authority.decode())


def status_line(line: bytes) -> StatusLine:
    """Raises RemoteProtocolError."""
    known = _statuses.get(line)
    if known is not None:
        return known
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        violation("bad_status_line", repr(line[:80]))
    minor, status, reason = found.groups()
    made = StatusLine(int(status), (reason or b"").decode("latin-1"), f"HTTP/1.{minor.decode()}", line + b"\r\n")
    if len(line) <= LINE_LIMIT:
        remember(_statuses, line, made, TABLE_SIZE)
    return made
