"""JSON Web Tokens (RFC 7519, RFC 7515): is one sound, whose is it, does it hold now? As RFC 8725 wants it asked.

Only compact, signed tokens are tokens here. What a token says of its own key or way of signing is never enough: a key
is tried with the algorithms that it is for, and with no other.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from l4proxy.errors import cannot_read
from l4proxy.plugins.jwt_algorithms import JWT_ALGORITHMS, decode_base64url
from l4proxy.protocols.bounded import remember

__all__ = ["Keys", "TokenError", "check_times", "claim", "read_jwks"]

MAX_TOKEN = 16 * 1024
"""Characters."""
KNOWN = 1024
"""Tokens with a right signature that are remembered, by their hash."""
MAX_FILE = 1024 * 1024
FILE_CHECK = 1.0
"""Seconds for which a file of keys is not looked at again."""

Claims = Mapping[str, Any]


class TokenError(Exception):
    """A token that is not to be trusted. ``code`` is the snake-case name that logs and counters show."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Key(NamedTuple):
    kid: str
    algorithm: str
    key: Any


class Keys:
    """The keys of those who may sign."""

    def __init__(self, jwks: Sequence[Mapping[str, Any]], algorithms: Sequence[str], file: str = "") -> None:
        """``algorithms``: only these; empty: all that the keys are for. ``file`` is where the keys were read from, and
        are read again when it has changed. Raises ValueError."""
        self._algorithms = tuple(algorithms)
        self._file = file
        self._changed = _changed(file)
        self._checked = time.monotonic()
        self._keys = self._use(jwks)
        self._known: dict[bytes, Claims] = {}

    def _use(self, jwks: Sequence[Mapping[str, Any]]) -> list[_Key]:
        found: list[_Key] = []
        unfit: list[str] = []
        for at, jwk in enumerate(jwks):
            if jwk.get("use", "sig") != "sig":
                continue
            for name in JWT_ALGORITHMS.of_key(jwk) or [_usual(jwk)]:
                if self._algorithms and name not in self._algorithms:
                    continue
                try:
                    found.append(_Key(str(jwk.get("kid", "")), name, JWT_ALGORITHMS.find(name).key(jwk)))
                except ValueError as error:
                    unfit.append(f"key {jwk.get('kid', at)!r}: {error}")
        if not found:
            raise ValueError(unfit[0] if unfit else "there is no key to check signatures with")
        return found

    def claims(self, token: str) -> Claims:
        """What a token says, if one of the keys has signed it. Raises TokenError."""
        if self._file and time.monotonic() - self._checked > FILE_CHECK:
            self._read_again()
        if len(token) > MAX_TOKEN:
            raise TokenError("malformed", "it is too long")
        digest = hashlib.sha256(token.encode("latin-1", "replace")).digest()
        known = self._known.get(digest)
        if known is not None:
            return known
        claims = self._check(token)
        remember(self._known, digest, claims, KNOWN)
        return claims

    def _check(self, token: str) -> Claims:
        parts = token.split(".")
        if len(parts) != 3:
            raise TokenError("malformed", "it is not a signed token of three parts")
        try:
            header, claims = _object(parts[0]), _object(parts[1])
            signature = decode_base64url(parts[2])
        except (ValueError, RecursionError):
            raise TokenError("malformed", "it is not a JSON Web Token") from None
        if "crit" in header:
            raise TokenError("malformed", "it wants extensions understood that nobody here knows (crit)")
        algorithm, kid = header.get("alg"), header.get("kid", "")
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        if not fitting:
            raise TokenError("algorithm", f"no key is for the algorithm {str(algorithm)[:20]!r}")
        fitting = [key for key in fitting if kid in ("", key.kid) or not key.kid]
        if not fitting:
            raise TokenError("unknown_key", "it was signed with a key that is not known")
        signed = token[: -len(parts[2]) - 1].encode()
        if not any(JWT_ALGORITHMS.find(key.algorithm).verify(key.key, signed, signature) for key in fitting):
            raise TokenError("signature", "the signature is wrong")
        return claims

    def _read_again(self) -> None:
        self._checked = time.monotonic()
        changed = _changed(self._file)
        if changed in (0, self._changed):
            return
        self._changed = changed
        try:
            self._keys = self._use(read_jwks(self._file))
        except ValueError:
            return  # half written, it may be: the keys that there are stay
        self._known.clear()


def _usual(jwk: Mapping[str, Any]) -> str:
    """The algorithm of a key for which none is known here."""
    return str(jwk.get("alg") or {"EC": "ES256", "OKP": "EdDSA"}.get(jwk["kty"], jwk["kty"]))


def _changed(file: str) -> int:
    """When a file was written last; 0: it cannot be said."""
    try:
        return os.stat(file).st_mtime_ns if file else 0
    except OSError:
        return 0


def read_jwks(path: str) -> list[Mapping[str, Any]]:
    """The keys of a file: a JWK Set (RFC 7517 section 5), or a single key. Raises ValueError."""
    try:
        with open(path, encoding="utf-8") as file:
            raw = json.loads(file.read(MAX_FILE))
    except OSError as error:
        raise ValueError(cannot_read(path, error)) from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is not JSON") from None
    keys = raw.get("keys", [raw]) if isinstance(raw, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) and "kty" in key for key in keys):
        raise ValueError(f"{path} is neither a JSON Web Key nor a set of them")
    return keys


def _object(part: str) -> dict[str, Any]:
    """A part of a token. Raises ValueError, also for what two readers could read in two ways."""
    raw = json.loads(decode_base64url(part).decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    return raw


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def check_times(claims: Claims, now: float, skew: float, *, needs_expiration: bool) -> None:
    """Whether a token holds ``now`` (seconds since 1970), give or take ``skew``. Raises TokenError."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if type(value) not in (int, float) or not abs(value) < 1e15:
            raise TokenError("malformed", f"{name} is no time")
    if "exp" in claims and now > claims["exp"] + skew:
        raise TokenError("expired", "it has expired")
    if "exp" not in claims and needs_expiration:
        raise TokenError("no_expiration", "it never expires")
    if now < claims.get("nbf", 0) - skew:
        raise TokenError("not_yet_valid", "it is not valid yet")


def claim(claims: Claims, path: str) -> Any:
    """The value of a claim; ``realm_access.roles`` is one inside another, unless a claim is called just so. None where
    it is not there."""
    if path in claims:
        return claims[path]
    outer, dot, inner = path.partition(".")
    value = claims.get(outer)
    return claim(value, inner) if dot and isinstance(value, dict) else None
