"""Is an address in one of these networks? Asked once per connection, by matchers and filters."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.config.types import Network

__all__ = ["NetworkSet"]

MAPPED = bytes(10) + b"\xff\xff"


class NetworkSet:
    """Networks by family and prefix length: a question costs a set look-up per distinct prefix length, however many
    networks there are. IPv4 addresses mapped into IPv6 (``::ffff:192.0.2.1``) are the IPv4 addresses they stand for."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, networks: Iterable[Network]) -> None:
        self._v4: list[tuple[int, set[int]]] = []
        self._v6: list[tuple[int, set[int]]] = []
        by_shift: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            by_shift.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        for (version, shift), prefixes in by_shift.items():
            (self._v4 if version == 4 else self._v6).append((shift, prefixes))

    def __contains__(self, host: str) -> bool:
        """``host`` is an address; anything else (a unix socket's empty one) is in no network."""
        try:
            if ":" in host:
                packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
            else:
                packed = socket.inet_aton(host)
        except OSError:
            return False
        if packed.startswith(MAPPED):
            packed = packed[len(MAPPED) :]
        number = int.from_bytes(packed, "big")
        return any(number >> shift in prefixes for shift, prefixes in (self._v4 if len(packed) == 4 else self._v6))
