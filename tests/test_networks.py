"""Is an address in one of these networks? Held against ipaddress."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from l4proxy.networks import NetworkSet

V4 = st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.ip_addresses(v=4), st.integers(0, 32))
V6 = st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.ip_addresses(v=6), st.integers(0, 128))
IPV4_IN_IPV6 = IPv6Network("::/79")  # the mapped addresses, and those beside them


def networks(*texts: str) -> NetworkSet:
    return NetworkSet(ip_network(text) for text in texts)


@given(st.lists(V4 | V6, max_size=6), st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_agrees_with_ipaddress(given: list[IPv4Network | IPv6Network], address: IPv4Address | IPv6Address) -> None:
    meant = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
    assert (str(address) in NetworkSet(given)) == any(meant in network for network in given)


@given(V4 | V6)
def test_a_network_ends_where_it_ends(network: IPv4Network | IPv6Network) -> None:
    assume(not network.overlaps(IPV4_IN_IPV6))
    known = NetworkSet([network])
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = type(network.network_address)
    assert str(kind(first)) in known
    assert str(kind(last)) in known
    if first:
        assert str(kind(first - 1)) not in known
    if last < (1 << network.max_prefixlen) - 1:
        assert str(kind(last + 1)) not in known


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("::ffff:10.1.2.3", True),
        ("::ffff:a01:203", True),
        ("::ffff:11.1.2.3", False),
        ("fe80::1%eth0", True),
        ("", False),
        ("db.test", False),
    ],
)
def test_addresses_in_every_spelling(host: str, inside: bool) -> None:
    assert (host in networks("10.0.0.0/8", "fe80::/10")) is inside


def test_families_do_not_mix() -> None:
    assert "::1" not in networks("0.0.0.0/0")
    assert "127.0.0.1" not in networks("::/0")
    assert "127.0.0.1" not in networks()
