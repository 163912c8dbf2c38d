"""Packets and capture files for tests, made by hand: a TCP connection as it would be captured."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
START = 1_700_000_000.0
ETHERNET_IPV4 = bytes(12) + b"\x08\x00"
ETHERNET_IPV6 = bytes(12) + b"\x86\xdd"

Timed = tuple[float, bytes]
"""When a packet was captured, and the packet."""


def tcp_header(
    source: int, destination: int, seq: int, ack: int, flags: int, window: int = 500, options: bytes = b""
) -> bytes:
    offset = 5 + len(options) // 4
    return struct.pack(
        "!HHIIBBHHH", source, destination, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset << 4, flags, window, 0, 0
    ) + options  # fmt: skip


def ipv4(
    source: str,
    destination: str,
    payload: bytes,
    *,
    protocol: int = 6,
    options: bytes = b"",
    fragment: int = 0x4000,
    total: int | None = None,
) -> bytes:
    size = 20 + len(options) + len(payload)
    return (
        struct.pack(
            "!BBHHHBBH", 0x45 + len(options) // 4, 0, size if total is None else total, 1, fragment, 64, protocol, 0
        )
        + ip_address(source).packed
        + ip_address(destination).packed
        + options
        + payload
    )


def ipv6(source: str, destination: str, payload: bytes, *, header: int = 6, extensions: bytes = b"") -> bytes:
    size = len(extensions) + len(payload)
    addresses = ip_address(source).packed + ip_address(destination).packed
    return struct.pack("!IHBB", 6 << 28, size, header, 64) + addresses + extensions + payload


def ethernet(ip: bytes) -> bytes:
    return (ETHERNET_IPV6 if ip[0] >> 4 == 6 else ETHERNET_IPV4) + ip


class Wire:
    """A TCP connection on an Ethernet: each method returns the frames of what it says, a ``step`` of time apart."""

    def __init__(
        self, client: str = "192.0.2.1", server: str = "192.0.2.2", port: int = 7777, client_port: int = 40000,
        *, client_isn: int = 1000, server_isn: int = 5000, mss: int = 1448, step: float = 0.001,
    ) -> None:  # fmt: skip
        self.ends = (client, client_port), (server, port)
        self.seqs = [client_isn, server_isn]
        self.mss = mss
        self.at = START
        self.step = step

    def frame(
        self, side: int, flags: int = ACK, payload: bytes = b"", *, seq: int | None = None, window: int = 500
    ) -> Timed:
        """A frame from the client (0) or the server (1)."""
        (source, source_port), (destination, destination_port) = self.ends[side], self.ends[1 - side]
        header = tcp_header(
            source_port, destination_port, self.seqs[side] if seq is None else seq, self.seqs[1 - side], flags, window,
            b"\x01\x01\x08\x0a" + bytes(8),
        )  # fmt: skip
        ip = (ipv6 if ":" in source else ipv4)(source, destination, header + payload)
        self.at = round(self.at + self.step, 6)
        return self.at, ethernet(ip)

    def open(self) -> Iterator[Timed]:
        yield self.frame(0, SYN)
        self.seqs[0] += 1
        yield self.frame(1, SYN | ACK)
        self.seqs[1] += 1
        yield self.frame(0)

    def say(self, side: int, data: bytes) -> Iterator[Timed]:
        for start in range(0, len(data), self.mss):
            piece = data[start : start + self.mss]
            yield self.frame(side, PSH | ACK, piece)
            self.seqs[side] += len(piece)
            yield self.frame(1 - side)

    def end(self, side: int) -> Iterator[Timed]:
        yield self.frame(side, FIN | ACK)
        self.seqs[side] += 1
        yield self.frame(1 - side)

    def talk(self, turns: Iterable[tuple[int, bytes]]) -> Iterator[Timed]:
        """A whole connection."""
        yield from self.open()
        for side, data in turns:
            yield from self.say(side, data)
        yield from self.end(0)
        yield from self.end(1)


def pcap(
    packets: Iterable[Timed], *, link_type: int = 1, order: str = "<", nanoseconds: bool = False, snaplen: int = 262144
) -> bytes:
    per_second = 10**9 if nanoseconds else 10**6
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, link_type)]
    for at, packet in packets:
        seconds, fraction = divmod(round(at * per_second), per_second)
        kept = packet[:snaplen]
        parts.append(struct.pack(f"{order}IIII", seconds, fraction, len(kept), len(packet)) + kept)
    return b"".join(parts)
