from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from jwt_tokens import SECRET, b64, ec_jwk, oct_jwk, rsa_jwk, token
from l4proxy.plugins import jwt
from l4proxy.plugins.jwt import Keys, TokenError, check_times, claim, read_jwks
from plugins.test_jwt_algorithms import rsa_key

KEYS = Keys([oct_jwk()], ["HS256"])


def code(text: str, keys: Keys = KEYS) -> str:
    """The reason why a token is refused; empty: it is not. Asked twice, for the second time something is known."""
    first, second = (refusal(keys.claims, text) for _ in range(2))
    assert first == second
    return first


def refusal(ask: Callable[..., object], *arguments: Any, **options: Any) -> str:
    try:
        ask(*arguments, **options)
    except TokenError as error:
        return error.code
    return ""


GOOD = token({"sub": "ann"})
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")


def headed(header: bytes, signature: str = SIGNATURE) -> str:
    return f"{b64(header)}.{PAYLOAD}.{signature}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, ""),
        (token({}), ""),
        ("", "malformed"),
        ("a", "malformed"),
        ("a.b", "malformed"),
        ("..", "malformed"),
        (GOOD + ".x.y", "malformed"),
        (GOOD + "=", "malformed"),
        (" " + GOOD, "malformed"),
        (f"{HEADER}.{PAYLOAD}.", "signature"),
        (f"{HEADER}.{b64(b'{}')}.{SIGNATURE}", "signature"),
        (token({"sub": "ann"}, "another secret of enough bytes ......"), "signature"),
        (token({}, alg="HS512"), "algorithm"),
        (headed(b'{"alg":"none"}', ""), "algorithm"),
        (headed(b'{"alg":"None"}'), "algorithm"),
        (headed(b'{"alg":["HS256"]}'), "algorithm"),
        (headed(b"{}"), "algorithm"),
        (headed(b"[]"), "malformed"),
        (headed(b'{"alg":"HS256","alg":"HS256"}'), "malformed"),
        (token({}, crit=["b64"], b64=False), "malformed"),
        (token(b'{"exp":NaN}'), "malformed"),
        (token(b'{"a":1,"a":2}'), "malformed"),
        (token(b"\xff"), "malformed"),
        (token(b"[" * 100_000), "malformed"),
        (token(b"[" * 5000 + b"]" * 5000), "malformed"),
        (token({"a": "x" * 20_000}), "malformed"),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert code(text) == expected


def test_a_token_cannot_choose_how_a_key_is_used() -> None:
    """The classic: a public RSA key taken for the secret of an HMAC (RFC 8725 section 2.1)."""
    public = rsa_jwk(rsa_key())
    keys = Keys([public], [])
    assert code(token({}, rsa_key(), "RS256"), keys) == ""
    for secret in (json.dumps(public), public["n"], public["n"].encode()):
        assert code(token({}, secret, "HS256"), keys) == "algorithm"


def test_keys_have_names() -> None:
    keys = Keys(
        [oct_jwk(kid="a"), oct_jwk("another secret that is also long enough", kid="b"), oct_jwk(kid="c", use="enc")], []
    )
    assert code(token({}, kid="a"), keys) == ""
    assert code(token({}, "another secret that is also long enough", kid="b"), keys) == ""
    assert code(token({}, "another secret that is also long enough"), keys) == ""
    assert code(token({}, kid="b"), keys) == "signature"
    assert code(token({}, kid="c"), keys) == "unknown_key"
    assert code(token({}, kid=["a"]), keys) == "unknown_key"


@pytest.mark.parametrize(
    ("jwks", "algorithms", "words"),
    [
        ([], [], "there is no key"),
        ([oct_jwk()], ["RS256"], "there is no key"),
        ([oct_jwk("short", kid="a")], [], "key 'a': a key of 5 bytes is too short"),
        ([ec_jwk(ec.generate_private_key(ec.SECP256R1()))], [], "ES256 needs a plugin"),
        ([{"kty": "OKP"}], [], "EdDSA needs a plugin"),
        ([{"kty": "RSA", "alg": "PS256"}], [], "PS256 needs a plugin"),
        ([{"kty": "RSA", "alg": "RSA-OAEP"}], [], "'RSA-OAEP' is no algorithm of signatures"),
    ],
)
def test_keys_that_are_of_no_use(jwks: Any, algorithms: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Keys(jwks, algorithms)


def test_one_good_key_is_enough() -> None:
    keys = Keys([{"kty": "OKP"}, oct_jwk()], [])
    assert code(GOOD, keys) == ""


def test_a_file_of_keys_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jwks.json"

    def write(text: str) -> None:
        path.write_text(text)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + len(text) * 1_000_000_000))

    monkeypatch.setattr(jwt, "FILE_CHECK", -1)
    write(json.dumps({"keys": [oct_jwk()]}))
    keys = Keys(read_jwks(str(path)), [], str(path))
    other = token({}, "another secret that is also long enough")
    assert (code(GOOD, keys), code(other, keys)) == ("", "signature")
    write("half wri")
    assert (code(GOOD, keys), code(other, keys)) == ("", "signature")
    write(json.dumps(oct_jwk("another secret that is also long enough")))
    assert (code(GOOD, keys), code(other, keys)) == ("signature", "")
    path.unlink()
    assert (code(GOOD, keys), code(other, keys)) == ("signature", "")


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is not JSON"), ("[]", "neither a JSON Web Key"), ('{"keys":[1]}', "neither")]
)
def test_a_file_that_is_none_of_keys(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_jwks(str(path))
    with pytest.raises(ValueError, match="cannot read"):
        read_jwks(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": 1000}, ""), ({"exp": 940}, ""), ({"exp": 939}, "expired"), ({}, "no_expiration"),
        ({"exp": 2000, "nbf": 1060}, ""), ({"exp": 2000, "nbf": 1061}, "not_yet_valid"),
        ({"exp": 1e10, "iat": 5000}, ""),
        ({"exp": "1000"}, "malformed"), ({"exp": True}, "malformed"), ({"exp": None}, "malformed"),
        ({"exp": 1e999}, "malformed"), ({"exp": 10**400}, "malformed"), ({"exp": 2000, "nbf": []}, "malformed"),
    ],
)  # fmt: skip
def test_times(claims: dict[str, Any], expected: str) -> None:
    assert refusal(check_times, claims, 1000, 60, needs_expiration=True) == expected
    if expected == "no_expiration":
        check_times(claims, 1000, 60, needs_expiration=False)


def test_claims_by_path() -> None:
    claims = {"a": {"b": {"c": 1}, "b.c": 2}, "a.x": 3, "https://id.test/roles": ["r"], "t": "text"}
    assert claim(claims, "a.b.c") == 2
    assert claim(claims, "a.b") == {"c": 1}
    assert claim(claims, "a.x") == 3
    assert claim(claims, "https://id.test/roles") == ["r"]
    assert [claim(claims, path) for path in ("t.x", "no", "a.no", "", ".", "a.")] == [None] * 6


@given(st.text(max_size=60))
def test_whatever_it_is_it_has_a_name(text: str) -> None:
    assert code(text) in ("malformed", "algorithm")


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("Aa0_-."))
def test_one_other_character_is_enough(at: int, character: str) -> None:
    changed = GOOD[:at] + character + GOOD[at + 1 :]
    last = at == len(GOOD) - 1  # of its bits some count for nothing
    assert changed == GOOD or last or code(changed)


def test_nothing_is_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt, "KNOWN", 3)
    keys = Keys([oct_jwk(SECRET)], [])
    for number in range(10):
        assert code(token({"n": number}), keys) == ""
    assert len(keys._known) <= 3
