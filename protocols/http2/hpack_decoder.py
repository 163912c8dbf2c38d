"""HPACK, the reading side (RFC 7541).

The decoder keeps entries (``l4proxy.protocols.http2.fields``) and not strings, so that a field that comes by its index
was split, decoded and judged when it first came. What a whole header block means is remembered one floor up, by its
bytes. There are two kinds that can be. A block that adds to no table reads the same as long as ``generation`` is. One
that refers to nothing in the table (``referred``) always does, and only what it adds (``inserted``) has to be added
again: some servers, nginx among them, send nothing else.
"""

from __future__ import annotations

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http2.fields import Entry, NeverIndexed, make_entry
from l4proxy.protocols.http2.huffman import decode_huffman
from l4proxy.protocols.http2.static_table import STATIC_TABLE

__all__ = ["DEFAULT_TABLE_SIZE", "Decoder"]

DEFAULT_TABLE_SIZE = 4096
"""Bytes of a dynamic table before anybody has set another size (section 4.2 of RFC 7541, 6.5.2 of RFC 9113)."""

_STATIC: list[Entry] = [make_entry("", ""), *(make_entry(name, value) for name, value in STATIC_TABLE)]
_STATIC_SIZE = len(_STATIC)
_FIRST_DYNAMIC = 0x80 | _STATIC_SIZE
"""The octet of the newest entry of the table; those of older ones follow."""
_MAX_CONTINUATION_SHIFT = 21
"""An integer of more than five octets is an attack or an error (section 5.1: implementations set a limit)."""


class Decoder:
    """One direction of one connection. ``limit`` is what our SETTINGS allow the peer's table to be."""

    __slots__ = ("_max_size", "_size", "_table", "generation", "inserted", "limit", "referred")

    def __init__(self, limit: int = DEFAULT_TABLE_SIZE) -> None:
        self.limit = limit
        self.generation = 0
        """Changes with the table: equal header blocks mean the same while it stays."""
        self.inserted: list[Entry] = []
        """What the last block has added to the table."""
        self.referred = False
        """Whether the last block cannot be told from its bytes alone."""
        self._table: list[Entry] = []  # oldest first
        self._size = 0
        self._max_size = min(limit, DEFAULT_TABLE_SIZE)

    @property
    def table_size(self) -> int:
        """Bytes in the dynamic table, as RFC 7541 section 4.1 counts them."""
        return self._size

    def decode(self, block: bytes) -> list[Entry]:
        """The fields of a whole header block. Raises RemoteProtocolError (``hpack_error``), after which the tables of
        the two ends differ and the connection is of no use (RFC 9113 section 4.3)."""
        entries: list[Entry] = []
        table = self._table
        inserted = self.inserted = []
        referred = False
        pos, end = 0, len(block)
        try:
            while pos < end:
                first = block[pos]
                pos += 1
                if first >= _FIRST_DYNAMIC and first != 0xFF:  # most fields of most requests
                    entries.append(table[_FIRST_DYNAMIC - 1 - first])
                    referred = True
                    continue
                if first >= 0x80:  # an index
                    index = first & 0x7F
                    if index == 0x7F:
                        index, pos = _read_integer(block, pos, 0x7F)
                    if index >= _STATIC_SIZE:
                        entries.append(table[_STATIC_SIZE - 1 - index])
                        referred = True
                    elif index:
                        entries.append(_STATIC[index])
                    else:
                        raise _invalid("index 0")
                    continue
                if first >= 0x40:
                    prefix = 0x3F
                elif first >= 0x20:
                    size, pos = _read_integer(block, pos, 0x1F) if first == 0x3F else (first & 0x1F, pos)
                    if entries:
                        raise _invalid("a new table size behind a field")
                    self._resize(size)
                    referred = True
                    continue
                else:
                    prefix = 0x0F
                index = first & prefix
                if index == prefix:
                    index, pos = _read_integer(block, pos, prefix)
                if index >= _STATIC_SIZE:
                    name = table[_STATIC_SIZE - 1 - index][0][0]
                    referred = True
                elif index:
                    name = _STATIC[index][0][0]
                else:
                    name, pos = _read_string(block, pos, end)
                length = block[pos]
                if length & 0x7F != 0x7F:  # as _read_string, without the call
                    start = pos + 1
                    pos = start + (length & 0x7F)
                    if pos > end:
                        raise IndexError
                    value = decode_huffman(block[start:pos]) if length >= 0x80 else str(block[start:pos], "latin-1")
                else:
                    value, pos = _read_string(block, pos, end)
                if first >= 0x40:
                    entry = make_entry(name, value)
                    entries.append(entry)
                    inserted.append(entry)
                    table.append(entry)
                    self.generation += 1
                    self._size += entry[2]
                    if self._size > self._max_size:
                        self._evict()
                elif first >= 0x10:
                    entries.append(make_entry(name, NeverIndexed(value)))
                else:
                    entries.append(make_entry(name, value))
        except IndexError:
            raise _invalid("an index that is in no table, or a string that ends too early") from None
        self.referred = referred
        return entries

    def insert(self, entries: list[Entry]) -> None:
        """Add to the table what a block added that has come again."""
        self.generation += 1
        self._table += entries
        for entry in entries:
            self._size += entry[2]
        if self._size > self._max_size:
            self._evict()

    def _evict(self) -> None:
        table = self._table
        size, count = self._size, 0
        while size > self._max_size:
            size -= table[count][2]
            count += 1
        del table[:count]
        self._size = size

    def _resize(self, size: int) -> None:
        if size > self.limit:
            raise _invalid(f"a table of {size} bytes, where {self.limit} are allowed")
        self.generation += 1
        self._max_size = size
        self._evict()


def _read_integer(block: bytes, pos: int, value: int) -> tuple[int, int]:
    """The octets of an integer (section 5.1) behind a prefix that is full and so worth ``value``."""
    shift = 0
    while True:
        octet = block[pos]
        pos += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, pos
        if shift >= _MAX_CONTINUATION_SHIFT:
            raise _invalid("an integer that is too large")
        shift += 7


def _read_string(block: bytes, pos: int, end: int) -> tuple[str, int]:
    first = block[pos]
    length = first & 0x7F
    pos += 1
    if length == 0x7F:
        length, pos = _read_integer(block, pos, 0x7F)
    stop = pos + length
    if stop > end:
        raise IndexError
    data = block[pos:stop]
    return (decode_huffman(data) if first >= 0x80 else str(data, "latin-1")), stop


def _invalid(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"HPACK: {what}", code="hpack_error")
