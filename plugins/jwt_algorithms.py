"""Signatures of JSON Web Tokens (RFC 7518): HMAC and RSA by the standard library, and a registry for all others.

Checking an RSA signature is arithmetic on public numbers, and a message that is built and compared as a whole, so there
is nothing secret to leak and nothing to parse. Elliptic curves in Python would take milliseconds for each token; a
plugin adds them, with a library that is made for it::

    from l4proxy.plugins.jwt_algorithms import JWT_ALGORITHMS, Algorithm

    JWT_ALGORITHMS.add("ES256", Ecdsa("P-256"))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["JWT_ALGORITHMS", "Algorithm", "Algorithms", "decode_base64url"]

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def decode_base64url(text: object) -> bytes:
    """Bytes as RFC 7515 writes them, without padding. Raises ValueError."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error


class Algorithm(ABC):
    """One way to sign: what ``alg`` names. One object for all uses of it."""

    key_type: ClassVar[str]
    """The ``kty`` of its keys: ``oct``, ``RSA``, ``EC``, ``OKP``. No other key is ever tried with it."""

    @abstractmethod
    def key(self, jwk: Mapping[str, Any]) -> Any:
        """What ``verify`` needs of a JSON Web Key (RFC 7517); once per key. Raises ValueError for one that is unfit."""

    @abstractmethod
    def verify(self, key: Any, signed: bytes, signature: bytes) -> bool:
        """Whether this is the signature of these bytes. Runs in the event loop, for each token that is not known."""


class Algorithms:
    """Algorithms by name."""

    def __init__(self) -> None:
        self._known: dict[str, Algorithm] = {}

    def add(self, name: str, algorithm: Algorithm) -> None:
        """For plugins, when they are imported."""
        self._known[name] = algorithm

    def get(self, name: str) -> Algorithm | None:
        return self._known.get(name)

    def find(self, name: str) -> Algorithm:
        """Raises ValueError that says what is missing."""
        found = self._known.get(name)
        if found is None and re.fullmatch(r"ES(256|384|512|256K)|PS(256|384|512)|EdDSA|Ed25519", name):
            raise ValueError(
                f"{name} needs a plugin that brings it (JWT_ALGORITHMS.add, see the HTTP guide);"
                f" without one there are {', '.join(self._known)}"
            )
        if found is None:
            raise ValueError(f"{name!r} is no algorithm of signatures (there are {', '.join(self._known)})")
        return found

    def of_key(self, jwk: Mapping[str, Any]) -> list[str]:
        """The algorithms that a key may be used with: the one that it names, or those known for its type."""
        names = [jwk["alg"]] if "alg" in jwk else list(self._known)
        return [name for name in names if name in self._known and self._known[name].key_type == jwk.get("kty")]


class Hmac(Algorithm):
    """HS256, HS384, HS512 (RFC 7518 section 3.2)."""

    key_type = "oct"

    def __init__(self, hash_name: str) -> None:
        self._hash = hash_name
        self._least = hashlib.new(hash_name).digest_size

    def key(self, jwk: Mapping[str, Any]) -> bytes:
        secret = decode_base64url(jwk.get("k"))
        if len(secret) < self._least:
            raise ValueError(
                f"a key of {len(secret)} bytes is too short to be safe: {self._least} are needed (RFC 7518 section 3.2)"
            )
        return secret

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(key, signed, self._hash), signature)


class Rsa(Algorithm):
    """RS256, RS384, RS512 (RFC 7518 section 3.3): RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.2)."""

    key_type = "RSA"
    _PREFIXES: ClassVar = {
        "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
        "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
        "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
    }
    """The ASN.1 in front of the hash (RFC 8017 section 9.2, note 1)."""

    def __init__(self, hash_name: str) -> None:
        self._hash = hash_name
        self._prefix = self._PREFIXES[hash_name]

    def key(self, jwk: Mapping[str, Any]) -> tuple[int, int, int]:
        """Modulus, exponent, and the modulus' length in bytes."""
        n, e = (int.from_bytes(decode_base64url(jwk.get(name)), "big") for name in ("n", "e"))
        if not 2048 <= n.bit_length() <= 8192:
            raise ValueError(f"a modulus of {n.bit_length()} bits (2048 to 8192 are taken)")
        if not 3 <= e < 1 << 32 or not e & 1:
            raise ValueError("an unfit exponent")
        return n, e, (n.bit_length() + 7) // 8

    def verify(self, key: tuple[int, int, int], signed: bytes, signature: bytes) -> bool:
        n, e, length = key
        number = int.from_bytes(signature, "big")
        if len(signature) != length or number >= n:
            return False
        info = self._prefix + hashlib.new(self._hash, signed).digest()
        expected = b"\x00\x01" + b"\xff" * (length - len(info) - 3) + b"\x00" + info
        return hmac.compare_digest(pow(number, e, n).to_bytes(length, "big"), expected)


JWT_ALGORITHMS = Algorithms()
"""All that this process knows."""

for _size in (256, 384, 512):
    JWT_ALGORITHMS.add(f"HS{_size}", Hmac(f"sha{_size}"))
for _size in (256, 384, 512):
    JWT_ALGORITHMS.add(f"RS{_size}", Rsa(f"sha{_size}"))
