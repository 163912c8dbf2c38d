"""What is counted of TLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.tls.certificate import Certificate

__all__ = ["CertificateStats", "Expiry", "TlsStats", "unregistered"]


class TlsStats(Stats, subsystem="tls", labels=("listener", "cluster")):
    """TLS with the clients of a listener or with the endpoints of a cluster; the other label is empty."""

    handshakes_total = counter("Handshakes that succeeded.")
    handshakes_resumed_total = counter("Handshakes among them that resumed a session.")
    handshake_failed_total = labelled_counter("Handshakes that failed, by reason.", label="reason")
    handshake_seconds = histogram("How long the handshakes took that succeeded.", buckets=SECONDS)
    versions_total = labelled_counter("Versions of TLS that were agreed on.", label="version")
    ciphers_total = labelled_counter("Ciphers that were agreed on.", label="cipher")
    truncated_total = counter("Streams that ended without close_notify: bytes may have been cut off.")


class CertificateStats(Stats, subsystem="certificate", labels=("path", "serial")):
    """One certificate that the proxy presents."""

    expiration_seconds = gauge("When it expires, as Unix time.", number=float, merge="max")


class Expiry:
    """The gauges of the certificates that are presented now."""

    def __init__(self, registry: StatsRegistry) -> None:
        self._registry = registry
        self._shown: list[CertificateStats] = []

    def show(self, certificates: Iterable[Certificate]) -> None:
        """These, and no others any more. Called at the start and at each reload."""
        for group in self._shown:
            self._registry.discard(group)
        self._shown = []
        for one in certificates:
            group = self._registry.group(CertificateStats, path=one.path, serial=one.serial)
            group.expiration_seconds = one.not_after
            self._shown.append(group)


def unregistered() -> TlsStats:
    """Where a context counts that nobody has given a group of a registry."""
    return TlsStats(("", ""), StatsRegistry())
