from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import ipv4, ipv6, tcp_header
from l4proxy.protocols.capture.bpf import PORTS_LIMIT, tcp_program

INCOMING, OUTGOING = 0, 4
LOOPBACK = 1


def kept(program: bytes, packet: bytes, packet_type: int = INCOMING, interface: int = 2) -> int:
    """Run a program as the kernel does: how many bytes of the packet are kept."""
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = index = at = 0
    ancillary = {0xFFFFF004: packet_type, 0xFFFFF008: interface}
    while True:
        instruction, when_true, when_false, k = code[at]
        at += 1
        if instruction in (0x30, 0x28, 0x48):
            size = 1 if instruction == 0x30 else 2
            start = k + (index if instruction == 0x48 else 0)
            if start + size > len(packet):
                return 0  # so it is in the kernel
            accumulator = int.from_bytes(packet[start : start + size], "big")
        elif instruction == 0x20:
            accumulator = ancillary[k]
        elif instruction == 0xB1:
            index = (packet[k] & 0x0F) * 4
        elif instruction == 0x54:
            accumulator &= k
        elif instruction == 0x15:
            at += when_true if accumulator == k else when_false
        elif instruction == 0x45:
            at += when_true if accumulator & k else when_false
        else:
            assert instruction == 0x06
            return int(k)


def segment(source: int, destination: int) -> bytes:
    return tcp_header(source, destination, 1, 1, 16) + b"payload"


PORTS = [9092, 9093, 19092]


@pytest.mark.parametrize(("source", "destination", "taken"), [
    (40000, 9092, True), (9093, 40000, True), (19092, 19092, True), (40000, 9091, False), (1, 2, False),
])  # fmt: skip
@pytest.mark.parametrize("options", [b"", b"\1" * 8, b"\1" * 40])
def test_ports(source: int, destination: int, taken: bool, options: bytes) -> None:
    program = tcp_program(PORTS, snaplen=1000)
    payload = segment(source, destination)
    assert kept(program, ipv4("192.0.2.1", "192.0.2.2", payload, options=options)) == 1000 * taken
    assert kept(program, ipv6("::1", "::2", payload)) == 1000 * taken
    assert kept(tcp_program([]), ipv4("192.0.2.1", "192.0.2.2", payload, options=options))
    assert kept(tcp_program([]), ipv6("::1", "::2", payload))


@pytest.mark.parametrize("ports", [[], PORTS])
def test_other_packets(ports: list[int]) -> None:
    program = tcp_program(ports)
    payload = segment(9092, 9092)
    assert not kept(program, ipv4("192.0.2.1", "192.0.2.2", payload, protocol=17))
    assert not kept(program, ipv4("192.0.2.1", "192.0.2.2", payload, fragment=0x2001))
    assert not kept(program, ipv6("::1", "::2", payload, header=17))
    assert not kept(program, b"\0\1\x08\0\6\4\0\1" + bytes(20))  # ARP
    assert not kept(program, b"")
    for extension in (0, 43, 44, 51, 60):
        assert kept(program, ipv6("::1", "::2", payload, header=extension, extensions=bytes(8)))


def test_packets_of_the_loopback_interface_are_taken_once() -> None:
    packet = ipv4("127.0.0.1", "127.0.0.1", segment(40000, 9092))
    program = tcp_program(PORTS, loopback=LOOPBACK)
    assert kept(program, packet, INCOMING, LOOPBACK)
    assert not kept(program, packet, OUTGOING, LOOPBACK)
    assert kept(program, packet, OUTGOING, 2)


def test_as_many_ports_as_there_is_room_for() -> None:
    ports = list(range(1, PORTS_LIMIT + 1))
    program = tcp_program(ports)
    for port in (1, PORTS_LIMIT):
        for payload in (segment(port, 60000), segment(60000, port)):
            assert kept(program, ipv4("192.0.2.1", "192.0.2.2", payload))
            assert kept(program, ipv6("::1", "::2", payload))
    assert not kept(program, ipv4("192.0.2.1", "192.0.2.2", segment(PORTS_LIMIT + 1, 60000)))
    with pytest.raises(ValueError, match=r"101 ports are too many \(at most 100\)"):
        tcp_program([*ports, 60000])


NUMBERS = st.integers(1, 65535)


@given(st.lists(NUMBERS, max_size=PORTS_LIMIT), NUMBERS, NUMBERS, st.booleans())
def test_any_ports(ports: list[int], source: int, destination: int, new: bool) -> None:
    packet = (ipv6("::1", "::2", segment(source, destination)) if new else
              ipv4("192.0.2.1", "192.0.2.2", segment(source, destination)))  # fmt: skip
    assert bool(kept(tcp_program(ports), packet)) is (not ports or source in ports or destination in ports)


@given(st.binary(max_size=60), st.lists(NUMBERS, max_size=3))
def test_a_program_always_ends(packet: bytes, ports: list[int]) -> None:
    kept(tcp_program(ports), packet)
