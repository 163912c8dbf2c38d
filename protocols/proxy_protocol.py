"""The PROXY protocol, versions 1 and 2: a header in front of a connection that says whose connection it is.

Read strictly and whole, as the specification asks (haproxy.org, ``doc/proxy-protocol.txt``): whoever may send this
header may claim any address. ``proxy_protocol_spec`` declares version 2 a second time: slower, but in one look."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.crc32c import crc32c
from l4proxy.protocols.ip import IPV4_MAPPED, ip_packed, ip_text

__all__ = [
    "V1_LIMIT",
    "V1_START",
    "V2_LIMIT",
    "V2_SIGNATURE",
    "Endpoint",
    "ProxyHeader",
    "Tlv",
    "encode_v1",
    "encode_v2",
    "read_header",
]

V1_START = b"PROXY "
V1_LIMIT = 107
"""Bytes of the longest version 1 line, its CRLF included (section 2.1)."""
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_LIMIT = 4096
"""Default for the bytes of a whole version 2 header; the format has room for 16 + 65535."""

Endpoint: TypeAlias = tuple[str, int] | bytes
"""Host and port, or the path of a unix socket (an abstract one begins with a NUL, one without a name is empty)."""


class Tlv(IntEnum):
    """The registered types of version 2's extensions (section 2.2)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header that was read; ``size`` bytes long.

    ``source`` and ``destination`` are None where the sender says nothing about them (``UNKNOWN``, ``LOCAL``,
    unspecified): then the connection is what it looks like. ``tlvs`` are in the order of the wire; padding and the
    verified checksum are left out."""

    version: int
    size: int
    source: Endpoint | None = None
    destination: Endpoint | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


def read_header(data: bytes, limit: int = V2_LIMIT) -> ProxyHeader | None:
    """Read the header at the start of ``data``, all that has arrived so far. None: it is not complete.

    ``limit`` bounds a version 2 header. Raises RemoteProtocolError as soon as ``data`` cannot become a header:
    ``code`` is ``proxy_header_missing`` where there is none, ``proxy_header_invalid`` where it is broken,
    ``proxy_header_too_long``."""
    if data.startswith(V2_SIGNATURE):
        return _read_v2(data, limit)
    if data.startswith(V1_START):
        return _read_v1(data)
    if V2_SIGNATURE.startswith(data) or V1_START.startswith(data):
        return None
    raise RemoteProtocolError("the connection does not begin with a PROXY header", code="proxy_header_missing")


def _invalid(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"PROXY header: {message}", code="proxy_header_invalid")


# Version 1: one line of text

_V1_ADDRESS, _V1_PORT = "([0-9A-Fa-f:.]+)", "(0|[1-9][0-9]{0,4})"
_V1_LINE = re.compile(
    rf"PROXY (?:TCP([46]) {_V1_ADDRESS} {_V1_ADDRESS} {_V1_PORT} {_V1_PORT}|UNKNOWN(?: [ -~]*)?)\r\n".encode()
)
_V1_UNFINISHED = re.compile(rb"PROXY (?:[TU][ -~]*)?\r?")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        if len(data) >= V1_LIMIT:
            raise RemoteProtocolError(f"PROXY header: no CRLF in {V1_LIMIT} bytes", code="proxy_header_too_long")
        if _V1_UNFINISHED.fullmatch(data):
            return None
        raise _invalid(f"{data!r} is not the beginning of a version 1 line")
    line = _V1_LINE.match(data)
    if not line:
        raise _invalid(f"{data[:end]!r} is not a version 1 line")
    family, source, destination, source_port, destination_port = line.groups()
    if family is None:
        return ProxyHeader(1, end + 2)
    ends = _v1_endpoint(family, source, source_port), _v1_endpoint(family, destination, destination_port)
    return ProxyHeader(1, end + 2, *ends)


def _v1_endpoint(family: bytes, host: bytes, port: bytes) -> Endpoint:
    try:
        packed = ip_packed(host.decode())
    except ValueError:
        packed = b""
    if len(packed) != (4 if family == b"4" else 16):
        raise _invalid(f"{host!r} is not an address of TCP{family.decode()}")
    if int(port) > 65535:
        raise _invalid(f"{int(port)} is not a port")
    return ip_text(packed), int(port)


# Version 2: binary

_V2_FIXED = struct.Struct("!BBH")
_V2_FIXED_END = len(V2_SIGNATURE) + _V2_FIXED.size
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
_INET, _INET6, _UNIX = struct.Struct("!4s4sHH"), struct.Struct("!16s16sHH"), struct.Struct("!108s108s")
_LAYOUTS = {_TCP4: _INET, 0x12: _INET, _TCP6: _INET6, 0x22: _INET6, _UNIX_STREAM: _UNIX, 0x32: _UNIX}
_UNSPECIFIED = frozenset({_UNSPEC, 0x01, 0x02, 0x10, 0x20, 0x30})
"""Address family or transport unspecified: what follows is skipped, for nothing says how long the addresses are."""
_TLV_HEAD = struct.Struct("!BH")
_TLV_SIZES: dict[int, range] = {Tlv.CRC32C: range(4, 5), Tlv.UNIQUE_ID: range(129), Tlv.SSL: range(5, 0x10000)}


def _read_v2(data: bytes, limit: int) -> ProxyHeader | None:
    if len(data) < _V2_FIXED_END:
        return None
    command, family, length = _V2_FIXED.unpack_from(data, len(V2_SIGNATURE))
    size = _V2_FIXED_END + length
    layout = _LAYOUTS.get(family)
    if command not in (_LOCAL, _PROXY):
        raise _invalid(f"unknown version and command 0x{command:02x}")
    if size > limit:
        raise RemoteProtocolError(f"PROXY header: {size} bytes are more than {limit}", code="proxy_header_too_long")
    if command == _LOCAL or family in _UNSPECIFIED:
        return ProxyHeader(2, size) if len(data) >= size else None
    if layout is None:
        raise _invalid(f"unknown address family and transport 0x{family:02x}")
    if length < layout.size:
        raise _invalid(f"{length} bytes are too few for the addresses of family 0x{family:02x}")
    if len(data) < size:
        return None
    source, destination = _read_addresses(layout, data)
    return ProxyHeader(2, size, source, destination, _read_tlvs(data[:size], _V2_FIXED_END + layout.size))


def _read_addresses(layout: struct.Struct, data: bytes) -> tuple[Endpoint, Endpoint]:
    if layout is _UNIX:
        source, destination = layout.unpack_from(data, _V2_FIXED_END)
        return source.rstrip(b"\0"), destination.rstrip(b"\0")
    source, destination, source_port, destination_port = layout.unpack_from(data, _V2_FIXED_END)
    return (ip_text(source), source_port), (ip_text(destination), destination_port)


def _read_tlvs(header: bytes, at: int) -> tuple[tuple[int, bytes], ...]:
    found: list[tuple[int, bytes]] = []
    verified = False
    while at < len(header):
        start = at + _TLV_HEAD.size
        kind, length = _TLV_HEAD.unpack_from(header, at) if start <= len(header) else (0, 0)
        at = start + length
        if at > len(header):
            raise _invalid("a TLV reaches beyond the end of the header")
        if kind in _TLV_SIZES and length not in _TLV_SIZES[kind]:
            raise _invalid(f"TLV {Tlv(kind).name} has {length} bytes")
        if kind == Tlv.CRC32C:
            if verified or crc32c(header[:start] + bytes(4) + header[at:]) != int.from_bytes(header[start:at], "big"):
                raise _invalid("two checksums" if verified else "the checksum is wrong")
            verified = True
        elif kind != Tlv.NOOP:
            found.append((kind, header[start:at]))
    return tuple(found)


# Writing

_Packed: TypeAlias = tuple[bytes, int]


def encode_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """The line for a connection between two addresses; ``UNKNOWN`` unless both are IP. Raises LocalProtocolError."""
    pair = _inet_pair(source, destination)
    if pair is None:
        return b"PROXY UNKNOWN\r\n"
    (source_ip, source_port), (destination_ip, destination_port) = pair
    family = 4 if len(source_ip) == 4 else 6
    hosts = f"{ip_text(source_ip)} {ip_text(destination_ip)}"
    return f"PROXY TCP{family} {hosts} {source_port} {destination_port}\r\n".encode()


def encode_v2(
    source: Endpoint | None,
    destination: Endpoint | None,
    *,
    tlvs: Iterable[tuple[int, bytes]] = (),
    checksum: bool = False,
) -> bytes:
    """The header for a stream between two addresses, with extensions, and with a CRC32C if asked for.

    No addresses at all (None) is a ``LOCAL`` connection, one of the proxy itself such as a health check; addresses
    that are not both IP or both unix sockets are sent as unspecified. Raises LocalProtocolError for what does not
    fit."""
    family, addresses = _encode_addresses(source, destination)
    body = addresses + b"".join([_encode_tlv(kind, value) for kind, value in tlvs])
    if checksum:
        body += _encode_tlv(Tlv.CRC32C, bytes(4))
    if len(body) > 0xFFFF:
        raise LocalProtocolError(f"a PROXY header has at most 65535 bytes of addresses and TLVs, not {len(body)}")
    command = _LOCAL if source is None and destination is None else _PROXY
    header = V2_SIGNATURE + _V2_FIXED.pack(command, family, len(body)) + body
    return header[:-4] + crc32c(header).to_bytes(4, "big") if checksum else header


def _encode_tlv(kind: int, value: bytes) -> bytes:
    if not 0 <= kind <= 0xFF or len(value) not in _TLV_SIZES.get(kind, range(0x10000)):
        raise LocalProtocolError(f"a TLV of type {kind} cannot have {len(value)} bytes")
    return _TLV_HEAD.pack(kind, len(value)) + value


def _encode_addresses(source: Endpoint | None, destination: Endpoint | None) -> tuple[int, bytes]:
    if isinstance(source, bytes) and isinstance(destination, bytes):
        if max(len(source), len(destination)) > 108:
            raise LocalProtocolError("the path of a unix socket has at most 108 bytes")
        return _UNIX_STREAM, _UNIX.pack(source, destination)
    pair = _inet_pair(source, destination)
    if pair is None:
        return _UNSPEC, b""
    (source_ip, source_port), (destination_ip, destination_port) = pair
    family, layout = (_TCP4, _INET) if len(source_ip) == 4 else (_TCP6, _INET6)
    return family, layout.pack(source_ip, destination_ip, source_port, destination_port)


def _inet_pair(source: Endpoint | None, destination: Endpoint | None) -> tuple[_Packed, _Packed] | None:
    """Both addresses in one family, IPv4 if both can be; None when one is not an IP address and port."""
    if not isinstance(source, tuple) or not isinstance(destination, tuple) or not (source[0] and destination[0]):
        return None
    try:
        packed = [ip_packed(source[0]), ip_packed(destination[0])]
    except ValueError as error:
        raise LocalProtocolError(str(error)) from None
    if not (0 <= source[1] <= 65535 and 0 <= destination[1] <= 65535):
        raise LocalProtocolError(f"{source[1]} and {destination[1]} are not both ports")
    short = [ip.removeprefix(IPV4_MAPPED) for ip in packed]
    if len(short[0]) != len(short[1]):
        short = [IPV4_MAPPED + ip if len(ip) == 4 else ip for ip in short]
    return (short[0], source[1]), (short[1], destination[1])
