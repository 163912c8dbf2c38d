"""Addresses that are not the public internet's: who connects where strangers say must not be led to these."""

from __future__ import annotations

from functools import cache

from l4proxy.config.units import parse_network
from l4proxy.networks import NetworkSet

__all__ = ["private_networks"]

_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"),
    *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)
"""From IANA's registries of special-purpose addresses: loopback, private, link-local, shared, documentation, multicast,
reserved; and the IPv6 networks whose addresses contain an IPv4 address, which may be one of those (NAT64, Teredo,
6to4). Mapped addresses are judged as the IPv4 addresses that they are."""


@cache
def private_networks() -> NetworkSet:
    """All of them. Made when first asked for: most proxies never do."""
    return NetworkSet(map(parse_network, _NETWORKS))
