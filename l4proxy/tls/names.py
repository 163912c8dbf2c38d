"""Names in certificates: how they are written, and which of them a rule allows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

__all__ = ["ATTRIBUTES", "SanRules", "distinguished_name", "peer_names", "peer_subject"]

ATTRIBUTES = (
    (bytes.fromhex("550403"), "commonName", "CN"),
    (bytes.fromhex("55040a"), "organizationName", "O"),
    (bytes.fromhex("55040b"), "organizationalUnitName", "OU"),
    (bytes.fromhex("550406"), "countryName", "C"),
    (bytes.fromhex("550408"), "stateOrProvinceName", "ST"),
    (bytes.fromhex("550407"), "localityName", "L"),
    (bytes.fromhex("550409"), "streetAddress", "STREET"),
    (bytes.fromhex("550405"), "serialNumber", "serialNumber"),
    (bytes.fromhex("0992268993f22c640119"), "domainComponent", "DC"),
    (bytes.fromhex("0992268993f22c640101"), "userId", "UID"),
    (bytes.fromhex("2a864886f70d010901"), "emailAddress", "emailAddress"),
)
"""Attributes of a distinguished name: object identifier, OpenSSL's long name, short name (RFC 4514, section 3)."""

_SHORT = {long: short for _, long, short in ATTRIBUTES}
_ESCAPED = re.compile(r'[",+<>;\\]|^[ #]| $|\0')

Name = Iterable[Iterable[tuple[str, str]]]
PeerCertificate = dict[str, Any]
"""What ``getpeercert`` returns."""


def distinguished_name(name: Name) -> str:
    """Write a distinguished name as in RFC 4514: the last part first, ``CN=a.test,O=Example``."""
    rdns = ["+".join(f"{short}={_ESCAPED.sub(_escape, value)}" for short, value in rdn) for rdn in name]
    return ",".join(reversed(rdns))


def _escape(found: re.Match[str]) -> str:
    return "\\00" if found[0] == "\0" else "\\" + found[0]


def peer_subject(certificate: PeerCertificate) -> str:
    return distinguished_name([(_SHORT.get(long, long), text) for long, text in rdn] for rdn in certificate["subject"])


def peer_names(certificate: PeerCertificate) -> list[tuple[str, str]]:
    """The alternative names: kind and text, IP addresses in their usual form."""
    found = []
    for kind, text in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            with contextlib.suppress(ValueError):
                text = str(ip_address(text.strip()))
        found.append((kind, text))
    return found


class SanRules:
    """A list of rules, of which a certificate has to satisfy one: an exact name, ``*.suffix`` for every host name
    below, or ``scheme://prefix/*`` for every URI below.

    A rule holds for one kind of alternative name, told from how it looks: ``spiffe://a.test/b`` a URI, ``ann@a.test``
    an e-mail address, ``10.0.0.1`` an IP address, all else a host name. Host names are compared without case.
    """

    def __init__(self, rules: Iterable[str], option: str) -> None:
        """Raises ValueError, which begins with ``option``, where ``*`` stands elsewhere."""
        self._exact: set[tuple[str, str]] = set()
        self._suffixes: tuple[str, ...] = ()
        self._prefixes: tuple[str, ...] = ()
        for rule in rules:
            kind, text = _kind_of(rule)
            if kind == "DNS" and text.startswith("*."):
                self._suffixes += (text[1:],)
            elif kind == "URI" and text.endswith("/*") and not text.endswith("://*"):
                self._prefixes += (text[:-1],)
            else:
                self._exact.add((kind, text))
        if wrong := next((rule for rule in self._all() if "*" in rule), None):
            places = "in front of a host name's suffix (*.example.com) or behind a URI's prefix (spiffe://example/*)"
            raise ValueError(f"{option}: {wrong!r}: * can only stand {places}")

    def _all(self) -> list[str]:
        return [*(text for _, text in self._exact), *self._suffixes, *self._prefixes]

    def __bool__(self) -> bool:
        return bool(self._all())

    def allow(self, names: Iterable[tuple[str, str]]) -> bool:
        """Whether one of a certificate's alternative names (kind, text) satisfies a rule."""
        for kind, text in names:
            text = text.lower() if kind in ("DNS", "email") else text
            if (kind, text) in self._exact:
                return True
            if (kind == "DNS" and text.endswith(self._suffixes)) or (kind == "URI" and text.startswith(self._prefixes)):
                return True
        return False


def _kind_of(rule: str) -> tuple[str, str]:
    if "://" in rule or rule.startswith("urn:"):
        return "URI", rule
    if "@" in rule:
        return "email", rule.lower()
    with contextlib.suppress(ValueError):
        return "IP Address", str(ip_address(rule))
    return "DNS", rule.lower()
