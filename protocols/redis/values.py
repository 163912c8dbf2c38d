"""What a reply is in Python, and back: RESP2 and RESP3 whole.

=================================== ================================ ==================================================
on the wire                         in Python                        in RESP2
=================================== ================================ ==================================================
``$3 abc``                          ``bytes``                        the same
``+OK``, ``-ERR no``                `Simple`, `Failure`              the same
``!9 ERR a\\nb``                     `BulkFailure`                    an error, on one line
``:1``                              ``int``                          the same
``,1.5``                            `Double`                         a bulk string
``#t``                              ``bool``                         ``:1``
``(123``                            `BigNumber`                      a bulk string
``=7 txt:abc``                      `Verbatim`                       a bulk string, without the format
``_``, ``$-1``, ``*-1``             ``None``, `NULL_ARRAY`           ``$-1``, ``*-1``
``*2``, ``~2``, ``>2``              ``list``, `Set`, `Push`          an array
``%1``                              `Map` (pairs)                    an array, flat
``|1`` and what follows             `Attributed`                     what follows
``$?``, ``*?``                      the same as in one piece
=================================== ================================ ==================================================

RESP3 is https://github.com/redis/redis-specifications, ``protocol/RESP3.md``; how it is said in RESP2 is what the
server does itself (``addReplyDouble`` and its kin in ``networking.c``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.redis.limits import DEFAULT_LIMITS, MAX_LINE, RedisLimits

_is_integer = re.compile(rb"[+-]?[0-9]+").fullmatch

__all__ = [
    "NULL_ARRAY",
    "Attributed",
    "BigNumber",
    "BulkFailure",
    "Double",
    "Failure",
    "Incomplete",
    "Map",
    "Push",
    "Set",
    "Simple",
    "Value",
    "Verbatim",
    "decode",
    "encode",
]

Value: TypeAlias = Any
"""Of the table above."""


class Incomplete(Exception):
    """The bytes end before the value does."""


class Simple(bytes):
    """A simple string: one line."""

    __slots__ = ()


class Failure(bytes):
    """An error. The first word is its kind: ``ERR``, ``WRONGTYPE``, ``MOVED``."""

    __slots__ = ()

    @property
    def prefix(self) -> str:
        return self.split(None, 1)[0].decode("ascii", "replace") if self.strip() else ""


class BulkFailure(Failure):
    """An error that may have several lines."""

    __slots__ = ()


class Double(float):
    """A number; ``text`` is what stood on the wire, and is what is sent again."""

    text: bytes

    def __new__(cls, text: bytes) -> Double:
        self = super().__new__(cls, text)
        self.text = text
        return self


class BigNumber(int):
    """An integer of any size."""


class Verbatim(bytes):
    """Text in a format of three letters: ``txt``, ``mkd``."""

    format: bytes

    def __new__(cls, data: bytes, format: bytes = b"txt") -> Verbatim:
        self = super().__new__(cls, data)
        self.format = format
        return self


class Set(list[Value]):
    """As it came: the order is kept."""


class Push(list[Value]):
    """What the server says unasked; the first element is its kind."""


class Map(list[tuple[Value, Value]]):
    """Pairs, in order. Keys can be anything."""


@dataclass(slots=True)
class Attributed:
    """A value and what the server says about it."""

    attributes: Map
    value: Value


class _NullArray:
    def __repr__(self) -> str:
        return "NULL_ARRAY"

    def __bool__(self) -> bool:
        return False


NULL_ARRAY: Final = _NullArray()
"""RESP2's ``*-1``, which means the same as None, and is sent again as it came."""


def decode(data: bytes, at: int = 0, limits: RedisLimits = DEFAULT_LIMITS) -> tuple[Value, int]:
    """Read the value that begins at ``at``: return it, and the offset behind it.

    Raises Incomplete, and RemoteProtocolError for what is no RESP.
    """
    try:
        return _Decoder(data, limits).value(at, limits.max_depth)
    except ValueError as error:
        raise RemoteProtocolError(f"a number that is none: {error}", code="bad_number") from None


class _Decoder:
    def __init__(self, data: bytes, limits: RedisLimits) -> None:
        self._data = data
        self._limits = limits

    def value(self, at: int, depth: int) -> tuple[Value, int]:
        line, end = self._line(at)
        kind, text = line[:1], line[1:]
        if kind in b"*~>%|" and kind:
            if not depth:
                raise RemoteProtocolError("aggregates within aggregates, too deep", code="max_depth")
            return self._aggregate(kind, text, end, depth - 1)
        if kind in b"$!=" and kind:
            return self._bulk(kind, text, end)
        return self._scalar(kind, text), end

    def _line(self, at: int) -> tuple[bytes, int]:
        data = self._data
        end = data.find(b"\r\n", at)
        if end < 0:
            limit = self._limits.max_inline if data[at : at + 1] in (b"+", b"-", b"(") else MAX_LINE
            if len(data) - at > limit:
                raise RemoteProtocolError("a line that does not end", code="max_line")
            raise Incomplete
        return data[at:end], end + 2

    def _scalar(self, kind: bytes, text: bytes) -> Value:
        match kind:
            case b"+":
                return Simple(text)
            case b"-":
                return Failure(text)
            case b":":
                return _integer(text)
            case b"_":
                return None
            case b"#" if text in (b"t", b"f"):
                return text == b"t"
            case b",":
                return Double(text)
            case b"(":
                return BigNumber(_integer(text))
        raise RemoteProtocolError(f"{kind + text[:20]!r} is no RESP", code="bad_type")

    def _bulk(self, kind: bytes, text: bytes, at: int) -> tuple[Value, int]:
        if text == b"-1":
            return None, at
        body, end = self._chunks(at) if text == b"?" else self._counted(text, at)
        if kind == b"$":
            return body, end
        return (BulkFailure(body) if kind == b"!" else Verbatim(body[4:], body[:3])), end

    def _counted(self, text: bytes, at: int) -> tuple[bytes, int]:
        data, length = self._data, _integer(text)
        if not 0 <= length <= self._limits.max_bulk:
            raise RemoteProtocolError(f"a bulk string of {length} bytes", code="max_bulk")
        end = at + length
        if len(data) < end + 2:
            raise Incomplete
        if data[end : end + 2] != b"\r\n":
            raise RemoteProtocolError("a bulk string is longer than it says", code="bad_bulk")
        return bytes(data[at:end]), end + 2

    def _chunks(self, at: int) -> tuple[bytes, int]:
        """A streamed string: ``;4 abcd`` until ``;0``."""
        parts: list[bytes] = []
        while True:
            line, at = self._line(at)
            if line[:1] != b";":
                raise RemoteProtocolError("a chunk of a streamed string is missing", code="bad_stream")
            if line == b";0":
                return b"".join(parts), at
            part, at = self._counted(line[1:], at)
            parts.append(part)

    def _aggregate(self, kind: bytes, text: bytes, at: int, depth: int) -> tuple[Value, int]:
        if text == b"-1":
            return NULL_ARRAY, at
        count = -1 if text == b"?" else _integer(text)
        if count > self._limits.max_elements or (count < 0 and text != b"?"):
            raise RemoteProtocolError(f"an aggregate of {count} elements", code="max_elements")
        items, at = self._elements(count * 2 if kind in b"%|" and count > 0 else count, at, depth)
        if kind == b"*":
            return items, at
        if kind in b"~>":
            return (Set(items) if kind == b"~" else Push(items)), at
        if len(items) % 2:
            raise RemoteProtocolError("a map with a key that has no value", code="bad_stream")
        pairs = Map(zip(items[::2], items[1::2], strict=True))
        if kind == b"%":
            return pairs, at
        value, at = self.value(at, depth)
        return Attributed(pairs, value), at

    def _elements(self, count: int, at: int, depth: int) -> tuple[list[Value], int]:
        """``count`` values, or (-1) as many as come before ``.``."""
        items: list[Value] = []
        while len(items) != count:
            if count < 0 and self._data[at : at + 1] == b".":
                return items, self._line(at)[1]
            item, at = self.value(at, depth)
            items.append(item)
        return items, at


def _integer(text: bytes) -> int:
    """Python reads more as a number than the protocol does."""
    if not _is_integer(text):
        raise ValueError(f"{text[:30]!r}")
    return int(text)


def encode(value: Value, protocol: int = 3) -> bytes:
    """The bytes of a value. In RESP2, what RESP3 has more is said as the server says it there (the table above).

    Raises LocalProtocolError for what no value is.
    """
    parts: list[bytes] = []
    _encode(value, protocol, parts.append)
    return b"".join(parts)


def _encode(value: Value, protocol: int, add: Any) -> None:
    match value:
        case Simple():
            add(b"+%b\r\n" % _one_line(value))
        case BulkFailure() if protocol == 3:
            add(b"!%d\r\n%b\r\n" % (len(value), value))
        case Failure():
            add(b"-%b\r\n" % _one_line(value))
        case Verbatim() if protocol == 3:
            add(b"=%d\r\n%b:%b\r\n" % (len(value) + 4, value.format, value))
        case bytes():
            add(b"$%d\r\n%b\r\n" % (len(value), value))
        case None:
            add(b"_\r\n" if protocol == 3 else b"$-1\r\n")
        case bool():
            add((b"#t\r\n" if value else b"#f\r\n") if protocol == 3 else b":%d\r\n" % value)
        case BigNumber():
            add(b"(%d\r\n" % value if protocol == 3 else _bulk(b"%d" % value))
        case int():
            add(b":%d\r\n" % value)
        case Double():
            add(b",%b\r\n" % value.text if protocol == 3 else _bulk(value.text))
        case _NullArray():
            add(b"_\r\n" if protocol == 3 else b"*-1\r\n")
        case Map():
            add(b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % (2 * len(value)))
            for pair in value:
                for item in pair:
                    _encode(item, protocol, add)
        case list():
            kind = {Set: b"~", Push: b">"}.get(type(value), b"*") if protocol == 3 else b"*"
            add(b"%b%d\r\n" % (kind, len(value)))
            for item in value:
                _encode(item, protocol, add)
        case Attributed():
            if protocol == 3:
                add(b"|%d\r\n" % len(value.attributes))
                for pair in value.attributes:
                    for item in pair:
                        _encode(item, protocol, add)
            _encode(value.value, protocol, add)
        case _:
            raise LocalProtocolError(f"{type(value).__name__} is no value of RESP")


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _one_line(text: bytes) -> bytes:
    """What a line cannot hold would be read as the next reply."""
    return text.replace(b"\r", b" ").replace(b"\n", b" ")
