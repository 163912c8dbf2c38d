"""SCRAM by the example of RFC 7677, against a server made of the same RFC, and against answers that prove nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka.sasl_client import MECHANISMS, Mechanism, tokens

NONCE = "rOprNGfwEbeRWgbNEkqO"
SALT = base64.b64encode(b"salt").decode()


def test_plain() -> None:
    own = tokens("PLAIN", "alice", "secret", NONCE)
    assert next(own) == b"\0alice\0secret"
    with pytest.raises(StopIteration):
        own.send(b"")


def test_the_example_of_the_rfc() -> None:
    own = tokens("SCRAM-SHA-256", "user", "pencil", NONCE)
    assert next(own) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    both = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    proof = own.send(f"r={both},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode())
    assert proof == f"c=biws,r={both},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    with pytest.raises(StopIteration):
        own.send(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize("mechanism", [one for one in MECHANISMS if one != "PLAIN"])
@given(st.text("ab=,é", min_size=1, max_size=9), st.text("xyz ,=é", min_size=1, max_size=9))
@settings(max_examples=20, deadline=None)
def test_a_server_believes_who_knows_the_password(mechanism: Mechanism, username: str, password: str) -> None:
    digest = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
    own = tokens(mechanism, username, password, NONCE)
    bare = next(own).decode().removeprefix("n,,")
    assert bare == f"n={username.replace('=', '=3D').replace(',', '=2C')},r={NONCE}"
    challenge = f"r={NONCE}server,s={SALT},i=4096"
    answer, _, proof = own.send(challenge.encode()).decode().rpartition(",p=")
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), b"salt", 4096)
    stored = hashlib.new(digest, hmac.digest(salted, b"Client Key", digest)).digest()
    signed = f"{bare},{challenge},{answer}".encode()
    key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), hmac.digest(stored, signed, digest), strict=True))
    assert hashlib.new(digest, key).digest() == stored
    signature = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
    with pytest.raises(StopIteration):
        own.send(b"v=" + base64.b64encode(signature))


@pytest.mark.parametrize(
    ("challenge", "why"),
    [
        (f"r=another,s={SALT},i=4096", "nonce"),
        (f"r={NONCE},s={SALT},i=4096", "nonce"),
        (f"r={NONCE}x,s=?,i=4096", "base64"),
        (f"r={NONCE}x,s={SALT},i=100001", "iterations"),
        (f"r={NONCE}x,s={SALT},i=4095", "iterations"),
        (f"r={NONCE}x,s={SALT},i=-1", "iterations"),
        (f"r={NONCE}x,s={SALT},i={'9' * 5000}", "iterations"),
        (f"r={NONCE}x,s={SALT}", "iterations"),
        ("", "nonce"),
        ("\udcff", "no text"),
    ],
)
def test_challenges_that_are_none(challenge: str, why: str) -> None:
    own = tokens("SCRAM-SHA-512", "alice", "secret", NONCE)
    next(own)
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        own.send(challenge.encode(errors="surrogateescape"))
    assert caught.value.code == "login_refused"


@pytest.mark.parametrize("last", [b"v=AAAA", b"e=other-error", b"", b"\xff"])
def test_a_broker_that_does_not_know_the_password(last: bytes) -> None:
    own = tokens("SCRAM-SHA-256", "alice", "secret", NONCE)
    next(own)
    own.send(f"r={NONCE}x,s={SALT},i=4096".encode())
    with pytest.raises(RemoteProtocolError, match="wrong"):
        own.send(last)


def test_all_mechanisms_are_listed() -> None:
    assert set(get_args(Mechanism)) == set(MECHANISMS)
