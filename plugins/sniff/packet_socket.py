"""Packets from the Linux kernel: an ``AF_PACKET`` socket with a ring of memory that both share (``TPACKET_V3``; see
``Documentation/networking/packet_mmap.rst`` of the kernel).

The kernel fills blocks with packets and hands over each when it is full, or after ``RETIRE`` milliseconds; we read it
and hand it back. While we are busy, it fills the others: what is more than they hold is dropped, and counted.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from l4proxy.protocols.capture.bpf import tcp_program
from l4proxy.protocols.capture.packet import LinkType
from l4proxy.protocols.capture.pcap import Packet

__all__ = ["BLOCK_SIZE", "RETIRE", "PacketSocket"]

BLOCK_SIZE = 1 << 20
RETIRE = 50
"""Milliseconds."""
_FRAME_SIZE = 2048
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION = 1, 5, 6, 10
_TPACKET_V3 = 2
_PROMISCUOUS = 1
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_OURS, _THE_KERNELS = 1, 0
_BLOCK_STATUS = 8
"""Where in a block its status stands; the number of its packets, and where the first one is, stand behind it."""
_BLOCK = struct.Struct("=8xIIII")
_PACKET = struct.Struct("=IIIIIIH")
_STATUS = struct.Struct("=I")


class PacketSocket:
    """What TCP passes on ``interface`` (empty: on all), from and to ``ports`` (none: all).

    ``ring`` is the memory for what waits to be read, in bytes. Raises OSError: PermissionError without CAP_NET_RAW,
    ENODEV where there is no such interface.
    """

    def __init__(self, interface: str, ports: Sequence[int], ring: int) -> None:
        self.dropped = 0
        """Packets for which there was no room."""
        self._next = 0
        self._ring: mmap.mmap | None = None
        # Without a protocol it gets nothing yet; with one it gets something of all interfaces, which the ring drops.
        protocol = 0 if interface else socket.htons(_ETH_P_ALL)
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, protocol)
        try:
            self._attach(tcp_program(ports, loopback=_loopback()))
            self.blocks = max(2, ring // BLOCK_SIZE)
            """How many the ring has."""
            self._sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            self._sock.setsockopt(_SOL_PACKET, _RX_RING, struct.pack(
                "=7I", BLOCK_SIZE, self.blocks, _FRAME_SIZE, BLOCK_SIZE // _FRAME_SIZE * self.blocks, RETIRE, 0, 0,
            ))  # fmt: skip
            self._ring = mmap.mmap(self._sock.fileno(), BLOCK_SIZE * self.blocks)
            if interface:
                self._sock.bind((interface, _ETH_P_ALL))
                self._see_all(interface)
        except BaseException:
            self.close()
            raise

    def _attach(self, program: bytes) -> None:
        import ctypes

        buffer = ctypes.create_string_buffer(program, len(program))
        self._sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
        )

    def _see_all(self, interface: str) -> None:
        """Also what goes by and is for others, where the interface can be told so."""
        with contextlib.suppress(OSError):
            request = struct.pack("@iHH8s", socket.if_nametoindex(interface), _PROMISCUOUS, 0, b"")
            self._sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)

    def fileno(self) -> int:
        """Readable when there are packets."""
        return self._sock.fileno()

    def read_block(self) -> Iterator[Packet] | None:
        """The packets of the next block, or None while there is none. Raises OSError when the interface is gone."""
        ring = self._ring
        assert ring is not None
        at = self._next * BLOCK_SIZE
        status, count, first, size = _BLOCK.unpack_from(ring, at)
        if not status & _OURS:
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            return None
        block = ring[at : at + size]
        _STATUS.pack_into(ring, at + _BLOCK_STATUS, _THE_KERNELS)
        self._next = (self._next + 1) % self.blocks
        return _packets(block, first, count)

    def count_drops(self) -> int:
        """Ask the kernel what it dropped, and return how many there are altogether."""
        _packets, drops, _freezes = struct.unpack("=III", self._sock.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self.dropped += drops
        return self.dropped

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._sock.close()


def _packets(block: bytes, at: int, count: int) -> Iterator[Packet]:
    unpack = _PACKET.unpack_from
    for _ in range(count):
        following, seconds, nanoseconds, captured, length, _status, start = unpack(block, at)
        start += at
        yield seconds + nanoseconds / 1_000_000_000, LinkType.RAW, block, start, start + captured, length
        at += following


def _loopback() -> int:
    """The number of the loopback interface; -1 as the kernel would write it where there is none."""
    try:
        return socket.if_nametoindex("lo")
    except OSError:
        return 0xFFFFFFFF
