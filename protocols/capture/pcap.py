"""Capture files of libpcap (draft-ietf-opsawg-pcap). ``pcap_spec`` declares the format a second time, to be read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

__all__ = ["MAGICS", "PACKET_LIMIT", "CaptureError", "Packet", "PcapReader"]

Packet: TypeAlias = tuple[float, int, bytes, int, int, int]
"""Time in seconds since the epoch, link type, a buffer, where the packet begins and ends in it, and how long it was on
the wire, which may be more than was kept of it. A tuple, for there are a hundred thousand in a second."""

PACKET_LIMIT = 1 << 20
"""Bytes of one packet. What claims to be longer is damaged: a capture's default limit is a quarter of it."""

_MICROSECONDS, _NANOSECONDS = 1_000_000, 1_000_000_000
MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", _MICROSECONDS),
    b"\xd4\xc3\xb2\xa1": ("<", _MICROSECONDS),
    b"\xa1\xb2\x3c\x4d": (">", _NANOSECONDS),
    b"\x4d\x3c\xb2\xa1": ("<", _NANOSECONDS),
}
"""How a file begins: its byte order, and fractions of a second."""
_HEADER_SIZE = 24
_RECORD_SIZE = 16


class CaptureError(ValueError):
    """This is no capture, or a damaged one."""


class PcapReader:
    """Reads a file as it comes in. ``unfinished`` is how many bytes of a last packet are there."""

    dropped = 0
    """Packets that the capture lost, as the file says. This format cannot say it."""

    def __init__(self) -> None:
        self._kept = b""
        self._records: struct.Struct | None = None
        self._per_second = _MICROSECONDS
        self._link_type = 0

    @property
    def unfinished(self) -> int:
        return len(self._kept)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take the next bytes, yield the packets that they complete. To be gone through to the end, before the next
        call. Raises CaptureError."""
        buffer = self._kept + data if self._kept else data
        at = 0
        if self._records is None:
            if len(buffer) < _HEADER_SIZE:
                self._kept = buffer
                return
            self._records = self._read_header(buffer)
            at = _HEADER_SIZE
        unpack, per_second, link_type = self._records.unpack_from, self._per_second, self._link_type
        size = len(buffer)
        last = size - _RECORD_SIZE
        while at <= last:
            seconds, fraction, captured, length = unpack(buffer, at)
            start = at + _RECORD_SIZE
            end = start + captured
            if captured > PACKET_LIMIT:
                raise _invalid(f"a packet of {captured} bytes")
            if end > size:
                break
            yield seconds + fraction / per_second, link_type, buffer, start, end, length
            at = end
        self._kept = buffer[at:]

    def _read_header(self, buffer: bytes) -> struct.Struct:
        found = MAGICS.get(buffer[:4])
        if found is None:
            raise _invalid(f"it begins with {buffer[:4].hex()}")
        order, self._per_second = found
        major, minor, link_type = struct.unpack_from(f"{order}HH12xI", buffer, 4)
        if major != 2:
            raise _invalid(f"version {major}.{minor}, and only 2.4 is known")
        self._link_type = link_type & 0xFFFF  # above are the length of a frame check sequence, and reserved bits
        return struct.Struct(f"{order}IIII")


def _invalid(message: str) -> CaptureError:
    return CaptureError(f"this is no pcap file, or a damaged one: {message}")
