"""HPACK, the writing side (RFC 7541), for a proxy: much repeats, some never does.

What to put into the table decides the cost of everything behind it, because each insertion moves the indices of all
other fields. Two rules keep the table still while requests differ in a path or a trace id:

- A field is put into the table when it is about to be sent the second time. The first time it is a literal.
- A name that is in no table gets there with its first value, so that a varying one is sent by its index.
- A full table changes only once in a while, for what repeats may be more than it holds.

Once the table stands still, the encoding of a field and of a whole `FieldBlock` is what it was, and is looked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from l4proxy.protocols.bounded import remember
from l4proxy.protocols.http2.fields import ENTRY_OVERHEAD
from l4proxy.protocols.http2.hpack_decoder import DEFAULT_TABLE_SIZE
from l4proxy.protocols.http2.huffman import encode_huffman
from l4proxy.protocols.http2.static_table import STATIC_TABLE
from l4proxy.protocols.http_fields import EMPTY, Field, FieldBlock

__all__ = ["Encoder", "encode_integer"]

_INDEXED, _INCREMENTAL, _TABLE_SIZE, _NEVER, _PLAIN = 0x80, 0x40, 0x20, 0x10, 0x00
_PREFIX = {_INDEXED: 0x7F, _INCREMENTAL: 0x3F, _TABLE_SIZE: 0x1F, _NEVER: 0x0F, _PLAIN: 0x0F}
_STATIC_SIZE = len(STATIC_TABLE)
_STATIC: dict[Field, bytes] = {
    field: bytes([_INDEXED | at]) for at, field in reversed(list(enumerate(STATIC_TABLE, 1))) if field[1]
}
_STATIC_NAMES: dict[str, int] = {field[0]: at for at, field in reversed(list(enumerate(STATIC_TABLE, 1)))}
_NOT_INDEXED = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
"""What an attacker on the way would like to guess by how well it compresses (RFC 7541 section 7.1), and what differs
with each user of a connection that many share."""
_SEEN_LIMIT = 256
"""Fields remembered as sent once. When there are more, all are forgotten."""
_EVICTION_PAUSE = 64
"""Header blocks between two insertions that push something out."""
_TE_TRAILERS = ("te", "trailers")
_REQUESTS_LIMIT = 64
"""Beginnings of requests remembered. When there are more, all are forgotten."""
_BLOCKS_LIMIT = 8
"""Encodings that a block remembers: it may go out on many connections, and each has tables of its own."""


def encode_integer(value: int, kind: int) -> bytes:
    """Section 5.1, with the first octet's high bits."""
    prefix = _PREFIX[kind]
    if value < prefix:
        return bytes((kind | value,))
    octets = [kind | prefix]
    value -= prefix
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


class Encoder:
    """One direction of one connection."""

    __slots__ = ("_blocks", "_evictable", "_indices", "_inserted", "_max_size", "_may_evict", "_names", "_new_sizes",
                 "_requests", "_seen", "_size", "_token", "_unsettled", "fields")  # fmt: skip

    def __init__(self) -> None:
        self.fields: dict[Field, bytes] = dict(_STATIC)
        """How a field is encoded while the table is as it is: complete for what is in a table."""
        self._indices: dict[Field, int] = {}
        """The dynamic table: which insertion, counted from 1, put it there."""
        self._names: dict[str, int] = {}
        self._evictable: deque[tuple[Field, int, int]] = deque()
        self._inserted = 0
        self._size = 0
        self._max_size = DEFAULT_TABLE_SIZE
        self._new_sizes: list[int] = []
        self._blocks = self._may_evict = 0
        """How many blocks were begun, and from which one on an insertion may push something out."""
        self._requests: dict[tuple[str, str, str, str, str, bool], bytes] = {}
        self._seen: set[int] = set()
        self._token = object()
        """Stands for the table as it is; another one, when it changes."""
        self._unsettled = False
        """Whether a field was encoded that will be encoded otherwise the next time."""

    @property
    def table_size(self) -> int:
        return self._size

    def set_limit(self, limit: int) -> None:
        """The peer's SETTINGS say how large its table may be. The next block tells it what we made of that."""
        size = min(limit, DEFAULT_TABLE_SIZE)
        if size != self._max_size:
            self._max_size = size
            self._evict()
            self._new_sizes = [min(self._new_sizes[0], size), size] if self._new_sizes else [size]
            self._table_changed()

    def begin(self) -> bytes:
        """What has to stand in front of a block: mostly nothing. To be called for each."""
        self._blocks += 1
        if not self._new_sizes:
            return b""
        sizes, self._new_sizes = self._new_sizes, []
        return b"".join(encode_integer(size, _TABLE_SIZE) for size in sizes)

    def head(self, status: Field, block: FieldBlock, added: FieldBlock) -> bytes:
        """The header block of a response, whole."""
        if self._new_sizes:
            begun = self.begin()
        else:
            self._blocks += 1
            begun = b""
        encoded = begun + (self.fields.get(status) or self.encode((status,)))
        cache = block.cache
        known = None if cache is None else cache.get(self._token)
        encoded += self.encode_block(block) if known is None else known
        return encoded if added is EMPTY else encoded + self.encode_block(added)

    def encode_request(
        self, method: str, scheme: str, authority: str, target: str, protocol: str, te_trailers: bool
    ) -> bytes:
        """What stands in front of a request's fields (RFC 9113 section 8.3.1, and 8.5 for CONNECT; RFC 8441)."""
        key = method, scheme, authority, target, protocol, te_trailers
        plain = type(target) is type(authority) is type(method) is str  # and nothing is marked as never to be indexed
        known = self._requests.get(key) if plain else None
        if known is not None:
            return known
        fields: list[Field] = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", target)]
        if method == "CONNECT" and not protocol:
            del fields[3], fields[1]
        elif protocol:
            fields.append((":protocol", protocol))
        if te_trailers:
            fields.append(_TE_TRAILERS)
        token = self._token
        self._unsettled = False
        encoded = self.encode(fields)
        if plain and not self._unsettled and token is self._token:
            remember(self._requests, key, encoded, _REQUESTS_LIMIT)
        return encoded

    def encode(self, fields: Iterable[Field]) -> bytes:
        """Names are in lower case, values what `check_field` takes."""
        known = self.fields
        parts = []
        for field in fields:
            part = known.get(field)
            if part is None or type(field[1]) is not str:
                part = self._encode_field(field)
                known = self.fields
            parts.append(part)
        return b"".join(parts)

    def encode_block(self, block: FieldBlock, *, without_host: bool = False) -> bytes:
        """A part of a header block: the fields of ``block``. For requests ``Host`` goes by another name."""
        cache: dict[object, bytes] | None = block.cache
        if cache is None:
            cache = block.cache = {}
        token = self._token
        encoded = cache.get(token)
        if encoded is not None:
            return encoded
        self._unsettled = False
        fields = block.fields
        encoded = self.encode([field for field in fields if field[0] != "host"] if without_host else fields)
        if not self._unsettled and token is self._token:
            remember(cache, token, encoded, _BLOCKS_LIMIT)
        return encoded

    def _encode_field(self, field: Field) -> bytes:
        """One that is not looked up: a literal, or about to be put into the table."""
        name, value = field
        if type(value) is not str:
            return self._literal(field, _NEVER)
        number = self._indices.get(field)
        if number is not None:
            encoded = self.fields[field] = encode_integer(_STATIC_SIZE + 1 + self._inserted - number, _INDEXED)
            return encoded
        if name in _NOT_INDEXED:
            return self._literal(field, _PLAIN)
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if size > self._max_size // 2:
            return self._literal(field, _PLAIN)
        self._unsettled = True
        if self._is_first(field) and (name in _STATIC_NAMES or name in self._names):
            return self._literal(field, _PLAIN)
        if self._size + size > self._max_size:
            if self._blocks < self._may_evict:
                return self._literal(field, _PLAIN)
            self._may_evict = self._blocks + _EVICTION_PAUSE
        encoded = self._literal(field, _INCREMENTAL)
        self._insert(field, size)
        return encoded

    def _is_first(self, field: Field) -> bool:
        seen, key = self._seen, hash(field)
        if key in seen:
            return False
        if len(seen) >= _SEEN_LIMIT:
            seen.clear()
        seen.add(key)
        return True

    def _literal(self, field: Field, kind: int) -> bytes:
        name, value = field
        index = _STATIC_NAMES.get(name)
        if index is None:
            number = self._names.get(name)
            index = 0 if number is None else _STATIC_SIZE + 1 + self._inserted - number
        shorten = kind == _INCREMENTAL  # what is sent once is not worth the time
        if index:
            return encode_integer(index, kind) + _string(value, shorten)
        return bytes((kind,)) + _string(name, True) + _string(value, shorten)

    def _insert(self, field: Field, size: int) -> None:
        self._inserted += 1
        self._indices[field] = self._names[field[0]] = self._inserted
        self._evictable.append((field, size, self._inserted))
        self._size += size
        self._evict()
        self._table_changed()

    def _evict(self) -> None:
        while self._size > self._max_size:
            field, size, number = self._evictable.popleft()
            self._size -= size
            if self._indices.get(field) == number:
                del self._indices[field]
            if self._names.get(field[0]) == number:
                del self._names[field[0]]

    def _table_changed(self) -> None:
        self._token = object()
        self._requests.clear()
        self.fields = dict(_STATIC)


def _string(text: str, shorten: bool) -> bytes:
    data = text.encode("latin-1")
    if shorten:
        coded = encode_huffman(data)
        if len(coded) < len(data):
            return encode_integer(len(coded), _INDEXED) + coded
    return _length(len(data)) + data


def _length(size: int) -> bytes:
    """Section 5.2: seven bits, below a bit that says that it is not coded."""
    if size < 0x7F:
        return bytes((size,))
    encoded = encode_integer(size, _INDEXED)
    return bytes((encoded[0] & 0x7F,)) + encoded[1:]
