"""Tokens of tests, signed by the package cryptography: another implementation than the one that checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

__all__ = ["SECRET", "b64", "ec_jwk", "oct_jwk", "rsa_jwk", "token"]

SECRET = "an-honest-secret-of-64-bytes-that-is-long-enough-for-each-hash.."
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(data: bytes | int) -> str:
    if isinstance(data, int):
        data = data.to_bytes((data.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(claims: Any, key: Any = SECRET, alg: str = "HS256", **header: Any) -> str:
    """``claims`` as bytes go in as they are."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(json.dumps({'alg': alg, 'typ': 'JWT', **header}).encode())}.{b64(payload)}"
    return f"{signed}.{b64(_sign(signed.encode(), key, alg))}"


def _sign(signed: bytes, key: Any, alg: str) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), _HASHES[alg[2:]])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(_HASHES[alg[2:]])))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    secret = key.encode() if isinstance(key, str) else key
    return hmac.digest(secret, signed, getattr(hashlib, f"sha{alg[2:]}"))


def oct_jwk(secret: str = SECRET, **more: str) -> dict[str, str]:
    return {"kty": "oct", "k": b64(secret.encode()), **more}


def rsa_jwk(key: rsa.RSAPrivateKey, **more: str) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": b64(numbers.n), "e": b64(numbers.e), **more}


def ec_jwk(key: ec.EllipticCurvePrivateKey, **more: str) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **more}
