"""IP addresses as bytes and as the text that the system prints, without a socket."""

from __future__ import annotations

import re
import struct

__all__ = ["IPV4_MAPPED", "ip_packed", "ip_text"]

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUPS = struct.Struct("!8H")
_ZEROES = re.compile(r"\b0(?::0)+\b")
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
IPV4_MAPPED = bytes(10) + b"\xff\xff"
"""The first 12 bytes of an IPv6 address that stands for an IPv4 address (RFC 4291 section 2.5.5.2)."""


def ip_text(packed: bytes) -> str:
    """4 or 16 bytes as text (RFC 5952). An IPv4 address mapped into IPv6 is ``::ffff:192.0.2.1``, as ``inet_ntop``
    writes it."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    if packed.startswith(IPV4_MAPPED):
        return "::ffff:" + ".".join(map(str, packed[12:]))
    text = ":".join([f"{group:x}" for group in _GROUPS.unpack(packed)])
    longest = max(_ZEROES.finditer(text), key=lambda run: len(run[0]), default=None)
    if longest is None:
        return text
    return text[: longest.start()].rstrip(":") + "::" + text[longest.end() :].lstrip(":")


def ip_packed(text: str) -> bytes:
    """Text as 4 or 16 bytes; a zone (``%eth0``) is left out. Raises ValueError, also for IPv4 with heading zeroes."""
    if ":" not in text:
        if not _IPV4.fullmatch(text):
            raise ValueError(f"{text!r} is not an IP address")
        return bytes(map(int, text.split(".")))
    from ipaddress import IPv6Address  # takes a millisecond: for those who need it

    return IPv6Address(text).packed
