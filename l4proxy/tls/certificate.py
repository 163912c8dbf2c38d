"""What a certificate file says: subject, names, expiry, and whether its chain is in order.

The ``ssl`` module verifies certificates, but tells nothing of those that a context presents: ``SSLContext`` lists only
authorities, ``getpeercert`` only a peer's, and the one function that decodes a file (``ssl._ssl._test_decode_cert``) is
private. A certificate is ASN.1 in DER (X.690, RFC 5280), of which the eight fields needed here are soon read. Nothing
is decided from them about a peer: who may connect is decided from what OpenSSL has decoded and verified.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from l4proxy.tls.names import ATTRIBUTES, distinguished_name

__all__ = ["Certificate", "parse", "read_certificates"]

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)

# Tags of X.690 that occur in what is read here.
_BOOLEAN, _INTEGER, _OID, _UTC_TIME, _GENERALIZED_TIME, _SEQUENCE = 0x01, 0x02, 0x06, 0x17, 0x18, 0x30
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_ENCODINGS = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii",
              0x1C: "utf-32-be", 0x1E: "utf-16-be"}  # fmt: skip

_SUBJECT_ALT_NAME = bytes.fromhex("551d11")
_BASIC_CONSTRAINTS = bytes.fromhex("551d13")
_NAME_KINDS = {0x81: "email", 0x82: "DNS", 0x86: "URI"}
_IP_ADDRESS = 0x87


@dataclass(frozen=True, slots=True)
class Certificate:
    """``subject`` is written as in RFC 4514 (``CN=a.test,O=Example``), ``names`` are the alternative names as OpenSSL
    writes them (``DNS:a.test``, ``IP Address:10.0.0.1``), ``not_before`` and ``not_after`` Unix time."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    serial: str
    """Hexadecimal, as ``openssl x509 -serial`` prints it."""
    path: str
    is_authority: bool
    common_name: str
    key_kind: str
    """The object identifier of the public key's algorithm, in hexadecimal: a context has one certificate per kind."""
    raw_subject: bytes
    raw_issuer: bytes

    @property
    def server_names(self) -> tuple[str, ...]:
        """For which server names it is good: the DNS names, or the common name of a certificate from before those."""
        names = tuple(name.removeprefix("DNS:") for name in self.names if name.startswith("DNS:"))
        return names or ((self.common_name,) if self.common_name and not self.names else ())


def read_certificates(path: str) -> list[Certificate]:
    """All certificates of a PEM file, in its order. Raises OSError, and ValueError when there is none or one is
    damaged."""
    with open(path, "rb") as file:
        content = file.read()
    found = []
    for at, block in enumerate(_PEM.findall(content), 1):
        try:
            found.append(parse(binascii.a2b_base64(block), path))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"certificate number {at} in {path} is damaged ({error})") from None
    if not found:
        raise ValueError(f"there is no certificate in {path}: {_instead(content)}")
    return found


def _instead(content: bytes) -> str:
    if b"PRIVATE KEY-----" in content:
        return "it is a private key"
    if content.startswith(b"\x30"):
        return "it is not PEM but DER (convert it: openssl x509 -inform der)"
    return "it is not PEM (no line -----BEGIN CERTIFICATE-----)" if content.strip() else "it is empty"


def parse(der: bytes, path: str = "") -> Certificate:
    """Read one certificate. Raises ValueError when it is not one."""
    certificate = _first(der, _SEQUENCE)
    fields = list(_elements(_first(certificate, _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    (serial_tag, serial), _signature, (_, issuer), (_, validity), (_, subject), (_, key), *rest = fields
    not_before, not_after = (_time(tag, text) for tag, text in _elements(validity))
    if serial_tag != _INTEGER:
        raise ValueError("no serial number")
    extensions = dict(_extensions(next((value for tag, value in rest if tag == _EXTENSIONS), b"")))
    subject_name = list(_name(subject))
    return Certificate(
        subject=distinguished_name(subject_name),
        issuer=distinguished_name(_name(issuer)),
        names=tuple(_alternative_names(extensions.get(_SUBJECT_ALT_NAME, b""))),
        not_before=not_before,
        not_after=not_after,
        serial=f"{int.from_bytes(serial):02X}".rjust(2 * len(serial.lstrip(b"\0")), "0"),
        path=path,
        is_authority=_is_authority(extensions.get(_BASIC_CONSTRAINTS, b"")),
        common_name=next((value for rdn in reversed(subject_name) for short, value in rdn if short == "CN"), ""),
        key_kind=_first(_first(key, _SEQUENCE), _OID).hex(),
        raw_subject=subject,
        raw_issuer=issuer,
    )


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that stand one after another in ``data``: tag and contents."""
    at = 0
    while at < len(data):
        tag, length = data[at], int.from_bytes(data[at + 1 : at + 2])
        at += 2
        if length >= 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data) or tag & 0x1F == 0x1F:
            raise ValueError("not DER")
        yield tag, data[at : at + length]
        at += length


def _first(data: bytes, wanted: int) -> bytes:
    tag, contents = next(_elements(data), (0, b""))
    if tag != wanted:
        raise ValueError("not a certificate")
    return contents


def _time(tag: int, text: bytes) -> float:
    digits = text.decode("ascii")
    if tag == _UTC_TIME:  # years 1950 to 2049 (RFC 5280, section 4.1.2.5.1)
        digits = ("19" if digits >= "5" else "20") + digits
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _name(contents: bytes) -> Iterator[list[tuple[str, str]]]:
    """The relative distinguished names of a Name: attributes with their short names."""
    for _, attributes in _elements(contents):
        rdn = []
        for _, attribute in _elements(attributes):
            (_, oid), (tag, value) = _elements(attribute)
            short = next((short for known, _, short in ATTRIBUTES if known == oid), f"OID.{oid.hex()}")
            rdn.append((short, value.decode(_ENCODINGS.get(tag, "latin-1"), "replace")))
        yield rdn


def _extensions(contents: bytes) -> Iterator[tuple[bytes, bytes]]:
    for _, extensions in _elements(contents):
        for _, extension in _elements(extensions):
            (_, oid), *_critical, (_, value) = _elements(extension)
            yield oid, value


def _alternative_names(contents: bytes) -> Iterator[str]:
    for _, names in _elements(contents):
        for tag, value in _elements(names):
            if tag in _NAME_KINDS:
                yield f"{_NAME_KINDS[tag]}:{value.decode('latin-1')}"
            elif tag == _IP_ADDRESS:
                yield f"IP Address:{ip_address(value)}"


def _is_authority(contents: bytes) -> bool:
    constraints = next(_elements(contents), (0, b""))[1]
    return next(_elements(constraints), (0, b"")) == (_BOOLEAN, b"\xff")
