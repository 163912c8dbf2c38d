from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.ip import IPV4_MAPPED, ip_packed, ip_text


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=4, max_size=4).map(IPV4_MAPPED.__add__))
def test_ipv4_is_written_as_the_system_writes_it(packed: bytes) -> None:
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    assert ip_text(packed) == socket.inet_ntop(family, packed)
    assert ip_packed(ip_text(packed)) == packed


@given(st.lists(st.sampled_from([b"\0\0", b"\0\1", b"\x0a\xbc", b"\xff\xff"]), min_size=8, max_size=8).map(b"".join))
def test_ipv6_is_written_as_the_system_writes_it(packed: bytes) -> None:
    assert ip_packed(ip_text(packed)) == packed
    if any(packed[:12]):  # glibc alone still writes the long gone "IPv4-compatible" addresses with dots
        assert ip_text(packed) == socket.inet_ntop(socket.AF_INET6, packed)


def test_a_zone_is_left_out() -> None:
    assert ip_packed("fe80::1%eth0") == socket.inet_pton(socket.AF_INET6, "fe80::1")


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", "1.2.3.4\n", "0x1.2.3.4", "1", "localhost",
             ":", "1::2::3", "12345::", "::g", "1:2:3:4:5:6:7:8:9", "[::1]", "::1.2.3.256"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ip_packed(text)
