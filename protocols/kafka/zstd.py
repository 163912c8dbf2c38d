"""Zstandard, to be read: frames of RFC 8878 without a dictionary, as producers write them.

A compressed block has two parts. The **literals** are bytes, mostly in a Huffman code whose table comes in front of
them (or was that of the block before). The **sequences** say how many literals come next, and which earlier bytes after
those: three numbers each, whose classes are in a finite-state code (FSE) with a table for each of the three, their low
bits as they are. Both are streams of bits that are read backwards, from a last byte whose highest bit marks the end.

Tables are lists that are indexed by what the next bits say. Checksums are not checked: a record batch has one of its
own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, NoReturn

from l4proxy.protocols.kafka.wire import Unreadable

__all__ = ["unpack_zstd"]

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_uint32 = struct.Struct("<I").unpack_from
BLOCK_LIMIT = 128 * 1024
"""Bytes of a block when it is unpacked (RFC 8878, 3.1.1.2.4)."""


def unpack_zstd(data: bytes, limit: int) -> bytes:
    """Raises what `wire.UNREADABLE` names, with the code ``unpack_limit`` for more than ``limit`` bytes."""
    out = bytearray()
    pos = 0
    while pos < len(data):
        (magic,) = _uint32(data, pos)
        if magic in _SKIPPABLE:
            (size,) = _uint32(data, pos + 4)
            pos += 8 + size
        elif magic == _MAGIC:
            pos = _Frame(out, limit).read(data, pos + 4)
        else:
            _bad(f"a frame that begins with {magic:#x}")
    return bytes(out)


def _bad(text: str) -> NoReturn:
    raise Unreadable(text, code="bad_compression")


class _Bits:
    """A stream of bits, read backwards. In front of its beginning there are zeros (``at`` is below 0 then)."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        if not data or not data[-1]:
            _bad("a stream of bits without an end")
        self.data = data
        self.at = 8 * len(data) - 9 + data[-1].bit_length()

    def read(self, count: int) -> int:
        self.at = at = self.at - count
        if at < 0:
            return int.from_bytes(self.data[:8], "little") << -at & (1 << count) - 1
        start = at >> 3
        return int.from_bytes(self.data[start : start + 8], "little") >> (at & 7) & (1 << count) - 1


class _Fse(NamedTuple):
    """A finite-state code: for each state its symbol, the bits that say the next one, and what these count from."""

    log: int
    symbols: list[int]
    bits: list[int]
    bases: list[int]


def _fse(log: int, probabilities: Sequence[int]) -> _Fse:
    """The table of a distribution (4.1.1). A probability of -1 is "less than one": one state at the end."""
    size = 1 << log
    symbols = [0] * size
    last = size
    for symbol, probability in enumerate(probabilities):
        if probability == -1:
            last -= 1
            symbols[last] = symbol
    step = (size >> 1) + (size >> 3) + 3
    at = 0
    for symbol, probability in enumerate(probabilities):
        for _ in range(probability):
            symbols[at] = symbol
            at = at + step & size - 1
            while at >= last:
                at = at + step & size - 1
    following = [abs(probability) for probability in probabilities]
    bits = []
    bases = []
    for symbol in symbols:
        state = following[symbol]
        following[symbol] += 1
        bits.append(log - state.bit_length() + 1)
        bases.append((state << bits[-1]) - size)
    return _Fse(log, symbols, bits, bases)


def _read_fse(data: bytes, most_log: int, most_symbols: int) -> tuple[_Fse, int]:
    """A table as it is described in front of what is coded by it (4.1.1), and the size of that description."""
    value = int.from_bytes(data[:256], "little")
    log = (value & 15) + 5
    if log > most_log:
        _bad(f"a table of 2**{log} states")
    at = 4
    left = 1 << log
    probabilities: list[int] = []
    while left > 0:
        width = (left + 1).bit_length()
        short = (1 << width) - 2 - left
        number = value >> at & (1 << width) - 1
        low = number & (1 << width - 1) - 1
        if low < short:
            number = low
            at += width - 1
        else:
            number -= short if number >= 1 << width - 1 else 0
            at += width
        probabilities.append(number - 1)
        left -= abs(number - 1)
        repeat = 3 if number == 1 else 0
        while repeat == 3:
            repeat = value >> at & 3
            at += 2
            probabilities += [0] * repeat
        if len(probabilities) > most_symbols or at > 8 * len(data):
            _bad("a table of too many symbols")
    if left < 0:
        _bad("a table whose probabilities are too many")
    return _fse(log, probabilities), (at + 7) // 8


class _Numbers(NamedTuple):
    """One of the three numbers of a sequence: for each class, its least value and the bits on top of it."""

    bases: tuple[int, ...]
    bits: tuple[int, ...]
    most_log: int
    default: _Fse


def _numbers(first: int, bits: Sequence[int], most_log: int, log: int, default: Sequence[int]) -> _Numbers:
    bases = tuple(accumulate((1 << width for width in bits), initial=first))
    return _Numbers(bases, tuple(bits), most_log, _fse(log, default))


# Literals' lengths, matches' lengths and offsets (3.1.1.3.2.1, and the distributions of 3.1.1.3.2.2).
_LITERALS = _numbers(
    0, [0] * 16 + [1, 1, 1, 1, 2, 2, 3, 3, 4, *range(6, 17)], 9, 6,
    [4, 3] + [2] * 11 + [1] * 3 + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4,
)  # fmt: skip
_MATCHES = _numbers(
    3, [0] * 32 + [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, *range(7, 17)], 9, 6,
    [1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7,
)  # fmt: skip
_OFFSETS = _numbers(1, range(32), 8, 5, [1] * 6 + [2] * 3 + [1] * 15 + [-1] * 5)


class _Frame:
    """One frame. Its blocks share tables and the last three offsets."""

    def __init__(self, out: bytearray, limit: int) -> None:
        self._out = out
        self._begin = len(out)
        self._limit = limit
        self._offsets = [1, 4, 8]
        self._huffman: tuple[int, list[int], list[int]] | None = None
        self._tables: list[_Fse | None] = [None, None, None]

    def read(self, data: bytes, pos: int) -> int:
        descriptor = data[pos]
        alone = descriptor >> 5 & 1
        size = (alone, 2, 4, 8)[descriptor >> 6]
        identity = (0, 1, 2, 4)[descriptor & 3]
        pos += 1 if alone else 2
        if any(data[pos : pos + identity]):
            _bad("a frame with a dictionary")
        pos += identity + size
        last = 0
        while not last:
            header = data[pos] | data[pos + 1] << 8 | data[pos + 2] << 16
            last, kind, size = header & 1, header >> 1 & 3, header >> 3
            pos += 3
            self._room(min(size, BLOCK_LIMIT) if kind < 2 else 0)
            if size > BLOCK_LIMIT:
                _bad(f"a block of {size} bytes")
            stop = pos + (1 if kind == 1 else size)
            if stop > len(data) or kind == 3:
                _bad(f"a block of {size} bytes")
            if kind == 0:
                self._out += data[pos:stop]
            elif kind == 1:
                self._out += data[pos:stop] * size
            else:
                self._block(data[pos:stop])
            pos = stop
        return pos + (4 if descriptor & 4 else 0)

    def _room(self, size: int) -> None:
        if len(self._out) + size > self._limit:
            raise Unreadable(f"more than {self._limit} bytes when unpacked", code="unpack_limit")

    def _block(self, data: bytes) -> None:
        literals, pos = self._literals(data)
        self._room(len(literals))
        count = data[pos]
        pos += 1
        if count == 255:
            count = data[pos] + (data[pos + 1] << 8) + 0x7F00
            pos += 2
        elif count > 127:
            count = (count - 128 << 8) + data[pos]
            pos += 1
        if not count:
            self._out += literals
            return
        modes = data[pos]
        pos += 1
        kinds = (_LITERALS, _OFFSETS, _MATCHES)
        for at, numbers in enumerate(kinds):
            pos = self._table(at, modes >> 6 - 2 * at & 3, numbers, data, pos)
        self._sequences(count, literals, _Bits(data[pos:]))

    # Literals (3.1.1.3.1)

    def _literals(self, data: bytes) -> tuple[bytes, int]:
        kind, form = data[0] & 3, data[0] >> 2 & 3
        if kind < 2:
            width = (1, 2, 1, 3)[form]
            size = int.from_bytes(data[:width], "little") >> (4 if form & 1 else 3)
            stop = width + (size if kind == 0 else 1)
            if size > BLOCK_LIMIT or stop > len(data):
                _bad(f"{size} literals")
            return (data[width:stop] if kind == 0 else data[width:stop] * size), stop
        width, bits = ((3, 10), (3, 10), (4, 14), (5, 18))[form]
        header = int.from_bytes(data[:width], "little") >> 4
        size, packed = header & (1 << bits) - 1, header >> bits
        stop = width + packed
        if size > BLOCK_LIMIT or stop > len(data):
            _bad(f"{size} literals in {packed} bytes")
        pos = width
        if kind == 2:
            pos += self._read_huffman(data[width:stop])
        if form == 0:
            return self._decoded(data[pos:stop], size), stop
        sizes = [data[pos + at] | data[pos + at + 1] << 8 for at in (0, 2, 4)]
        pos += 6
        quarter = (size + 3) // 4
        parts = []
        for one in sizes:
            if pos + one > stop:
                _bad(f"a stream of {one} bytes")
            parts.append(self._decoded(data[pos : pos + one], quarter))
            pos += one
        parts.append(self._decoded(data[pos:stop], size - 3 * quarter))
        return b"".join(parts), stop

    def _read_huffman(self, data: bytes) -> int:
        """Read the weights of a code (4.2.1), and make its table; return the size of the description."""
        head = data[0]
        if head < 128:
            weights = _weights(data[1 : 1 + head])
            size = 1 + head
        else:
            count = head - 127
            size = 1 + (count + 1) // 2
            weights = [data[1 + at // 2] >> (0 if at & 1 else 4) & 15 for at in range(count)]
        total = sum(1 << weight >> 1 for weight in weights)
        longest = total.bit_length()
        left = (1 << longest) - total
        if longest > 11 or not total or left & left - 1 or size > len(data):
            _bad("a Huffman code that is none")
        weights.append(left.bit_length())
        symbols: list[int] = []
        bits: list[int] = []
        for weight in range(1, longest + 1):
            for symbol, its in enumerate(weights):
                if its == weight:
                    symbols += [symbol] * (1 << weight - 1)
                    bits += [longest + 1 - weight] * (1 << weight - 1)
        self._huffman = longest, symbols, bits
        return size

    def _decoded(self, data: bytes, size: int) -> bytes:
        if self._huffman is None or size < 0:
            _bad("literals without a code")
        longest, symbols, bits = self._huffman
        start = _Bits(data).at
        out = bytearray()
        mask = (1 << longest) - 1
        # The last ``have`` bits of ``window`` are those that come next; zeros follow in front of the beginning.
        pos = start + 7 >> 3
        window = int.from_bytes(data[:pos][-8:], "little")
        have = start - 8 * max(pos - 8, 0)
        pos = max(pos - 8, 0)
        zeros = 0
        for _ in range(size):
            if have < longest:
                window = (window & (1 << have) - 1) << 48
                if pos >= 6:
                    window |= int.from_bytes(data[pos - 6 : pos], "little")
                    pos -= 6
                else:
                    window |= int.from_bytes(data[:pos], "little") << 48 - 8 * pos
                    zeros += 48 - 8 * pos
                    pos = 0
                have += 48
            code = window >> have - longest & mask
            out.append(symbols[code])
            have -= bits[code]
        if have != zeros or pos:
            _bad("literals that do not fill their stream")
        return bytes(out)

    # Sequences (3.1.1.3.2)

    def _table(self, at: int, mode: int, numbers: _Numbers, data: bytes, pos: int) -> int:
        if mode == 0:
            self._tables[at] = numbers.default
        elif mode == 1:
            self._tables[at] = _Fse(0, [data[pos]], [0], [0])
            pos += 1
        elif mode == 2:
            self._tables[at], size = _read_fse(data[pos:], numbers.most_log, len(numbers.bits))
            pos += size
        elif self._tables[at] is None:
            _bad("a table that is to be repeated, and was never there")
        return pos

    def _sequences(self, count: int, literals: bytes, bits: _Bits) -> None:
        lengths, offsets, matches = self._tables
        assert lengths is not None
        assert offsets is not None
        assert matches is not None
        read, out = bits.read, self._out
        most = len(out) + BLOCK_LIMIT
        length_state, offset_state, match_state = read(lengths.log), read(offsets.log), read(matches.log)
        pos = 0
        for left in range(count - 1, -1, -1):
            of, ml, ll = offsets.symbols[offset_state], matches.symbols[match_state], lengths.symbols[length_state]
            value = _OFFSETS.bases[of] + read(of)
            size = _MATCHES.bases[ml] + read(_MATCHES.bits[ml])
            length = _LITERALS.bases[ll] + read(_LITERALS.bits[ll])
            if left:
                length_state = lengths.bases[length_state] + read(lengths.bits[length_state])
                match_state = matches.bases[match_state] + read(matches.bits[match_state])
                offset_state = offsets.bases[offset_state] + read(offsets.bits[offset_state])
            if length:
                out += literals[pos : pos + length]
                pos += length
            offset = self._offset(value, length)
            start = len(out) - offset
            if start < self._begin or offset < 1 or pos > len(literals) or len(out) + size > most:
                _bad(f"a match of {size} bytes from {offset} before")
            self._room(size)
            if offset >= size:
                out += out[start : start + size]
            else:  # it repeats what it has just written
                out += (out[start:] * (size // offset + 1))[:size]
        if bits.at:
            _bad("sequences that do not fill their stream")
        out += literals[pos:]
        self._room(0)

    def _offset(self, value: int, length: int) -> int:
        """Values up to 3 mean one of the last three offsets (3.1.1.5)."""
        last = self._offsets
        if value > 3:
            self._offsets = [value - 3, last[0], last[1]]
            return value - 3
        which = value - 1 if length else value
        if which == 0:
            return last[0]
        offset = last[0] - 1 if which == 3 else last[which]
        self._offsets = [offset, last[0], last[1] if which > 1 else last[2]]
        return offset


def _weights(data: bytes) -> list[int]:
    """The weights of a Huffman code, of which two states take turns (4.2.1.2)."""
    table, size = _read_fse(data, 6, 13)
    bits = _Bits(data[size:])
    states = [bits.read(table.log), bits.read(table.log)]
    weights: list[int] = []
    turn = 0
    while len(weights) < 255:
        state = states[turn]
        weights.append(table.symbols[state])
        states[turn] = table.bases[state] + bits.read(table.bits[state])
        turn ^= 1
        if bits.at < 0:
            weights.append(table.symbols[states[turn]])
            return weights
    _bad("a Huffman code of more than 256 symbols")
