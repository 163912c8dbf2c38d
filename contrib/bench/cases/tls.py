"""TLS terminated by the proxy, plain TCP to the upstream.

TLS 1.3, TLS_AES_128_GCM_SHA256, X25519 and a P-256 certificate for all, so that each does the same arithmetic with its
own library. Handshakes are never resumed.
"""

from __future__ import annotations

from cases.bulk import DOWN, GIGABYTE, UP
from cases.churn import CHURN, DESCRIPTION
from cases.traffic import Traffic, Unit

__all__ = ["CASES"]

HANDSHAKE = Unit(cpu_title="CPU us/handshake", cpu_scale=1e6, rate_title="handshakes/s")

CASES = (
    Traffic("tls_bulk", "TLS to the client, from upstream, 4 connections", GIGABYTE, DOWN, tls=True),
    Traffic("tls_bulk_up", "TLS from the client, to upstream, 4 connections", GIGABYTE, UP, tls=True),
    Traffic("tls_handshake", f"connect, handshake, {DESCRIPTION}", HANDSHAKE, CHURN, tls=True),
)
