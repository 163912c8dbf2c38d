"""What certificate files say, held against a library that knows all of ASN.1."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.tls.certificate import parse, read_certificates
from services.certs import Authority, Certs

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KEY = ec.generate_private_key(ec.SECP256R1())
Attribute = x509.NameAttribute


def der(
    subject: list[x509.NameAttribute[str]],
    names: list[x509.GeneralName],
    *,
    key: Key = KEY,
    serial: int = 1,
    begins: datetime.datetime = datetime.datetime(2020, 1, 2, 3, 4, 5),
    ends: datetime.datetime = datetime.datetime(2060, 1, 2, 3, 4, 5),
    authority: bool | None = None,
) -> bytes:
    name = x509.Name(subject)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, begins, ends)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


SOME = der([Attribute(NameOID.COMMON_NAME, "a")], [x509.DNSName("a.test")], authority=True)


def test_everything_of_a_certificate() -> None:
    names = [
        x509.DNSName("*.a.test"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.UniformResourceIdentifier("spiffe://a.test/b"),
        x509.RFC822Name("ann@a.test"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    subject = [Attribute(NameOID.ORGANIZATION_NAME, "Ex, Inc"), Attribute(NameOID.COMMON_NAME, "Zoë")]
    found = parse(der(subject, names, serial=0xABC, authority=False), "some.pem")
    assert found.subject == found.issuer == "CN=Zoë,O=Ex\\, Inc"
    assert found.names == (
        "DNS:*.a.test", "IP Address:10.0.0.1", "IP Address:2001:db8::1", "URI:spiffe://a.test/b", "email:ann@a.test",
    )  # fmt: skip
    assert found.server_names == ("*.a.test",)
    assert (found.serial, found.path, found.common_name) == ("0ABC", "some.pem", "Zoë")
    assert found.not_before == datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()
    assert found.not_after == datetime.datetime(2060, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()
    assert not found.is_authority
    assert found.raw_subject == found.raw_issuer


def test_a_common_name_stands_for_names_only_where_there_are_none() -> None:
    subject = [Attribute(NameOID.COMMON_NAME, "old.test")]
    assert parse(der(subject, [])).server_names == ("old.test",)
    assert parse(der(subject, [x509.RFC822Name("a@b.test")])).server_names == ()
    assert parse(der([], [])).server_names == ()


def test_authorities_and_kinds_of_keys() -> None:
    assert parse(der([], [], authority=True)).is_authority
    assert not parse(der([], [])).is_authority
    keys: list[Key] = [KEY, rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()]
    assert len({parse(der([], [], key=key)).key_kind for key in keys}) == 3


@given(
    serial=st.integers(1, 2**158),
    begins=st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2049, 12, 31)),
    ends=st.datetimes(datetime.datetime(2050, 1, 1), datetime.datetime(2199, 12, 31)),
    text=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=16),
)
def test_whatever_is_in_it(serial: int, begins: datetime.datetime, ends: datetime.datetime, text: str) -> None:
    raw = der([Attribute(NameOID.COMMON_NAME, text)], [], serial=serial, begins=begins, ends=ends)
    found, oracle = parse(raw), x509.load_der_x509_certificate(raw)
    assert int(found.serial, 16) == oracle.serial_number
    assert found.not_before == oracle.not_valid_before_utc.timestamp()
    assert found.not_after == oracle.not_valid_after_utc.timestamp()
    assert found.common_name == text


@given(
    st.lists(st.tuples(st.integers(0, len(SOME) - 1), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(0, len(SOME)),
)
def test_a_damaged_one_is_an_error_that_callers_expect(changes: list[tuple[int, int]], size: int) -> None:
    raw = bytearray(SOME)
    for at, byte in changes:
        raw[at] = byte
    for damaged in (raw, raw[:size]):
        with contextlib.suppress(ValueError, OverflowError):
            parse(bytes(damaged))


def test_a_file_with_its_chain(certs: Certs, authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_text("Bag Attributes\n" + certs.server.cert.read_text() + "\n" + authority.cert.read_text())
    own, ca = read_certificates(str(path))
    assert own.raw_issuer == ca.raw_subject
    assert own.server_names == ("localhost",)
    assert ca.is_authority


@pytest.mark.parametrize(
    ("content", "instead"),
    [
        (b"", "it is empty"),
        (b"hello", "it is not PEM"),
        (b"\x30\x82", "it is not PEM but DER"),
        (b"-----BEGIN PRIVATE KEY-----", "it is a private key"),
    ],
)
def test_a_file_without_one(content: bytes, instead: str, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_bytes(content)
    with pytest.raises(ValueError, match=f"there is no certificate in .*x.pem: {instead}"):
        read_certificates(str(tmp_path / "x.pem"))


def test_a_file_with_a_damaged_one_says_which(certs: Certs, tmp_path: Path) -> None:
    broken = base64.b64encode(b"\x30\x03abc").decode()
    path = tmp_path / "x.pem"
    path.write_text(
        f"{certs.server.cert.read_text()}-----BEGIN CERTIFICATE-----\n{broken}\n-----END CERTIFICATE-----\n"
    )
    with pytest.raises(ValueError, match=r"certificate number 2 in .*x.pem is damaged"):
        read_certificates(str(path))
