"""SASL as Kafka uses it: who does a client say it is? Secrets are looked over and never kept.

RFC 4616 (PLAIN), RFC 5802 (SCRAM), RFC 7628 (OAUTHBEARER).
"""

from __future__ import annotations

import base64
import binascii
import json

__all__ = ["principal", "rounds"]

_MANY = 1_000_000
_ROUNDS = {"PLAIN": 1, "SCRAM-SHA-256": 2, "SCRAM-SHA-512": 2, "OAUTHBEARER": 1}


def rounds(mechanism: str) -> int:
    """Tokens that a client sends until it is authenticated; of a mechanism whose number varies, more than it can."""
    return _ROUNDS.get(mechanism, _MANY)


def principal(mechanism: str, token: bytes) -> str:
    """Whom a client's first token names; empty where it does not tell. Never raises."""
    if mechanism == "PLAIN":
        return _text(token.split(b"\0")[1]) if token.count(b"\0") == 2 else ""
    if mechanism.startswith("SCRAM-"):
        return _scram(token)
    if mechanism == "OAUTHBEARER":
        return _bearer(token)
    return ""


def _scram(token: bytes) -> str:
    """The client's first message: ``n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL``."""
    for attribute in token.split(b",")[2:]:
        if attribute.startswith(b"n="):
            return _text(attribute[2:]).replace("=2C", ",").replace("=3D", "=")
    return ""


def _bearer(token: bytes) -> str:
    """The subject of a JSON Web Token (RFC 7519), which is taken at its word: the broker checks the signature."""
    _, _, rest = token.partition(b"auth=Bearer ")
    parts = rest.partition(b"\x01")[0].split(b".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    subject = claims.get("sub") if isinstance(claims, dict) else None
    return subject if isinstance(subject, str) else ""


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
