"""The same reply in the other version of the protocol: for clients of RESP3 on servers that speak RESP2, and back.

RESP3 says more: maps, sets and numbers, where RESP2 has lists and strings. To say less is nearly mechanical (``values``
does it), but for a few commands that also nest differently. To say more takes knowing what a command answers. Both is
written here once, as the *shape* of its reply, for the commands whose replies differ; all others are the same in both.

What cannot be known is left as it is: what a script or a module returns, and inside of ``DEBUG``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from l4proxy.protocols.redis.request import arguments
from l4proxy.protocols.redis.values import NULL_ARRAY, Double, Map, Push, Set, Value, Verbatim, decode, encode

__all__ = ["INVALIDATIONS", "Translator"]


_is_number = re.compile(rb"[+-]?(?:[0-9.]+(?:e[+-]?[0-9]+)?|inf|nan)").fullmatch


class Shape:
    """What a reply is made of. As it stands here: the same in both versions."""

    def up(self, value: Value) -> Value:
        """From RESP2 to RESP3."""
        return value

    def down(self, value: Value) -> Value:
        """From RESP3 to RESP2, as far as ``encode`` does not do it."""
        return value


SAME = Shape()


class Number(Shape):
    """A double; in RESP2 a string."""

    def up(self, value: Value) -> Value:
        return Double(value) if type(value) is bytes and _is_number(value) else value


class Text(Shape):
    """Verbatim text; in RESP2 a string."""

    def up(self, value: Value) -> Value:
        return Verbatim(value) if type(value) is bytes else value


class NullArray(Shape):
    """Where there is nothing, RESP2 says that it would have been an array."""

    def __init__(self, inner: Shape = SAME) -> None:
        self._inner = inner

    def up(self, value: Value) -> Value:
        return self._inner.up(value)

    def down(self, value: Value) -> Value:
        return NULL_ARRAY if value is None else self._inner.down(value)


class Each(Shape):
    """An array of things of one shape."""

    def __init__(self, item: Shape) -> None:
        self._item = item

    def up(self, value: Value) -> Value:
        return [self._item.up(item) for item in value] if type(value) is list else value

    def down(self, value: Value) -> Value:
        return [self._item.down(item) for item in value] if type(value) is list else value


class SetOf(Each):
    """A set; in RESP2 an array."""

    def up(self, value: Value) -> Value:
        return Set(super().up(value)) if type(value) is list else value


class At(Shape):
    """An array whose elements are of different shapes, those that are told by their place."""

    def __init__(self, shapes: Mapping[int, Shape]) -> None:
        self.shapes = dict(shapes)

    def up(self, value: Value) -> Value:
        return self._each(value, lambda shape, item: shape.up(item))

    def down(self, value: Value) -> Value:
        return self._each(value, lambda shape, item: shape.down(item))

    def _each(self, value: Value, convert: Callable[[Shape, Value], Value]) -> Value:
        if type(value) is not list:
            return value
        converted = list(value)
        for at, shape in self.shapes.items():
            if -len(converted) <= at < len(converted):
                converted[at] = convert(shape, converted[at])
        return converted


class MapOf(Shape):
    """A map; in RESP2 an array of keys and values in turn."""

    def __init__(self, fields: Mapping[bytes, Shape] | None = None, others: Shape = SAME) -> None:
        self.fields = dict(fields or {})
        self._others = others

    def up(self, value: Value) -> Value:
        if type(value) is not list:
            return value
        pairs = zip(value[::2], value[1::2], strict=False)
        return Map((key, self._shape(key).up(item)) for key, item in pairs)

    def down(self, value: Value) -> Value:
        if not isinstance(value, Map):
            return value
        return [part for key, item in value for part in (key, self._shape(key).down(item))]

    def _shape(self, key: Value) -> Shape:
        return self.fields.get(key, self._others) if isinstance(key, bytes) else self._others


class Pairs(Shape):
    """An array of pairs; in RESP2 they are not wrapped."""

    def __init__(self, second: Shape) -> None:
        self._second = second

    def up(self, value: Value) -> Value:
        if type(value) is not list:
            return value
        return [[one, self._second.up(two)] for one, two in zip(value[::2], value[1::2], strict=False)]

    def down(self, value: Value) -> Value:
        if type(value) is not list or not all(isinstance(pair, list) for pair in value):
            return value
        return [part for pair in value for part in pair]


class Streams(Shape):
    """Entries by the stream that they are of; in RESP2 an array of pairs."""

    def up(self, value: Value) -> Value:
        is_pairs = type(value) is list and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
        return Map((key, entries) for key, entries in value) if is_pairs else value

    def down(self, value: Value) -> Value:
        if value is None:
            return NULL_ARRAY
        return [[key, entries] for key, entries in value] if isinstance(value, Map) else value


Words: TypeAlias = Sequence[bytes]
Choice: TypeAlias = Callable[[Words], Shape]
NUMBER, TEXT, NULL = Number(), Text(), NullArray()
SCORES = Pairs(NUMBER)
POPPED = NullArray(At({1: Each(At({1: NUMBER}))}))
GROUP = MapOf({b"consumers": Each(MapOf())})
ARGUMENT = MapOf({b"flags": SetOf(SAME)})
ARGUMENT.fields[b"arguments"] = Each(ARGUMENT)
DOCUMENTATION = MapOf({b"arguments": Each(ARGUMENT), b"doc_flags": SetOf(SAME), b"history": SetOf(SAME)})
DOCUMENTATION.fields[b"subcommands"] = MapOf(others=DOCUMENTATION)
KEY_SPEC = MapOf({
    b"flags": SetOf(SAME), b"begin_search": MapOf({b"spec": MapOf()}), b"find_keys": MapOf({b"spec": MapOf()}),
})  # fmt: skip
COMMAND = At({2: SetOf(SAME), 6: SetOf(SAME), 7: SetOf(SAME), 8: SetOf(KEY_SPEC)})
COMMAND.shapes[9] = SetOf(COMMAND)


def _with(option: bytes, shape: Shape, otherwise: Shape = SAME) -> Choice:
    """The shape, if an option is among the arguments."""
    return lambda words: shape if option in [word.upper() for word in words[2:]] else otherwise


def _from(argc: int, shape: Shape, otherwise: Shape = SAME) -> Choice:
    """The shape, if there are so many arguments."""
    return lambda words: shape if len(words) >= argc else otherwise


SHAPES: dict[str, Shape | Choice] = {
    **dict.fromkeys(("SMEMBERS", "SINTER", "SUNION", "SDIFF"), SetOf(SAME)),
    "SPOP": _from(3, SetOf(SAME)),
    **dict.fromkeys(("ZSCORE", "ZINCRBY"), NUMBER),
    "ZADD": _with(b"INCR", NUMBER),
    "ZMSCORE": Each(NUMBER),
    **dict.fromkeys(
        ("ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZUNION", "ZINTER", "ZDIFF", "ZRANDMEMBER"),
        _with(b"WITHSCORES", SCORES),
    ),
    **dict.fromkeys(("ZPOPMIN", "ZPOPMAX"), _from(3, SCORES, At({1: NUMBER}))),
    **dict.fromkeys(("BZPOPMIN", "BZPOPMAX"), NullArray(At({2: NUMBER}))),
    **dict.fromkeys(("ZMPOP", "BZMPOP"), POPPED),
    "HGETALL": MapOf(),
    "HRANDFIELD": _with(b"WITHVALUES", Pairs(SAME)),
    **dict.fromkeys(("LPOP", "RPOP"), _from(3, NULL)),
    **dict.fromkeys(("BLPOP", "BRPOP", "LMPOP", "BLMPOP", "BRPOPLPUSH", "BLMOVE"), NULL),
    "GEOPOS": Each(NullArray(Each(NUMBER))),
    **dict.fromkeys(
        ("GEOSEARCH", "GEORADIUS", "GEORADIUS_RO", "GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO"),
        _with(b"WITHCOORD", Each(At({-1: Each(NUMBER)}))),
    ),
    **dict.fromkeys(("XREAD", "XREADGROUP"), Streams()),
    "XPENDING": At({3: NULL}),
    "XINFO|STREAM": MapOf({b"groups": Each(GROUP)}),
    **dict.fromkeys(("XINFO|GROUPS", "XINFO|CONSUMERS", "MODULE|LIST", "CLUSTER|LINKS"), Each(MapOf())),
    "LCS": _with(b"IDX", MapOf()),
    "CONFIG|GET": MapOf(),
    "MEMORY|STATS": MapOf(others=MapOf()),
    **dict.fromkeys(
        ("MEMORY|DOCTOR", "LATENCY|DOCTOR", "CLIENT|LIST", "CLIENT|INFO", "INFO", "LOLWUT", "CLUSTER|INFO",
         "CLUSTER|NODES", "LATENCY|GRAPH", "MEMORY|MALLOC-STATS"),
        TEXT,
    ),
    "LATENCY|HISTOGRAM": MapOf(others=MapOf({b"histogram_usec": MapOf()})),
    "COMMAND": Each(COMMAND),
    "COMMAND|INFO": Each(COMMAND),
    "COMMAND|DOCS": MapOf(others=DOCUMENTATION),
    "COMMAND|GETKEYSANDFLAGS": Each(At({1: SetOf(SAME)})),
    "ACL|GETUSER": MapOf({b"flags": SetOf(SAME), b"selectors": Each(MapOf())}),
    "ACL|LOG": Each(MapOf({b"age-seconds": NUMBER})),
    "CLIENT|TRACKINGINFO": MapOf({b"flags": SetOf(SAME)}),
    "FUNCTION|LIST": Each(MapOf({b"functions": Each(MapOf({b"flags": SetOf(SAME)}))})),
    "FUNCTION|STATS": MapOf({b"running_script": MapOf(), b"engines": MapOf(others=MapOf())}),
    "CLUSTER|SHARDS": Each(MapOf({b"nodes": Each(MapOf())})),
    "HELLO": MapOf(),
}  # fmt: skip
"""By the name of the command, or of the subcommand."""


INVALIDATIONS = b"__redis__:invalidate"
"""The channel on which a client that speaks RESP2 is told of invalid keys (``CLIENT TRACKING``)."""
_MESSAGES = frozenset(
    prefix + word for prefix in (b"", b"p", b"s") for word in (b"message", b"subscribe", b"unsubscribe")
)


class Translator:
    """Says the replies of one connection in the version that its clients speak. It is shown every command with its
    reply, in order, as ``EXEC`` answers for those that were queued before it."""

    __slots__ = ("_protocol", "_queued")

    def __init__(self, protocol: int) -> None:
        """``protocol``: what the clients speak."""
        self._protocol = protocol
        self._queued: list[Shape] | None = None

    def reply(self, command: bytes, data: bytes) -> bytes:
        """The reply to one command."""
        words = arguments(command)
        shape = _shape_of(words)
        if self._queued is not None or words[0].upper() == b"MULTI":
            shape = self._transaction(words[0].upper(), data, shape)
        if data[:1] == b"-" or (shape is SAME and data[:1] in (b"+", b":")):
            return data
        value, _ = decode(data)
        return encode(shape.up(value) if self._protocol == 3 else shape.down(value), self._protocol)

    def unasked(self, data: bytes, *, invalidations: bool = False) -> bytes:
        """A message or a push: in RESP2 it is an array. Pushes that are no messages are for RESP3 only, and are nothing
        in RESP2; but whoever has subscribed to ``INVALIDATIONS`` is told of invalid keys by messages."""
        value, _ = decode(data)
        values = list(value) if isinstance(value, list) else [value]
        if self._protocol == 3:
            return b">" + encode(values, 3)[1:]
        if isinstance(value, Push) and values[0] not in _MESSAGES:
            if values[0] != b"invalidate" or not invalidations:
                return b""
            values = [b"message", INVALIDATIONS, values[1]]
        return encode(values, 2)

    def _transaction(self, name: bytes, data: bytes, shape: Shape) -> Shape:
        """Remember what is queued; the shape of the reply to this command."""
        if data.startswith(b"+QUEUED"):
            if self._queued is not None:
                self._queued.append(shape)
            return SAME
        queued, failed = self._queued, data.startswith(b"-")
        if name == b"MULTI" and not failed:
            self._queued = []
        elif name in (b"EXEC", b"DISCARD") and (not failed or data.startswith(b"-EXECABORT")):
            self._queued = None
            if name == b"EXEC" and queued is not None:
                return NullArray(At(dict(enumerate(queued))))
        return SAME


def _shape_of(words: Words) -> Shape:
    name = words[0].upper().decode("latin-1")
    shape = SHAPES.get(name)
    if shape is None and len(words) > 1:
        shape = SHAPES.get(f"{name}|{words[1].upper().decode('latin-1')}")
    if name == "COMMAND" and len(words) > 1:
        shape = SHAPES.get(f"{name}|{words[1].upper().decode('latin-1')}")
    return SAME if shape is None else shape if isinstance(shape, Shape) else shape(words)
