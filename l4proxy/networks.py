"""Is an address in one of these networks? Asked once per connection, by matchers and filters."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.config.types import Network

__all__ = ["NetworkSet"]


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
        """``host`` is an address as the system prints it; anything else (a unix socket's empty one) is in no
        network."""
        try:
            if ":" not in host:
                number, tables = int.from_bytes(socket.inet_aton(host), "big"), self._v4
            elif host.startswith("::ffff:") and "." in host:
                number, tables = int.from_bytes(socket.inet_aton(host[7:]), "big"), self._v4
            else:
                number = int.from_bytes(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), "big")
                tables = self._v6
        except OSError:
            return False
        return any(number >> shift in prefixes for shift, prefixes in tables)
