"""Under which address a client finds a broker, and which broker it means by where it connects.

Both must be the same in every worker, and before and after a restart, with nothing to be shared or kept. So an address
is worked out from the broker's id: a port of the listener, or a name that TLS tells. What is left to know is which
brokers there are.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from l4proxy.plugins.kafka_proxy.fleet import View

if TYPE_CHECKING:
    from l4proxy.filter import Conn
    from l4proxy.plugins.kafka_proxy.config import KafkaProxyConfig
    from l4proxy.plugins.kafka_proxy.fleet import Fleet

__all__ = ["Places", "places_for", "problem_of"]

Place = tuple[bytes, int]


NODE = "{node}"
"""Stands for a broker's id in a pattern of server names."""


def problem_of(pattern: str) -> str:
    """What is wrong with a pattern of server names; empty: nothing."""
    if pattern.count(NODE) != 1:
        return f'{pattern!r} has to have one "{NODE}" in it (write "b{NODE}.kafka.example")'
    if not re.fullmatch(r"[A-Za-z0-9.-]+", pattern.replace(NODE, "0")):
        return f"{pattern!r} is not a host name"
    return ""


class Places(ABC):
    """The addresses of one listener, as those clients see them that have reached it in the same way. Brokers have the
    numbers by which clients know them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.views = [View(self, index) for index in range(len(fleet))]
        """By cluster: how relays to its brokers see these places."""

    @abstractmethod
    def node(self, conn: Conn) -> int | None:
        """Which broker a connection is meant for; None: any of them."""

    @abstractmethod
    def find(self, node: int) -> Place | None:
        """Where clients find a broker; None: nowhere."""


class _ByName(Places):
    def __init__(self, pattern: str, port: int, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._before, self._behind = pattern.lower().split(NODE)
        number = "(0|[1-9][0-9]{0,9})"
        self._match = re.compile(f"{re.escape(self._before)}{number}{re.escape(self._behind)}").fullmatch
        self._port = port

    def node(self, conn: Conn) -> int | None:
        found = self._match(conn.server_name.lower().removesuffix("."))
        return int(found[1]) if found else None

    def find(self, node: int) -> Place | None:
        return f"{self._before}{node}{self._behind}".encode(), self._port


class _ByPort(Places):
    """The first port is everybody's, and broker N has the Nth of the others, counted from 0 and in a circle, so that a
    few ports do for brokers with high numbers. Of two brokers with the same port the lower one is there. A listener
    with one port has room for one broker."""

    def __init__(self, host: str, ports: tuple[int, ...], advertised: tuple[int, ...], fleet: Fleet) -> None:
        super().__init__(fleet)
        self._host = host.encode()
        first = 1 if len(ports) > 1 else 0
        self._advertised = advertised[first:]
        self._index = {port: at for at, port in enumerate(ports[first:])}
        self._owners: dict[int, int] = {}
        """Which broker is at which port, by index; as of ``_revision``."""
        self._revision = -1

    def node(self, conn: Conn) -> int | None:
        index = self._index.get(conn.client.local_port)
        if index is None:
            return None
        owner = self._known().get(index)
        if owner is None and len(self._index) > 1:
            return index  # it is not known yet; and if there is none, that is as good a number as any
        return owner

    def find(self, node: int) -> Place | None:
        index = node % len(self._index)
        if self._known().get(index, node) != node or index >= len(self._advertised):
            return None
        return self._host, self._advertised[index]

    def _known(self) -> dict[int, int]:
        if self._revision != self.fleet.revision:
            self._revision = self.fleet.revision
            self._owners = {node % len(self._index): node for node in sorted(self.fleet.alive, reverse=True)}
        return self._owners


class _OneByOne(Places):
    def __init__(self, places: Mapping[int, Place], by_port: Mapping[int, int], fleet: Fleet) -> None:
        super().__init__(fleet)
        self._places = places
        self._by_port = by_port

    def node(self, conn: Conn) -> int | None:
        return self._by_port.get(conn.client.local_port)

    def find(self, node: int) -> Place | None:
        return self._places.get(node)


def places_for(conn: Conn, config: KafkaProxyConfig, fleet: Fleet) -> Places:
    """What clients are told that come like this one."""
    host = config.advertised_host or conn.client.local_host
    here = conn.client.local_port
    ports = conn.listener_ports or (here,)
    told = config.advertised_ports
    advertised = ports if told is None else tuple(range(told.first, told.last + 1))
    as_told = dict(zip(ports, advertised, strict=False))
    if config.broker_names:
        return _ByName(config.broker_names, as_told.get(here, here), fleet)
    if config.broker_ports:
        by_port = {port: int(node) for node, port in config.broker_ports.items()}
        places = {node: (host.encode(), as_told[port]) for port, node in by_port.items() if port in as_told}
        return _OneByOne(places, by_port, fleet)
    return _ByPort(host, ports, advertised, fleet)
