from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.plugins.private_networks import private_networks


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.255.255.255", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1"),
        *(
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fe80::1%eth0",
        ),
        *("fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "64:ff9b::a00:1", "2002:a00:1::", "2001:0:1::"),
    ],
)
def test_what_is_not_public(host: str) -> None:
    assert host in private_networks()


@pytest.mark.parametrize(
    "host",
    [
        *("1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "192.167.255.255", "100.63.255.255", "100.128.0.0"),
        *("126.255.255.255", "128.0.0.0", "223.255.255.255", "::ffff:8.8.8.8"),
        *("2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2400::1"),
    ],
)
def test_what_is_public(host: str) -> None:
    assert host not in private_networks()


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_python_calls_private_is_not_public(address: IPv4Address | IPv6Address) -> None:
    """It knows fewer networks, and the other way round an anycast address or two within larger ones."""
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert str(address) in private_networks()
