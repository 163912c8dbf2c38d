"""Matchers that decide from addresses alone, so that a chain waits for no byte.

``match = { source = ["10.0.0.0/8"], port = [443, "8000-8999"] }``
"""

from __future__ import annotations

from typing import Any

from l4proxy import Matcher, PeekInfo, Register, hookimpl
from l4proxy.config.types import Network, PortRange
from l4proxy.networks import NetworkSet


class _InNetworks(Matcher[tuple[Network, ...]]):
    def __init__(self, config: tuple[Network, ...]) -> None:
        super().__init__(config)
        self.networks = NetworkSet(config)


class Source(_InNetworks):
    """The client's address, or the one that a PROXY header names, is in one of these networks."""

    name = "source"

    def match(self, peek: bytes, info: PeekInfo) -> bool:
        return info.source[0] in self.networks


class DirectSource(_InNetworks):
    """The address of the directly connected host is in one of these networks, whatever a PROXY header says."""

    name = "direct_source"

    def match(self, peek: bytes, info: PeekInfo) -> bool:
        return info.direct_source[0] in self.networks


class Destination(_InNetworks):
    """The address that the client meant is in one of these networks."""

    name = "destination"

    def match(self, peek: bytes, info: PeekInfo) -> bool:
        return info.destination[0] in self.networks


class Port(Matcher[tuple[PortRange, ...]]):
    """The port that the client meant is one of these, or in one of these ranges."""

    name = "port"

    def match(self, peek: bytes, info: PeekInfo) -> bool:
        return any(info.destination[1] in ports for ports in self.config)


class SourcePort(Matcher[tuple[PortRange, ...]]):
    """The client's port is one of these, or in one of these ranges."""

    name = "source_port"

    def match(self, peek: bytes, info: PeekInfo) -> bool:
        return any(info.source[1] in ports for ports in self.config)


@hookimpl
def register_matchers(register: Register[Any]) -> None:
    for matcher in (Source, DirectSource, Destination, Port, SourcePort):
        register(matcher)
