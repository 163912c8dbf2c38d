from __future__ import annotations

import pytest

from captures import START, Timed, pcap
from l4proxy.protocols.capture.pcap import PACKET_LIMIT, CaptureError, PcapReader
from l4proxy.testing.splits import splits

PACKETS: list[Timed] = [(START + 0.5, b"one"), (START + 1, b""), (START + 2, b"three" * 100)]
Read = list[tuple[float, int, bytes, int]]


def read(*chunks: bytes) -> tuple[Read, PcapReader]:
    """Time, link type, bytes and length of every packet."""
    reader, packets = PcapReader(), []
    for chunk in chunks:
        for at, link_type, data, start, end, length in reader.feed(chunk):
            packets.append((at, link_type, data[start:end], length))
    return packets, reader


WHOLE: Read = [(at, 1, packet, len(packet)) for at, packet in PACKETS]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_both_byte_orders_and_precisions_however_the_file_comes(order: str, nanoseconds: bool) -> None:
    file = pcap(PACKETS, order=order, nanoseconds=nanoseconds)
    for _, split in splits(seed=1, rounds=20):
        packets, reader = read(*split(file))
        assert packets == WHOLE
        assert reader.unfinished == 0
        assert reader.dropped == 0


def test_times_are_exact_to_a_microsecond() -> None:
    ((at, *_),), _ = read(pcap([(START + 0.123456, b"")]))
    assert abs(at - START - 0.123456) < 1e-6


def test_packets_that_were_cut_off() -> None:
    packets, _ = read(pcap(PACKETS, snaplen=4))
    assert [(data, length) for _, _, data, length in packets] == [(b"one", 3), (b"", 0), (b"thre", 500)]


def test_a_file_that_ends_in_a_packet() -> None:
    file = pcap(PACKETS)
    packets, reader = read(file[:-1])
    assert packets == WHOLE[:2]
    assert reader.unfinished == 16 + 499


def test_bits_above_the_link_type_are_of_other_things() -> None:
    packets, _ = read(pcap(PACKETS[:1], link_type=0x5400_0001))
    assert packets[0][1] == 1


@pytest.mark.parametrize(("file", "said"), [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "it begins with 47455420"),
    (pcap([])[:4] + b"\3\0" + pcap([])[6:], r"version 3\.4, and only 2\.4 is known"),
    (pcap([]) + bytes(8) + (PACKET_LIMIT + 1).to_bytes(8, "little"), f"a packet of {PACKET_LIMIT + 1} bytes"),
    (pcap([]) + b"\xff" * 16, "a packet of 4294967295 bytes"),
])  # fmt: skip
def test_files_that_are_none_or_damaged(file: bytes, said: str) -> None:
    with pytest.raises(CaptureError, match=f"this is no pcap file, or a damaged one: {said}"):
        read(file)
