from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import ETHERNET_IPV4, ETHERNET_IPV6, ethernet, ipv4, ipv6, tcp_header
from l4proxy.protocols.capture.packet import LINK_TYPES, MOST_EXTENSIONS, TcpFinder, endpoints, reversed_key

SEGMENT = tcp_header(40000, 7777, 1, 2, 16) + b"payload"
IPV4 = ipv4("192.0.2.1", "192.0.2.2", SEGMENT)
IPV6 = ipv6("2001:db8::1", "2001:db8::2", SEGMENT)
KEY4 = b"\xc0\0\2\1\xc0\0\2\2\x9c\x40\x1e\x61"
KEY6 = IPV6[8:44]
BEHIND = b"\xaa" * 40
"""The next packet in the buffer, which is none of this one's business."""


def find(packet: bytes, link_type: int = 1, *, length: int | None = None) -> tuple[bytes, bytes, int] | str:
    """The key, the segment, and how much of it is missing; or why there is none."""
    finder = TcpFinder()
    data = BEHIND + packet + BEHIND
    start, end = len(BEHIND), len(BEHIND) + len(packet)
    found = finder.find(link_type, data, start, end, len(packet) if length is None else length)
    if found is None:
        (reason,) = finder.ignored
        return reason
    assert not finder.ignored
    key, tcp, captured, whole = found
    assert start <= tcp <= captured <= end
    return key, data[tcp:captured], whole - captured


def test_ethernet() -> None:
    assert find(ETHERNET_IPV4 + IPV4) == (KEY4, SEGMENT, 0)
    assert find(ETHERNET_IPV6 + IPV6) == (KEY6, SEGMENT, 0)
    assert endpoints(KEY6) == (IPV6[8:24], 40000, IPV6[24:40], 7777)
    assert find(bytes(12) + b"\x08\x06" + bytes(28)) == "not_ip"
    assert find(bytes(12) + b"\x00\x20" + bytes(60)) == "not_ip"  # a length: IEEE 802.3


@pytest.mark.parametrize(
    "tags", [b"\x81\0\0\5", b"\x88\xa8\0\1\x81\0\0\5", b"\x91\0\0\1\x91\0\0\2\x81\0\0\3\x81\0\0\4"]
)
@pytest.mark.parametrize("ip", [IPV4, IPV6])
def test_vlans(tags: bytes, ip: bytes) -> None:
    packet = ethernet(ip)
    assert find(packet[:12] + tags + packet[12:])[1:] == (SEGMENT, 0)
    assert find(packet[:12] + tags + b"\x08\x06" + packet[14:]) == "not_ip"


def test_too_many_vlans() -> None:
    assert find(bytes(12) + b"\x81\0\0\5" * 5 + ethernet(IPV4)[12:]) == "not_ip"


@pytest.mark.parametrize(("link_type", "header"), [
    (0, b"\2\0\0\0"), (0, b"\0\0\0\x1e"), (108, b"\0\0\0\2"), (12, b""), (14, b""), (101, b""), (228, b""),
    (113, b"\0\0\0\1\0\6" + bytes(8) + b"\x08\0"), (276, b"\x08\0\0\0\0\0\0\1\0\1\0\6" + bytes(8)),
])  # fmt: skip
def test_other_link_layers(link_type: int, header: bytes) -> None:
    assert find(header + IPV4, link_type) == (KEY4, SEGMENT, 0)


@pytest.mark.parametrize(
    ("link_type", "header"), [(113, bytes(14) + b"\x86\xdd"), (276, b"\x86\xdd" + bytes(18)), (229, b"")]
)
def test_other_link_layers_with_ipv6(link_type: int, header: bytes) -> None:
    assert find(header + IPV6, link_type)[1:] == (SEGMENT, 0)


def test_link_layers_of_which_nothing_is_known() -> None:
    assert find(IPV4, 105) == "link_type_105"
    assert find(bytes(14) + b"\x08\x06" + bytes(60), 113) == "not_ip"
    assert find(b"\x08\x06" + bytes(60), 276) == "not_ip"


def test_options_of_ipv4() -> None:
    options = ipv4("192.0.2.1", "192.0.2.2", SEGMENT, options=b"\x94\4\0\0" * 10)
    assert find(ethernet(options)) == (KEY4, SEGMENT, 0)
    for words in range(5):  # a header that is shorter than a header
        assert find(ethernet(bytes([0x40 | words]) + IPV4[1:])) == "not_ip"


def test_what_is_not_tcp() -> None:
    assert find(ethernet(ipv4("192.0.2.1", "192.0.2.2", SEGMENT, protocol=17))) == "not_tcp"
    assert find(ethernet(ipv6("::1", "::2", SEGMENT, header=58))) == "not_tcp"
    assert find(ETHERNET_IPV4 + b"\x50" + IPV4[1:]) == "not_ip"


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x2001, 0x1FFF])
def test_fragments_are_counted(fragment: int) -> None:
    assert find(ethernet(ipv4("192.0.2.1", "192.0.2.2", SEGMENT, fragment=fragment))) == "fragment"
    offset = (fragment & 0x1FFF) << 3 | (fragment >> 13 & 1)
    header = b"\x06\0" + offset.to_bytes(2, "big") + b"\0\0\0\1"
    assert find(ethernet(ipv6("::1", "::2", SEGMENT, header=44, extensions=header))) == "fragment"


HOP_BY_HOP, ROUTING, ATOMIC, AUTHENTICATION, OPTIONS = 0, 43, 44, 51, 60


@pytest.mark.parametrize(("header", "extensions"), [
    (HOP_BY_HOP, b"\6\0" + bytes(6)),
    (HOP_BY_HOP, b"\x2b\1" + bytes(14) + b"\x3c\0" + bytes(6) + b"\6\2" + bytes(22)),
    (ATOMIC, b"\6\0\0\0\0\0\0\1"),
    (AUTHENTICATION, b"\6\4" + bytes(22)),
    (OPTIONS, b"\x33\0" + bytes(6) + b"\x2c\4" + bytes(22) + b"\6\0\0\0\0\0\0\1"),
])  # fmt: skip
def test_extension_headers_of_ipv6(header: int, extensions: bytes) -> None:
    assert find(ethernet(ipv6("::1", "::2", SEGMENT, header=header, extensions=extensions)))[1:] == (SEGMENT, 0)


def test_extension_headers_without_end() -> None:
    endless = b"\0\0" + bytes(6)
    assert find(ethernet(ipv6("::1", "::2", SEGMENT, header=0, extensions=endless * 1000))) == "not_tcp"
    enough = endless * (MOST_EXTENSIONS - 2) + b"\6\0" + bytes(6)
    assert find(ethernet(ipv6("::1", "::2", SEGMENT, header=0, extensions=enough)))[1:] == (SEGMENT, 0)


def test_padding_is_none_of_the_segment() -> None:
    assert find(ethernet(IPV4) + bytes(20)) == (KEY4, SEGMENT, 0)
    assert find(ethernet(IPV6) + bytes(20))[1:] == (SEGMENT, 0)


def test_a_length_that_the_system_leaves_to_the_network_card() -> None:
    assert find(ethernet(ipv4("192.0.2.1", "192.0.2.2", SEGMENT, total=0))) == (KEY4, SEGMENT, 0)
    assert find(ethernet(ipv4("192.0.2.1", "192.0.2.2", SEGMENT, total=0, options=bytes(4)))) == (KEY4, SEGMENT, 0)
    assert find(ethernet(IPV6[:4] + b"\0\0" + IPV6[6:]))[1:] == (SEGMENT, 0)


@pytest.mark.parametrize("ip", [IPV4, IPV6, ipv4("192.0.2.1", "192.0.2.2", SEGMENT, options=bytes(8))])
def test_a_packet_that_was_cut_off(ip: bytes) -> None:
    packet = ethernet(ip)
    headers = len(packet) - len(SEGMENT) + 20
    for kept in range(len(packet)):
        found = find(packet[:kept], length=len(packet))
        if kept >= headers:
            assert found[1:] == (SEGMENT[: 20 + kept - headers], len(packet) - kept)
        else:
            assert found in ("cut_short", "not_ip", "not_tcp", "fragment")


def test_a_length_that_is_too_short_for_a_header() -> None:
    assert find(ethernet(ipv4("192.0.2.1", "192.0.2.2", SEGMENT, total=39))) == "cut_short"
    assert find(ethernet(IPV6[:4] + b"\0\x13" + IPV6[6:])) == "cut_short"


@pytest.mark.parametrize("ip", [IPV4, IPV6])
def test_what_comes_back(ip: bytes) -> None:
    key = find(ethernet(ip))[0]
    assert isinstance(key, bytes)
    source, source_port, destination, destination_port = endpoints(key)
    assert endpoints(reversed_key(key)) == (destination, destination_port, source, source_port)
    assert reversed_key(reversed_key(key)) == key


@given(
    st.sampled_from([1, 105, *LINK_TYPES]),
    st.sampled_from([IPV4, IPV6, ethernet(IPV4), b""]),
    st.binary(max_size=80),
    st.data(),
)
def test_anything_at_all(link_type: int, beginning: bytes, rest: bytes, data: st.DataObject) -> None:
    packet = bytearray(beginning + rest)
    for _ in range(data.draw(st.integers(0, 4))):
        if packet:
            packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    find(bytes(packet), link_type)
    TcpFinder().find(link_type, bytes(packet), 0, len(packet), len(packet))  # with nothing behind it
