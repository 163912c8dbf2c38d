"""A connection as access logs see it, for the tests that print one."""

from __future__ import annotations

from typing import Any

from l4proxy.access_log.record import AccessRecord
from l4proxy.filter import Peer, TlsInfo
from l4proxy.reason import CloseReason

EOF = CloseReason("client", "relay", "eof")
REFUSED = CloseReason("upstream", "connecting", "connect_refused", errno=111, flags=("UF", "URX"), message="refused")
SANS = ("DNS:ann.test", "URI:spiffe://t/ann", "DNS:b.test")
TLS = TlsInfo("db.test", "postgresql", "TLSv1.3", "TLS_AES_256_GCM_SHA384", "CN=ann", SANS)


def record(**changes: Any) -> AccessRecord:
    """A TLS connection to a database, through a PROXY header, that ended well."""
    fields: dict[str, Any] = {
        "listener": "web",
        "client": Peer("203.0.113.9", 50000, "192.0.2.1", 443, "10.0.0.9"),
        "reason": EOF,
        "started": 1767322984.678901,
        "duration": 1.2345,
        "connection_id": 7,
        "chain": "main",
        "protocol": "tls",
        "server_name": "db.test",
        "tls": TLS,
        "handshake_seconds": 0.012,
        "direct_client": ("10.0.0.9", 40000),
        "bytes_received": 120,
        "bytes_sent": 4096,
        "cluster": "db",
        "endpoint": "db1:5432",
        "upstream": Peer("10.1.0.5", 5432, "10.1.0.1", 41000),
        "attempts": 2,
        "connect_seconds": 0.0031,
        "upstream_bytes_received": 4100,
        "upstream_bytes_sent": 118,
        "state": {"sniff:user": "ann", "sniff:query": {"kind": "select", "rows": 3}},
    }
    return AccessRecord(**{**fields, **changes})


def bare(**changes: Any) -> AccessRecord:
    """A connection over a unix socket of which nothing else is known."""
    return AccessRecord(**{"listener": "web", "client": Peer("", 0), "reason": EOF, "started": 0.0, **changes})
