"""Which host is an HTTP/1 request for? Read from the first bytes of a connection, for choosing where it goes."""

from __future__ import annotations

import re
from typing import Literal

from l4proxy.protocols.detect import is_http1

__all__ = ["read_host"]

_TARGET = re.compile(rb"(?:\r\n)?(?:CONNECT |[^ ]+ [A-Za-z][A-Za-z0-9+.-]*://)([^ /?#]*)[^ ]* HTTP/1")
_HOST_OR_END = re.compile(rb"\n(?:[Hh][Oo][Ss][Tt]:[ \t]*([^\r\n]*?)[ \t]*\r?\n|\r?\n)")
_AUTHORITY = re.compile(rb"(?:[^@]*@)?(\[[0-9A-Fa-f:.]+\]|[^:@\[\]\x00-\x20\x7f-\xff]+)(?::[0-9]*)?")


def read_host(data: bytes) -> str | Literal[False] | None:
    """The host in lower case, without port and last dot; an IPv6 address stands in brackets. Empty: the request names
    none.

    None: more bytes are needed. False: this is not HTTP/1. A target that names a host goes before the ``Host`` field
    (RFC 9112 section 3.2.2); of several fields the first one counts, and it is for others to refuse such a request.
    """
    found = is_http1(data)
    if not found:
        return None if found is None else False
    named = _TARGET.match(data) or _HOST_OR_END.search(data)
    if not named:
        return None
    authority = _AUTHORITY.fullmatch(named[1] or b"")
    return authority[1].decode().lower().removesuffix(".") if authority else ""
