from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from jwt_tokens import SECRET, oct_jwk, rsa_jwk, token
from l4proxy.plugins.jwt_algorithms import JWT_ALGORITHMS, Algorithm, Algorithms, decode_base64url


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def parts(text: str) -> tuple[bytes, bytes]:
    signed, _, signature = text.rpartition(".")
    return signed.encode(), decode_base64url(signature)


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512"])
def test_signatures(alg: str) -> None:
    key: Any = SECRET if alg.startswith("HS") else rsa_key()
    jwk = oct_jwk() if alg.startswith("HS") else rsa_jwk(rsa_key())
    algorithm = JWT_ALGORITHMS.find(alg)
    made = algorithm.key(jwk)
    signed, signature = parts(token({"sub": "ann"}, key, alg))
    assert algorithm.verify(made, signed, signature)
    for wrong in (b"", signature[:-1], b"\0" + signature, signature + b"\0", bytes([signature[0] ^ 1]) + signature[1:]):
        assert not algorithm.verify(made, signed, wrong)
    assert not algorithm.verify(made, signed + b"x", signature)
    assert not algorithm.verify(made, signed, b"\xff" * len(signature))
    assert not algorithm.verify(made, signed, b"\0" * len(signature))


def test_a_vector_of_the_rfc() -> None:
    """RFC 7515 appendix A.1."""
    key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    text = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
        "NvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    hmac = JWT_ALGORITHMS.find("HS256")
    assert hmac.verify(hmac.key({"kty": "oct", "k": key}), *parts(text))


def test_a_signature_with_a_hash_of_another_kind_is_wrong() -> None:
    """The old forgeries live on lenient parsing of what is inside; here it is built and compared."""
    algorithm = JWT_ALGORITHMS.find("RS256")
    signed, signature = parts(token({}, rsa_key(), "RS512"))
    assert not algorithm.verify(algorithm.key(rsa_jwk(rsa_key())), signed, signature)


@pytest.mark.parametrize(
    ("alg", "jwk", "words"),
    [
        ("HS256", {"kty": "oct", "k": "c2hvcnQ"}, "too short to be safe: 32 are needed"),
        ("HS512", {"kty": "oct", "k": "c2hvcnQ"}, "64 are needed"),
        ("HS256", {"kty": "oct"}, "not base64url"),
        ("HS256", {"kty": "oct", "k": "a+b="}, "not base64url"),
        ("HS256", {"kty": "oct", "k": "a"}, "not base64url"),
        ("RS256", {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "a modulus of 17 bits"),
        ("RS256", {"kty": "RSA", "n": "_" * 400, "e": "Ag"}, "an unfit exponent"),
        ("RS256", {"kty": "RSA", "n": "_" * 400, "e": "AQ"}, "an unfit exponent"),
        ("RS256", {"kty": "RSA", "n": "_" * 2000, "e": "AQAB"}, "a modulus of 12000 bits"),
    ],
)
def test_unfit_keys(alg: str, jwk: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        JWT_ALGORITHMS.find(alg).key(jwk)


def test_what_is_not_there_is_said() -> None:
    for name in ("ES256", "PS512", "EdDSA"):
        with pytest.raises(ValueError, match=f"{name} needs a plugin that brings it"):
            JWT_ALGORITHMS.find(name)
    for name in ("none", "HS1", ""):
        with pytest.raises(ValueError, match="is no algorithm of signatures"):
            JWT_ALGORITHMS.find(name)


def test_keys_are_tried_with_algorithms_of_their_type_only() -> None:
    assert JWT_ALGORITHMS.of_key({"kty": "oct"}) == ["HS256", "HS384", "HS512"]
    assert JWT_ALGORITHMS.of_key({"kty": "RSA", "alg": "RS384"}) == ["RS384"]
    assert JWT_ALGORITHMS.of_key({"kty": "RSA", "alg": "HS256"}) == []
    assert JWT_ALGORITHMS.of_key({"kty": "EC"}) == []


def test_a_plugin_adds_its_own() -> None:
    class Yes(Algorithm):
        key_type = "yes"

        def key(self, jwk: Any) -> None:
            pass

        def verify(self, key: Any, signed: bytes, signature: bytes) -> bool:
            return True

    algorithms = Algorithms()
    algorithms.add("YES", Yes())
    assert algorithms.of_key({"kty": "yes"}) == ["YES"]
    assert algorithms.find("YES").verify(None, b"", b"")
