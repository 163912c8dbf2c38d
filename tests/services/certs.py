"""A certificate authority for the tests, and one certificate for each way that a certificate can be right or wrong."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Certificate", "Certs", "authority", "certs"]

_DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two PEM files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates and writes them as ``NAME.pem`` and ``NAME.key`` into its directory; ``cert`` is its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        builder = self._builder(self._name, self._key.public_key(), days=(-1, 30))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.cert = self._write_certificate("ca", builder.add_extension(usage, critical=True))

    def issue(
        self, name: str, names: Sequence[str] = LOOPBACK, *, days: tuple[int, int] = (-1, 30), rsa: bool = False
    ) -> Certificate:
        """A certificate for hosts, wildcards, IP addresses and URIs, valid from the one day to the other, 0 is now."""
        key = generate_rsa_key(65537, 2048) if rsa else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = (
            self._builder(subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False)
        )
        key_file = self._directory / f"{name}.key"
        key_file.touch(mode=0o600)
        key_file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return Certificate(self._write_certificate(name, builder), key_file)

    def sign(self, key: RSAPublicKey) -> bytes:
        """A certificate for any key, in PEM."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
        return self._builder(name, key, (-1, 30)).sign(self._key, hashes.SHA256()).public_bytes(PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey | RSAPublicKey, days: tuple[int, int]
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * _DAY)
            .not_valid_after(now + days[1] * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer_key, critical=False)
        )

    def _write_certificate(self, name: str, builder: x509.CertificateBuilder) -> Path:
        path = self._directory / f"{name}.pem"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        return path


@dataclass(frozen=True, slots=True)
class Certs:
    """The usual set. ``ca`` is the authority to trust; all but ``untrusted`` are signed by it."""

    ca: Path
    server: Certificate  # localhost, 127.0.0.1, ::1
    wildcard: Certificate  # *.example.test
    client: Certificate  # client.example.test, spiffe://example.test/client
    expired: Certificate  # the server's names, until yesterday
    not_yet_valid: Certificate  # the server's names, from tomorrow on
    wrong_host: Certificate  # elsewhere.example.test
    untrusted: Certificate  # the server's names, signed by an authority that nobody knows


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority behind ``certs``, to issue more of them."""
    return Authority(tmp_path_factory.mktemp("certs"), "l4proxy test authority")


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Certs:
    """A ``Certs``: the usual set of certificates."""
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "a stranger")
    return Certs(
        ca=authority.cert,
        server=authority.issue("server"),
        wildcard=authority.issue("wildcard", ["*.example.test"]),
        client=authority.issue("client", ["client.example.test", "spiffe://example.test/client"]),
        expired=authority.issue("expired", days=(-30, -1)),
        not_yet_valid=authority.issue("not_yet_valid", days=(1, 30)),
        wrong_host=authority.issue("wrong_host", ["elsewhere.example.test"]),
        untrusted=stranger.issue("untrusted"),
    )


def _general_name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _key_usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})
