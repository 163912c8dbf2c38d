"""An endpoint: one server behind a cluster, and what is going on with it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from l4proxy.address import Address

if TYPE_CHECKING:
    from l4proxy.stream import Stream

__all__ = ["Endpoint", "EndpointSpec", "Target"]


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What discovery knows of an endpoint.

    ``name`` is its identity: the same name in the next update is the same endpoint, whose connections go on. It is also its
    label in statistics. ``addresses`` are IP addresses with ports, or a unix socket, in the order in which to try them; more than
    one means one server that can be reached in several ways (RFC 8305). ``hostname`` is what its certificate is checked
    against, and empty where only an address is known. Weight 0 takes no new connections.
    """

    name: str
    addresses: tuple[Address, ...]
    hostname: str = ""
    weight: int = 1

    @classmethod
    def of_address(cls, address: Address, *, hostname: str = "", weight: int = 1) -> EndpointSpec:
        """The endpoint at an IP address or unix socket, named after it."""
        return cls(str(address), (address,), hostname, weight)


class Target(NamedTuple):
    """An address as the system takes it."""

    family: int
    sockaddr: tuple[str, int] | str
    loopback: bool

    @classmethod
    def of(cls, address: Address) -> Target:
        if address.is_unix:
            path = address.path
            return cls(socket.AF_UNIX, "\0" + path[1:] if path.startswith("@") else path, False)
        host = address.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return cls(family, (host, address.port), host.startswith("127.") or host == "::1")


class Endpoint:
    """One server behind a cluster. Made when it is discovered; it lives until it was removed and its last stream is closed."""

    __slots__ = ("active", "draining", "hostname", "name", "streams", "targets", "weight")

    def __init__(self, spec: EndpointSpec) -> None:
        self.name = spec.name
        self.active = 0
        """Connections open or being made. A filter that sends many requests over one connection adds those in flight, for the
        balancers that look at it."""
        self.draining = False
        """It was removed: no new connections; who pools connections sends nothing more on those it has."""
        self.streams: set[Stream] = set()
        """Open connections."""
        self.update(spec)

    def update(self, spec: EndpointSpec) -> None:
        """Take over what may change while an endpoint stays the same one. Open connections are not touched."""
        self.hostname = spec.hostname
        self.weight = spec.weight
        self.targets = tuple(Target.of(address) for address in spec.addresses)

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} weight={self.weight} active={self.active}{' draining' if self.draining else ''}>"
