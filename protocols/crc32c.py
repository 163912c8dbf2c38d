"""CRC-32C (Castagnoli), the checksum of the PROXY protocol and of Kafka's record batches: RFC 4960 appendix B, RFC 3720
B.4."""

from __future__ import annotations

from functools import cache

__all__ = ["crc32c", "crc32c_changed"]

_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed


@cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ _POLYNOMIAL if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """For headers only, some 50 ns a byte: the standard library's ``crc32`` is of another polynomial, so this is a
    loop."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc32c_changed(crc: int, old: bytes, new: bytes, behind: int) -> int:
    """The checksum of data that begins with ``new`` where it has begun with ``old``, both of one size, with ``behind``
    bytes behind that are not looked at: a checksum is linear, so only the difference counts."""
    table, change = _table(), 0
    for one, other in zip(old, new, strict=True):
        change = table[(change ^ one ^ other) & 0xFF] ^ change >> 8
    power = 0
    while behind:
        if behind & 1:
            change = _times(_zeros(power), change)
        behind >>= 1
        power += 1
    return crc ^ change


Matrix = tuple[int, ...]
"""Over GF(2): what becomes of each bit of a checksum."""


def _times(matrix: Matrix, vector: int) -> int:
    product = 0
    for column in matrix:
        if vector & 1:
            product ^= column
        vector >>= 1
    return product


@cache
def _zeros(power: int) -> Matrix:
    """What ``2 ** power`` zero bytes do to a checksum."""
    if not power:
        table = _table()
        return tuple(table[1 << bit & 0xFF] ^ (1 << bit) >> 8 for bit in range(32))
    half = _zeros(power - 1)
    return tuple(_times(half, column) for column in half)
