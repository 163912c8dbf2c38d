"""An endpoint: one server behind a cluster, and what is going on with it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from l4proxy.address import Address
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter

if TYPE_CHECKING:
    from l4proxy.stream import Stream

__all__ = ["Endpoint", "EndpointSpec", "EndpointStats", "Target"]


class EndpointStats(Stats, subsystem="endpoint", labels=("cluster", "endpoint")):
    """Connections to one endpoint."""

    connections_total = counter("Connections made.")
    connections_active = gauge("Connections open now.")
    connect_failed_total = labelled_counter("Attempts to connect that failed, by reason.", label="reason")
    connect_seconds = histogram("How long it took to connect, TLS handshake included.", buckets=SECONDS)
    received_bytes_total = counter("Bytes received from the endpoint.")
    sent_bytes_total = counter("Bytes sent to the endpoint.")
    available = gauge("Workers that may send it new connections: none while it is unhealthy or ejected.")
    health_checks_total = labelled_counter("Health checks, by how they ended: passed or failed.", label="result")
    unhealthy_total = counter("Times that health checks have found it to be unhealthy.")
    ejections_total = counter("Times that outlier detection has ejected it.")
    ejections_overflow_total = counter(
        "Ejections that were not done, because max_ejection_percent were ejected already."
    )


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What discovery knows of an endpoint.

    ``name`` is its identity: the same name in the next update is the same endpoint, whose connections go on. It is also
    its label in statistics. ``addresses`` are IP addresses with ports, or a unix socket, in the order in which to try
    them; more than one means one server that can be reached in several ways (RFC 8305). ``hostname`` is what its
    certificate is checked against, and empty where only an address is known. Weight 0 takes no new connections.
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
        """Raises ValueError for a host name: those are looked up by discovery, never while connecting."""
        if address.is_unix:
            path = address.path
            return cls(socket.AF_UNIX, "\0" + path[1:] if path.startswith("@") else path, False)
        host = address.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            raise ValueError(f"{address}: {host!r} is not an IP address") from None
        return cls(family, (host, address.port), host.startswith("127.") or host == "::1")


class Traffic:
    """Bytes of streams that are closed, and how much of open ones the statistics have already."""

    __slots__ = ("closed_received", "closed_sent", "counted_received", "counted_sent")

    def __init__(self) -> None:
        self.closed_received = self.closed_sent = self.counted_received = self.counted_sent = 0

    def closed(self, stream: Stream) -> None:
        self.closed_received += stream.received
        self.closed_sent += stream.sent

    def collect(self, streams: Iterable[Stream]) -> tuple[int, int]:
        """Bytes received and sent since this was last called. ``streams`` are those that are open."""
        received = sent = 0
        for stream in streams:
            received += stream.received
            sent += stream.sent
        new = self.closed_received + received - self.counted_received, self.closed_sent + sent - self.counted_sent
        self.closed_received = self.closed_sent = 0
        self.counted_received, self.counted_sent = received, sent
        return new


class Endpoint:
    """One server behind a cluster, from its discovery until it is removed and its last stream is closed."""

    __slots__ = (
        "active",
        "connections",
        "draining",
        "ejected",
        "failure_limit",
        "failures",
        "health_problem",
        "hostname",
        "name",
        "on_failure_limit",
        "release",
        "spec",
        "stats",
        "streams",
        "targets",
        "traffic",
        "weight",
    )

    stats: EndpointStats
    """Set by the cluster."""
    release: Callable[[Stream], None]
    """Set by the cluster: what every stream calls when it is closed."""

    def __init__(self, spec: EndpointSpec) -> None:
        self.name = spec.name
        self.connections = 0
        """Open or being made."""
        self.active = 0
        """How busy it is, for the balancers that look at it: its connections. A filter that sends many requests over
        one connection adds those in flight."""
        self.draining = False
        """It was removed: no new connections; who pools connections sends nothing more on those it has."""
        self.health_problem = ""
        """What health checks have found to be wrong with it, for people; empty while it is healthy, or not checked."""
        self.ejected = False
        """Outlier detection keeps it out for a while."""
        self.failures = 0
        """Of the connections and requests that it got, the last so many have failed."""
        self.failure_limit = 0
        self.on_failure_limit: Callable[[Endpoint], object] = _nobody_cares
        """Called when ``failures`` reaches ``failure_limit``; 0: never. Set by the cluster."""
        self.streams: set[Stream] = set()
        """Open connections."""
        self.traffic = Traffic()
        self.update(spec)

    def update(self, spec: EndpointSpec) -> None:
        """Take over what may change while an endpoint stays the same one. Open connections are not touched."""
        self.spec = spec
        self.hostname = spec.hostname
        self.weight = spec.weight
        self.targets = tuple(Target.of(address) for address in spec.addresses)

    @property
    def available(self) -> bool:
        """Whether new connections may go to it, as far as it is known to be well."""
        return not self.health_problem and not self.ejected

    def report(self, *, ok: bool) -> None:
        """Say how a connection or a request went, as far as that was the endpoint's doing. Who sets
        ``ConnectRequest.reports`` has to, once for each request; a connection that fails is reported by itself."""
        if ok:
            self.failures = 0
            return
        self.failures += 1
        if self.failures == self.failure_limit:
            self.on_failure_limit(self)

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} weight={self.weight} active={self.active}{' draining' if self.draining else ''}>"


def _nobody_cares(endpoint: Endpoint) -> None:
    """The cluster has no outlier detection."""
