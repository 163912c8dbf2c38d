"""As much of HTTP/1.1 (RFC 9112) as an admin interface needs, and strictly: a request head into a ``Request``, a
``Response`` into bytes. No sockets.

Whatever is not plainly right is refused with a status that says why: two opinions on where a request ends are how
requests are smuggled.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

__all__ = ["BODY_LIMIT", "HEAD_LIMIT", "HttpError", "Request", "Response", "parse_head", "with_form"]

HEAD_LIMIT = 16 * 1024
"""Bytes of a request's head."""
BODY_LIMIT = 16 * 1024
"""Bytes of a request's body: a form with a few fields."""
MAX_HEADERS = 100
MAX_PARAMETERS = 20

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_ONCE = frozenset({"authorization", "content-length", "content-type", "host", "origin", "transfer-encoding"})
_FORM = "application/x-www-form-urlencoded"


class HttpError(Exception):
    """A request that is not answered as it wants. ``text`` is for the person who sent it."""

    def __init__(self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is decoded, ``headers`` have names in lower case, ``parameters`` are those of the query and of a
    form."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    minor_version: int = 1
    """Of HTTP/1."""
    content_length: int = 0

    @property
    def keep_alive(self) -> bool:
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        return self.minor_version == 1 and "close" not in options


@dataclass(slots=True)
class Response:
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, *, keep_alive: bool, with_body: bool = True) -> bytes:
        headers = {
            "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Connection": "keep-alive" if keep_alive else "close",
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + (self.body if with_body else b"")


def parse_head(head: bytes) -> Request:
    """Read the head of a request, its empty line included. Raises HttpError."""
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(request_line)
    if not found:
        raise HttpError(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request line (GET /path HTTP/1.1)")
    method, target, minor_version = (group.decode("ascii") for group in found.groups())
    headers = _headers(lines)
    path, _, query = target.partition("?")
    return Request(
        method=method,
        path=_decoded(path),
        parameters=_parameters(query),
        headers=headers,
        minor_version=int(minor_version),
        content_length=_content_length(headers),
    )


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if not found:
            raise HttpError(HTTPStatus.BAD_REQUEST, "a header line is malformed")
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1")
        if name in headers and name in _ONCE:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"the header {name} stands there twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _content_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise HttpError(
            HTTPStatus.LENGTH_REQUIRED, "a body needs a Content-Length; Transfer-Encoding is not understood"
        )
    if "expect" in headers:
        raise HttpError(HTTPStatus.EXPECTATION_FAILED, "Expect is not understood")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the Content-Length is not a number")
    if int(text) > BODY_LIMIT:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {BODY_LIMIT} bytes")
    return int(text)


def with_form(request: Request, body: bytes) -> Request:
    """The request with the fields of a form, which its body is. Raises HttpError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a body has to be a form ({_FORM})")
    try:
        fields = _parameters(body.decode("ascii"))
    except UnicodeDecodeError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the form is not URL-encoded") from None
    if twice := fields.keys() & request.parameters.keys():
        raise _repeated(sorted(twice)[0])
    return replace(request, parameters=request.parameters | fields)


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the query is not URL-encoded UTF-8") from None
    except ValueError:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"there are more than {MAX_PARAMETERS} parameters") from None
    for name, value in pairs:
        if name in parameters:
            raise _repeated(name)
        parameters[name] = value
    return parameters


def _repeated(name: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, f"the parameter {name!r} stands there twice")


def _decoded(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the path is not URL-encoded UTF-8") from None
