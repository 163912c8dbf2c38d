"""Inline commands: a line of words, as a person types it into telnet. Words may be quoted, as for the server
(``sdssplitargs``)."""

from __future__ import annotations

import re

__all__ = ["split_inline"]

_WORD = re.compile(
    rb"""
    [ \t\n\r\v\f\0]* ( (?: "(?:[^"\\]|\\.)*" (?![^ \t\n\r\v\f\0]) | '(?:[^'\\]|\\.)*' (?![^ \t\n\r\v\f\0])
                       | [^ \t\n\r\v\f\0"'] )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = b" \t\n\r\v\f\0"
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_PIECE = re.compile(rb"""("(?:[^"\\]|\\.)*")|('(?:[^'\\]|\\.)*')|([^"']+)""", re.DOTALL)


def split_inline(line: bytes) -> list[bytes]:
    """The words of a line. Raises ValueError where quotes are not balanced, or for a NUL: the server looks for the end
    of the line no further than that, and would wait for it for ever, with all who share its connection."""
    if b"\0" in line:
        raise ValueError("unbalanced quotes: a NUL ends the line")
    words, at, end = [], 0, len(line.rstrip(_BLANK))
    while at < end:
        match = _WORD.match(line, at)
        if match is None:
            raise ValueError("unbalanced quotes")
        words.append(b"".join(_text(*piece) for piece in _PIECE.findall(match[1])))
        at = match.end()
    return words


def _text(double: bytes, single: bytes, plain: bytes) -> bytes:
    if double:
        return _ESCAPE.sub(_escaped, double[1:-1])
    return single[1:-1].replace(rb"\'", b"'") if single else plain


def _escaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code[1:], 16)]) if len(code) == 3 else _NAMED.get(code, code)
