"""Files into contexts: certificates with their keys, authorities. Every way in which they can be wrong has a sentence.

Errors are ValueError whose text begins with the option at fault (``key: ...``), for the configuration's error list.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from l4proxy.errors import cannot_read
from l4proxy.tls.certificate import Certificate, read_certificates

if TYPE_CHECKING:
    from l4proxy.config.schema import TlsVersion
    from l4proxy.config.types import Secret

__all__ = ["load_authorities", "load_key_pair", "new_context", "read_chain", "trust_system"]

log = logging.getLogger("l4proxy.tls")

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def new_context(protocol: int, min_version: TlsVersion, alpn: Iterable[str]) -> ssl.SSLContext:
    """A context with what both sides have in common."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = _VERSIONS[min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python up to 3.11.2 sets it, and hides what was cut off
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority need not be a root to be trusted
    if protocols := list(alpn):
        try:
            context.set_alpn_protocols(protocols)
        except (ssl.SSLError, UnicodeError):
            raise ValueError("alpn: a protocol's name has 1 to 255 letters") from None
    return context


def read_chain(path: str, where: str = "") -> Certificate:
    """The certificate that a file begins with; those behind it have to be its chain. ``where`` goes before the option's
    name."""
    chain = _read(path, f"{where}cert")
    _check_order(chain, f"{where}cert")
    _warn_of_expiry(chain)
    return chain[0]


def load_key_pair(
    context: ssl.SSLContext, own: Certificate, key: str, password: Secret | None, where: str = ""
) -> None:
    """Present this certificate, its file's chain and its key."""
    _check_key_file(key, f"{where}key")

    def ask() -> str:
        if password is None:
            raise ValueError(f"{where}password: the key in {key} is encrypted")
        return password.reveal()

    try:
        context.load_cert_chain(own.path, key, ask)
    except ssl.SSLError as error:
        reason = error.reason or ""
        if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            hint = ", which is an authority's: the server's own has to be the first in the file" * own.is_authority
            raise ValueError(
                f"{where}key: the key in {key} does not belong to the certificate of {_title(own)} in {own.path}{hint}"
            ) from None
        if reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
            weak = reason.lower().replace("_", " ")
            raise ValueError(f"{where}cert: OpenSSL refuses the certificate in {own.path}: {weak}") from None
        if password is not None:
            raise ValueError(f"{where}password: it does not open the key in {key}") from None
        raise ValueError(f"{where}key: the key in {key} cannot be read ({reason or error})") from None


def load_authorities(context: ssl.SSLContext, path: str, where: str) -> None:
    """Trust the authorities in a PEM file."""
    _read(path, where)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{where}: OpenSSL cannot read {path} ({error.reason})") from None


def trust_system(context: ssl.SSLContext) -> None:
    """Trust the authorities that this system trusts."""
    paths = ssl.get_default_verify_paths()
    if not paths.cafile and not (paths.capath and os.listdir(paths.capath)):
        raise ValueError(
            f"ca: this system trusts no authority (nothing in {paths.openssl_cafile} and {paths.openssl_capath}); "
            "install its package ca-certificates or name a file"
        )
    context.set_default_verify_paths()


def _read(path: str, where: str) -> list[Certificate]:
    try:
        return read_certificates(path)
    except OSError as error:
        raise ValueError(f"{where}: {cannot_read(path, error)}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_key_file(path: str, where: str) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ValueError(f"{where}: {cannot_read(path, error)}") from None
    if b"PRIVATE KEY-----" not in content:
        instead = "it is a certificate" if b"-----BEGIN CERTIFICATE-----" in content else "it is not PEM"
        raise ValueError(f"{where}: there is no private key in {path}: {instead}")


def _check_order(chain: list[Certificate], where: str) -> None:
    """Each certificate has to be followed by the one that signed it; the last one's authority is known to clients."""
    for one, following in pairwise(chain):
        if one.raw_issuer == one.raw_subject:
            raise ValueError(
                f"{where}: the certificates in {one.path} are in the wrong order: that of {_title(one)} is signed by "
                "itself, so none comes behind it; the server's own has to be the first"
            )
        if one.raw_issuer == following.raw_subject:
            continue
        if any(one.raw_issuer == other.raw_subject for other in chain):
            raise ValueError(
                f"{where}: the certificates in {one.path} are in the wrong order: that of {_title(one)} has to be "
                f"followed by that of {one.issuer}, which signed it, and not by that of {_title(following)}"
            )
        raise ValueError(
            f"{where}: the chain in {one.path} is incomplete: that of {_title(one)} has to be followed by that of "
            f"{one.issuer}, which signed it and is missing"
        )


def _warn_of_expiry(chain: list[Certificate]) -> None:
    now = time.time()
    for one in chain:
        if one.not_after < now:
            log.warning("the certificate of %s in %s has expired on %s", _title(one), one.path, _date(one.not_after))
        elif one.not_before > now:
            log.warning("the certificate of %s in %s begins on %s", _title(one), one.path, _date(one.not_before))


def _title(certificate: Certificate) -> str:
    return certificate.subject or ", ".join(certificate.names) or f"number {certificate.serial}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
