"""Whom SASL tokens name."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.kafka.sasl import principal, rounds


def jwt(claims: bytes) -> bytes:
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b"{}", claims, b"signature"))


@pytest.mark.parametrize(
    ("mechanism", "token", "name"),
    [
        ("PLAIN", b"\0alice\0secret", "alice"),
        ("PLAIN", b"admin\0alice\0secret", "alice"),
        ("PLAIN", b"alice", ""),
        ("SCRAM-SHA-256", b"n,,n=bob,r=abcdef", "bob"),
        ("SCRAM-SHA-512", b"n,,n=a=2Cb=3D,r=abcdef", "a,b="),
        ("SCRAM-SHA-256", b"c=biws,r=abc,p=v0X8", ""),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer " + jwt(b'{"sub": "carol"}') + b"\x01\x01", "carol"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer " + jwt(b'["sub"]') + b"\x01\x01", ""),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer " + jwt(b'{"sub": 7}') + b"\x01\x01", ""),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer a.!.c\x01\x01", ""),
        ("OAUTHBEARER", b"\x01", ""),
        ("GSSAPI", b"\x60\x82", ""),
    ],
)
def test_the_principal(mechanism: str, token: bytes, name: str) -> None:
    assert principal(mechanism, token) == name


@given(st.sampled_from(["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "GSSAPI", ""]), st.binary())
def test_nothing_is_raised(mechanism: str, token: bytes) -> None:
    assert isinstance(principal(mechanism, token), str)
    assert isinstance(principal("OAUTHBEARER", b"auth=Bearer " + jwt(token)), str)


def test_rounds() -> None:
    assert [rounds(name) for name in ("PLAIN", "SCRAM-SHA-512", "OAUTHBEARER")] == [1, 2, 1]
    assert rounds("GSSAPI") > 1000
