"""Capture files in pcapng (draft-ietf-opsawg-pcapng): blocks, in sections that each have their own byte order and
interfaces. ``pcapng_spec`` declares the format a second time, to be read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from l4proxy.protocols.capture.pcap import PACKET_LIMIT, CaptureError, Packet

__all__ = ["BLOCK_LIMIT", "SECTION_HEADER", "Interface", "PcapngReader"]

BLOCK_LIMIT = 1 << 24
"""Bytes of a block that is read. Others may be of any length, and are skipped as they come."""

SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
"""How a file begins, in either byte order."""
_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_SECTION = 0x0A0D0D0A
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _STATISTICS, _ENHANCED_PACKET = 1, 2, 3, 5, 6
_READ = {_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _STATISTICS, _ENHANCED_PACKET}
_SMALLEST = 12
_TSRESOL, _TSOFFSET = 9, 14
_IFDROP, _OSDROP = 5, 7


@dataclass(slots=True)
class Interface:
    """Where packets were captured. ``ticks`` are those of a second, ``offset`` is in seconds."""

    link_type: int
    snaplen: int
    ticks: int = 1_000_000
    offset: int = 0
    dropped: int = 0


class PcapngReader:
    """Reads a file as it comes in. ``unfinished`` is how many bytes of a last block are there."""

    def __init__(self) -> None:
        self._kept = b""
        self._skip = 0
        """Bytes still to come of a block that nobody reads."""
        self._in_section = False
        self._interfaces: list[Interface] = []
        self._dropped = 0
        self._at = 0.0
        self._use_order("<")

    @property
    def unfinished(self) -> int:
        return len(self._kept) + self._skip

    @property
    def dropped(self) -> int:
        """Packets that the capture lost, as the file says."""
        return self._dropped + sum(interface.dropped for interface in self._interfaces)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take the next bytes, yield the packets that they complete. To be gone through to the end, before the next
        call. Raises CaptureError."""
        buffer = self._kept + data if self._kept else data
        size = len(buffer)
        at = self._skip
        self._skip = 0
        while at + _SMALLEST <= size:
            kind, length = self._head.unpack_from(buffer, at)
            if kind == _SECTION:
                self._begin_section(buffer[at + 8 : at + 12])
                kind, length = self._head.unpack_from(buffer, at)
            elif not self._in_section:
                raise _invalid("it does not begin with a section")
            end = at + length
            if length < _SMALLEST or length % 4 or (kind in _READ and length > BLOCK_LIMIT):
                raise _invalid(f"a block of {length} bytes")
            if end > size and kind in _READ:
                break
            if end <= size and self._length.unpack_from(buffer, end - 4)[0] != length:
                raise _invalid("a block's two lengths are not the same")
            if kind == _ENHANCED_PACKET:
                yield self._enhanced_packet(buffer, at, end)
            elif kind in _READ:
                packet = self._read_block(kind, buffer, at, end)
                if packet is not None:
                    yield packet
            at = end
        if at > size:
            self._skip = at - size
            self._kept = b""
        else:
            self._kept = buffer[at:]

    def _begin_section(self, magic: bytes) -> None:
        if magic not in _ORDERS:
            raise _invalid(f"its byte order is {magic.hex()}")
        self._in_section = True
        self._use_order(_ORDERS[magic])
        self._dropped = self.dropped
        self._interfaces = []

    def _use_order(self, order: str) -> None:
        self._order = order
        self._length = struct.Struct(f"{order}I")
        self._head = struct.Struct(f"{order}II")
        self._packet = struct.Struct(f"{order}IIIII")
        self._old_packet = struct.Struct(f"{order}HHIIII")
        self._option = struct.Struct(f"{order}HH")

    def _interface(self, number: int) -> Interface:
        if number >= len(self._interfaces):
            raise _invalid(f"a packet of interface {number}, and there are {len(self._interfaces)}")
        return self._interfaces[number]

    def _enhanced_packet(self, buffer: bytes, at: int, end: int) -> Packet:
        if end - at < 32:
            raise _invalid("a packet without a header")
        number, high, low, captured, length = self._packet.unpack_from(buffer, at + 8)
        start = at + 28
        if start + captured > end - 4 or captured > PACKET_LIMIT:
            raise _invalid(f"a packet of {captured} bytes in a block of {end - at}")
        interface = self._interface(number)
        self._at = time = (high << 32 | low) / interface.ticks + interface.offset
        return time, interface.link_type, buffer, start, start + captured, length

    def _read_block(self, kind: int, buffer: bytes, at: int, end: int) -> Packet | None:
        try:
            if kind == _INTERFACE:
                self._interfaces.append(self._read_interface(buffer, at, end))
            elif kind == _STATISTICS:
                self._read_statistics(buffer, at, end)
            elif kind == _SIMPLE_PACKET:
                return self._read_simple_packet(buffer, at, end)
            elif kind == _OLD_PACKET:
                return self._read_old_packet(buffer, at, end)
        except struct.error:
            raise _invalid("a block is too short") from None
        return None

    def _read_interface(self, buffer: bytes, at: int, end: int) -> Interface:
        link_type, snaplen = struct.unpack_from(f"{self._order}H2xI", buffer, at + 8)
        interface = Interface(link_type, snaplen)
        for code, value in self._options(buffer, at + 16, end - 4):
            if code == _TSRESOL and len(value) == 1:
                interface.ticks = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            elif code == _TSOFFSET and len(value) == 8:
                (interface.offset,) = struct.unpack(f"{self._order}q", value)
        return interface

    def _read_simple_packet(self, buffer: bytes, at: int, end: int) -> Packet:
        """It has no time: that of the packet before it stands in."""
        (length,) = self._length.unpack_from(buffer, at + 8)
        interface = self._interface(0)
        captured = min(length, interface.snaplen or length, end - at - 16)
        return self._at, interface.link_type, buffer, at + 12, at + 12 + captured, length

    def _read_old_packet(self, buffer: bytes, at: int, end: int) -> Packet:
        number, _drops, high, low, captured, length = self._old_packet.unpack_from(buffer, at + 8)
        start = at + 28
        if start + captured > end - 4 or captured > PACKET_LIMIT:
            raise _invalid(f"a packet of {captured} bytes in a block of {end - at}")
        interface = self._interface(number)
        self._at = (high << 32 | low) / interface.ticks + interface.offset
        return self._at, interface.link_type, buffer, start, start + captured, length

    def _read_statistics(self, buffer: bytes, at: int, end: int) -> None:
        interface = self._interface(self._length.unpack_from(buffer, at + 8)[0])
        drops = [
            int.from_bytes(value, "little" if self._order == "<" else "big")
            for code, value in self._options(buffer, at + 20, end - 4)
            if code in (_IFDROP, _OSDROP) and len(value) == 8
        ]
        interface.dropped = max(interface.dropped, sum(drops))

    def _options(self, buffer: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= end:
            code, length = self._option.unpack_from(buffer, at)
            if not code:
                return
            if at + 4 + length > end:
                raise _invalid("an option is longer than its block")
            yield code, buffer[at + 4 : at + 4 + length]
            at += 4 + (length + 3 & ~3)


def _invalid(message: str) -> CaptureError:
    return CaptureError(f"this is no pcapng file, or a damaged one: {message}")
