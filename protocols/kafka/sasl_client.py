"""SASL from the side of a client: what the proxy says where it asks brokers itself.

PLAIN (RFC 4616), and SCRAM with SHA-256 and SHA-512 (RFC 5802, RFC 7677), in which the broker has to prove that it
knows the password, too. Channel binding is not used, as Kafka has none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Generator
from typing import Literal

from l4proxy.codec import RemoteProtocolError

__all__ = ["MECHANISMS", "Mechanism", "tokens"]

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
MECHANISMS: tuple[Mechanism, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
ITERATIONS = range(4096, 100_001)
"""Of the password's hash: a broker says how many. Fewer than RFC 7677 asks for would tell a false broker too much, and
a million takes a second."""
NO_BINDING = "n,,"


def tokens(mechanism: Mechanism, username: str, password: str, nonce: str) -> Generator[bytes, bytes, None]:
    """What is sent, and is given what the broker answers; it ends when the broker is believed. ``nonce`` is random and
    has no comma. Raises RemoteProtocolError for an answer that proves nothing."""
    if mechanism == "PLAIN":
        yield b"\0" + username.encode() + b"\0" + password.encode()
        return
    digest = "sha256" if mechanism == "SCRAM-SHA-256" else "sha512"
    bare = f"n={_escaped(username)},r={nonce}"
    first = yield (NO_BINDING + bare).encode()
    said = _attributes(first)
    both, salt, iterations = said.get("r", ""), _decoded(said.get("s", "")), said.get("i", "")
    if not both.startswith(nonce) or both == nonce:
        raise _wrong("it does not take up the nonce")
    if not (iterations.isascii() and iterations.isdecimal() and int(iterations[:9]) in ITERATIONS):
        raise _wrong(f"{iterations[:20]!r} iterations, of {ITERATIONS[0]} to {ITERATIONS[-1]}")
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, int(iterations))
    final = f"c={_encoded(NO_BINDING.encode())},r={both}"
    signed = ",".join([bare, first.decode(), final]).encode()
    key = hmac.digest(salted, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, key).digest(), signed, digest)
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    last = yield f"{final},p={_encoded(proof)}".encode()
    expected = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
    if not hmac.compare_digest(_decoded(_attributes(last).get("v", "")), expected):
        raise _wrong("it does not know the password")


def _attributes(message: bytes) -> dict[str, str]:
    """``r=...,s=...,i=...``."""
    try:
        parts = message.decode().split(",")
    except UnicodeDecodeError:
        raise _wrong("it is no text") from None
    return {name: value for name, found, value in (part.partition("=") for part in parts) if found}


def _escaped(name: str) -> str:
    return name.replace("=", "=3D").replace(",", "=2C")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("it is not in base64") from None


def _wrong(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"what the broker answers to SCRAM is wrong: {why}", code="login_refused")
