"""TLS on both ends: contexts made from the configuration, handshakes driven by the poller, encrypted streams.

Imported only when a configuration uses TLS: importing ``ssl`` takes as long as all the rest of a small proxy's start.
"""

from __future__ import annotations

from l4proxy.tls.certificate import Certificate
from l4proxy.tls.client import ClientTlsContext
from l4proxy.tls.handshake import Handshake
from l4proxy.tls.server import ServerTlsContext
from l4proxy.tls.stats import CertificateStats, Expiry, TlsStats
from l4proxy.tls.stream import TlsStream

__all__ = [
    "Certificate",
    "CertificateStats",
    "ClientTlsContext",
    "Expiry",
    "Handshake",
    "ServerTlsContext",
    "TlsStats",
    "TlsStream",
]
