"""Paths of requests, made one of a kind: what the proxy's rules see is what the upstream will see.

``/a/../b``, ``/%61``, ``/a//b`` and ``/a%2Fb`` are the classical ways to get past a rule for ``/a`` (RFC 3986 section
6.2.2). Resolving comes before routes and filters, and the resolved path is what is sent on.
"""

from __future__ import annotations

import re

__all__ = ["BadPath", "normalize"]

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES = re.compile(r"%2[Ff]|%5[Cc]|\\")
_MANY_SLASHES = re.compile(r"//+")


class BadPath(ValueError):
    """A path that is refused; the text is the snake-case reason."""


def normalize(target: str, *, resolve: bool, merge: bool, slashes: str) -> str:
    """Return ``target`` with its path in normal form; the query stays as it is. Raises BadPath.

    ``resolve``: dot segments and needless escapes; ``merge``: several slashes become one; ``slashes``: what to do with
    escaped slashes (``reject``, ``keep``, ``unescape``). A path that climbs above its root is refused, and so are
    escapes that are none, NUL, and dot segments with parameters (``..;x``), which some servers resolve and others do
    not.
    """
    path, mark, query = target.partition("?")
    if _SLASHES.search(path):
        if slashes == "reject":
            raise BadPath("escaped_slash")
        if slashes == "unescape":
            path = _SLASHES.sub("/", path)
    if resolve:
        if "%" in path:
            path = _ESCAPE.sub(_unescape, path)
        if "/." in path:
            path = _resolve(path)
    if merge and "//" in path:
        path = _MANY_SLASHES.sub("/", path)
    return path + mark + query


def _unescape(found: re.Match[str]) -> str:
    if found[1] is None:
        raise BadPath("bad_escape")
    character = chr(int(found[1], 16))
    if character == "\0":
        raise BadPath("nul_in_path")
    return character if character in _UNRESERVED else f"%{found[1].upper()}"


def _resolve(path: str) -> str:
    """RFC 3986 section 5.2.4."""
    resolved: list[str] = []
    segments = path.split("/")[1:]
    for at, segment in enumerate(segments):
        name, semicolon, _ = segment.partition(";")
        if name in (".", ".."):
            if semicolon:
                raise BadPath("dot_segment_with_parameters")
            if name == "..":
                if not resolved:
                    raise BadPath("path_above_root")
                resolved.pop()
            if at == len(segments) - 1:
                resolved.append("")
        else:
            resolved.append(segment)
    return "/" + "/".join(resolved)
