"""What is counted of TLS."""

from __future__ import annotations

from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry

__all__ = ["CertificateStats", "TlsStats", "unregistered"]


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


def unregistered() -> TlsStats:
    """Where a context counts that nobody has given a group of a registry."""
    return TlsStats(("", ""), StatsRegistry())
