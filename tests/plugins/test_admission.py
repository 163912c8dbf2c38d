from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.plugins.admission import source_key


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_ipv4_sources_are_networks(one: ipaddress.IPv4Address, other: ipaddress.IPv4Address, prefix: int) -> None:
    key = source_key(prefix, 128)
    network = ipaddress.ip_network((one, prefix), strict=False)
    assert (key(str(one)) == key(str(other))) == (other in network)


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 128))
def test_ipv6_sources_are_networks(one: ipaddress.IPv6Address, other: ipaddress.IPv6Address, prefix: int) -> None:
    if one.ipv4_mapped is None and other.ipv4_mapped is None:
        key = source_key(32, prefix)
        network = ipaddress.ip_network((one, prefix), strict=False)
        assert (key(str(one)) == key(str(other))) == (other in network)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "", True),
        ("", "0.0.0.0", False),
        ("0.0.0.0", "::", False),
    ],
)
def test_who_is_the_same_source(one: str, other: str, same: bool) -> None:
    key = source_key(32, 128)
    assert (key(one) == key(other)) is same
