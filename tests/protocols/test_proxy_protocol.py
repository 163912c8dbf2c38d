from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.crc32c import crc32c
from l4proxy.protocols.ip import ip_text
from l4proxy.protocols.proxy_protocol import (
    V1_LIMIT,
    V2_LIMIT,
    V2_SIGNATURE,
    Endpoint,
    ProxyHeader,
    Tlv,
    encode_v1,
    encode_v2,
    read_header,
)
from services.haproxy import HaproxyServer
from services.nginx import NginxServer

LONG_V6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
A, B = ("192.0.2.1", 56324), ("192.0.2.11", 443)
A6, B6 = ("2001:db8::1", 56324), ("2001:db8::b", 443)
ADDRESSES = bytes([192, 0, 2, 1, 192, 0, 2, 11]) + struct.pack("!HH", 56324, 443)


def v2(command: int = 0x21, family: int = 0x11, body: bytes = ADDRESSES) -> bytes:
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def unix(path: bytes) -> bytes:
    return path.ljust(108, b"\0")


def outcome(data: bytes, limit: int = V2_LIMIT) -> ProxyHeader | str | None:
    try:
        return read_header(data, limit)
    except RemoteProtocolError as error:
        return error.code


GOOD: list[tuple[bytes, ProxyHeader]] = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n", ProxyHeader(1, 43, A, B)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
     ProxyHeader(1, 56, ("255.255.255.255", 65535), ("255.255.255.255", 65535))),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ProxyHeader(1, 32, ("0.0.0.0", 0), ("0.0.0.0", 0))),
    (b"PROXY TCP6 2001:db8::1 2001:DB8:0:0::B 56324 443\r\n", ProxyHeader(1, 50, A6, B6)),
    (f"PROXY TCP6 {LONG_V6} {LONG_V6} 65535 65535\r\n".encode(),
     ProxyHeader(1, 104, (LONG_V6, 65535), (LONG_V6, 65535))),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:20b 1 2\r\n",
     ProxyHeader(1, 49, ("::ffff:192.0.2.1", 1), ("::ffff:192.0.2.11", 2))),
    (b"PROXY UNKNOWN\r\n", ProxyHeader(1, 15)),
    (f"PROXY UNKNOWN {LONG_V6} {LONG_V6} 65535 65535\r\n".encode(), ProxyHeader(1, V1_LIMIT)),
    (b"PROXY UNKNOWN anything (at all) \r\n", ProxyHeader(1, 34)),
    (v2(), ProxyHeader(2, 28, A, B)),
    (v2(family=0x12), ProxyHeader(2, 28, A, B)),
    (v2(family=0x21, body=b"\xfe\x80" + bytes(13) + b"\1" + bytes(15) + b"\1" + b"\0\1\0\2"),
     ProxyHeader(2, 52, ("fe80::1", 1), ("::1", 2))),
    (v2(family=0x31, body=unix(b"/run/client") + unix(b"\0abstract")),
     ProxyHeader(2, 232, b"/run/client", b"\0abstract")),
    (v2(family=0x32, body=unix(b"") + b"p" * 108), ProxyHeader(2, 232, b"", b"p" * 108)),
    (v2(command=0x20, family=0x00, body=b""), ProxyHeader(2, 16)),
    (v2(command=0x20, family=0xFF, body=b"skipped as it is"), ProxyHeader(2, 32)),
    (v2(command=0x20), ProxyHeader(2, 28)),
    (v2(family=0x00, body=b"skipped"), ProxyHeader(2, 23)),
    (v2(family=0x10), ProxyHeader(2, 28)),
    (v2(family=0x01), ProxyHeader(2, 28)),
    (v2(body=ADDRESSES + tlv(Tlv.AUTHORITY, b"a.test") + tlv(Tlv.NOOP, b"\0\0") + tlv(0xEA, b"") + tlv(0xEA, b"x")),
     ProxyHeader(2, 49, A, B, ((Tlv.AUTHORITY, b"a.test"), (0xEA, b""), (0xEA, b"x")))),
    (v2(body=ADDRESSES + tlv(0xE0, bytes(V2_LIMIT - 31))),
     ProxyHeader(2, V2_LIMIT, A, B, ((0xE0, bytes(V2_LIMIT - 31)),))),
    (encode_v2(A, B, tlvs=[(Tlv.UNIQUE_ID, b"u" * 128)], checksum=True),
     ProxyHeader(2, 166, A, B, ((Tlv.UNIQUE_ID, b"u" * 128),))),
]  # fmt: skip

BAD: list[tuple[bytes, str]] = [
    (b"GET / HTTP/1.1\r\n", "proxy_header_missing"),
    (b"PROXYTCP4", "proxy_header_missing"),
    (b"proxy TCP4", "proxy_header_missing"),
    (b"\r\n\r\n\r\n", "proxy_header_missing"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\rx", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443 \r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1  192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY  TCP4 192.0.2.1 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY\tTCP4 192.0.2.1 192.0.2.11 56324 443\r\n", "proxy_header_missing"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 56324\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 65536 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 056324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.11 +1 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.01 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.256 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 ::1 ::1 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP4 192.0.2.1 ::1 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP6 192.0.2.1 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP6 1::2::3 ::1 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP6 12345::1 ::1 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY UDP4 192.0.2.1 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY TCP5 192.0.2.1 192.0.2.11 56324 443\r\n", "proxy_header_invalid"),
    (b"PROXY UNKNOWNX\r\n", "proxy_header_invalid"),
    (b"PROXY UNKNOWN a\0b\r\n", "proxy_header_invalid"),
    (b"PROXY UNKNOWN a\nb\r\n", "proxy_header_invalid"),
    (b"PROXY UNKNOWN \xff\r\n", "proxy_header_invalid"),
    (b"PROXY \r\n", "proxy_header_invalid"),
    (b"PROXY / HTTP/1.1\r\n", "proxy_header_invalid"),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "proxy_header_too_long"),
    (b"PROXY UNKNOWN " + b"x" * 200, "proxy_header_too_long"),
    (v2(command=0x22), "proxy_header_invalid"),
    (v2(command=0x11), "proxy_header_invalid"),
    (v2(command=0x31), "proxy_header_invalid"),
    (v2(family=0x13), "proxy_header_invalid"),
    (v2(family=0x41), "proxy_header_invalid"),
    (v2(body=ADDRESSES[:-1]), "proxy_header_invalid"),
    (v2(family=0x21), "proxy_header_invalid"),
    (v2(family=0x31, body=bytes(215)), "proxy_header_invalid"),
    (v2(body=ADDRESSES + b"\x02"), "proxy_header_invalid"),
    (v2(body=ADDRESSES + b"\x02\0"), "proxy_header_invalid"),
    (v2(body=ADDRESSES + b"\x02\0\1"), "proxy_header_invalid"),
    (v2(body=ADDRESSES + tlv(2, b"a.test") + b"\x02\xff\xffa.test"), "proxy_header_invalid"),
    (v2(body=ADDRESSES + tlv(Tlv.CRC32C, b"\0\0\0")), "proxy_header_invalid"),
    (v2(body=ADDRESSES + tlv(Tlv.CRC32C, b"\0\0\0\0")), "proxy_header_invalid"),
    (v2(body=ADDRESSES + tlv(Tlv.UNIQUE_ID, bytes(129))), "proxy_header_invalid"),
    (v2(body=ADDRESSES + tlv(Tlv.SSL, bytes(4))), "proxy_header_invalid"),
    (v2(body=ADDRESSES + tlv(0xE0, bytes(V2_LIMIT - 30))), "proxy_header_too_long"),
    (v2(command=0x20, body=bytes(V2_LIMIT - 15)), "proxy_header_too_long"),
]


@pytest.mark.parametrize(("data", "header"), GOOD, ids=range(len(GOOD)))
def test_a_good_header_whole_byte_by_byte_and_with_more_behind(data: bytes, header: ProxyHeader) -> None:
    assert header.size == len(data)
    assert read_header(data) == header
    assert read_header(data + b"\r\nmore\r\n") == header
    assert all(read_header(data[:size]) is None for size in range(len(data)))


@pytest.mark.parametrize(("data", "code"), BAD, ids=range(len(BAD)))
def test_a_bad_header_stays_bad_whatever_follows(data: bytes, code: str) -> None:
    assert outcome(data) == code
    assert outcome(data + b"\r\nmore\r\n") == code
    # Cut short it is bad already, or not yet to be judged; never good.
    assert all(outcome(data[:size]) in (None, code) for size in range(len(data)))


def test_a_checksum_covers_every_byte() -> None:
    header = encode_v2(A, B, tlvs=[(Tlv.AUTHORITY, b"a.test")], checksum=True)
    for at in set(range(16, len(header))) - {len(header) - 7}:  # there stands that it is a checksum
        damaged = bytearray(header)
        damaged[at] ^= 0x10
        assert outcome(bytes(damaged)) == "proxy_header_invalid"


def test_a_second_checksum_is_refused() -> None:
    body = ADDRESSES + tlv(Tlv.CRC32C, bytes(4)) + tlv(Tlv.CRC32C, bytes(4))
    first = crc32c(v2(body=body))
    body = ADDRESSES + tlv(Tlv.CRC32C, first.to_bytes(4, "big")) + tlv(Tlv.CRC32C, bytes(4))
    assert outcome(v2(body=body)) == "proxy_header_invalid"


def test_the_limit_is_on_the_whole_header() -> None:
    assert outcome(v2(), limit=28) == ProxyHeader(2, 28, A, B)
    assert outcome(v2(), limit=27) == "proxy_header_too_long"


PREFIXES = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", V2_SIGNATURE, V2_SIGNATURE + b"\x21\x11\0"])
NOISE = st.binary(max_size=60) | st.text("0123456789abcdef:. \r\n", max_size=110).map(str.encode)


@given(PREFIXES, NOISE, st.data())
def test_garbage_is_refused_or_waited_on_and_a_decision_stands(
    prefix: bytes, noise: bytes, data: st.DataObject
) -> None:
    wire = prefix + noise
    decided = outcome(wire[: data.draw(st.integers(0, len(wire)))])
    if decided is not None:
        assert outcome(wire) == decided


# Writing

PORTS = st.integers(0, 65535)
IPS = st.tuples(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16).filter(lambda ip: ip[0]), PORTS)
INET: st.SearchStrategy[Endpoint] = IPS.map(lambda one: (ip_text(one[0]), one[1]))
UNIX: st.SearchStrategy[Endpoint] = st.binary(max_size=108).map(lambda path: path.rstrip(b"\0"))
TLVS = st.lists(st.tuples(st.integers(0xE0, 0xFF), st.binary(max_size=40)), max_size=5)


def as_sent(source: Endpoint, destination: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Two addresses of different families are both sent as IPv6."""
    if isinstance(source, bytes) or isinstance(destination, bytes) or (":" in source[0]) == (":" in destination[0]):
        return source, destination
    ends = [("::ffff:" + host if ":" not in host else host, port) for host, port in (source, destination)]
    return ends[0], ends[1]


@given(INET, INET)
def test_version_1_is_read_as_it_was_written(source: Endpoint, destination: Endpoint) -> None:
    line = encode_v1(source, destination)
    assert read_header(line) == ProxyHeader(1, len(line), *as_sent(source, destination))


@given(st.tuples(INET, INET) | st.tuples(UNIX, UNIX), TLVS, st.booleans())
def test_version_2_is_read_as_it_was_written(
    ends: tuple[Endpoint, Endpoint], tlvs: list[tuple[int, bytes]], checksum: bool
) -> None:
    header = encode_v2(*ends, tlvs=tlvs, checksum=checksum)
    assert read_header(header + b"data") == ProxyHeader(2, len(header), *as_sent(*ends), tuple(tlvs))


@pytest.mark.parametrize(
    ("source", "destination", "v1", "v2_start"),
    [
        (None, None, b"PROXY UNKNOWN\r\n", b"\x20\x00\0\0"),
        (("", 0), B, b"PROXY UNKNOWN\r\n", b"\x21\x00\0\0"),
        (A, ("", 0), b"PROXY UNKNOWN\r\n", b"\x21\x00\0\0"),
        (b"/run/a", B, b"PROXY UNKNOWN\r\n", b"\x21\x00\0\0"),
        (b"/run/a", b"", b"PROXY UNKNOWN\r\n", b"\x21\x31\0\xd8"),
        (A, B, b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n", b"\x21\x11\0\x0c"),
        (("::ffff:192.0.2.1", 56324), ("::ffff:192.0.2.11", 443), b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n",
         b"\x21\x11\0\x0c"),
        (A, B6, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::b 56324 443\r\n", b"\x21\x21\0\x24"),
        (("fe80::1%eth0", 1), B6, b"PROXY TCP6 fe80::1 2001:db8::b 1 443\r\n", b"\x21\x21\0\x24"),
    ],
)  # fmt: skip
def test_families(source: Endpoint | None, destination: Endpoint | None, v1: bytes, v2_start: bytes) -> None:
    assert encode_v1(source, destination) == v1
    assert encode_v2(source, destination)[12:16] == v2_start


@pytest.mark.parametrize("encode", [encode_v1, encode_v2])
@pytest.mark.parametrize("end", [("localhost", 1), ("192.0.2.1", 65536), ("192.0.2.1", -1), ("192.0.2.01", 1)])
def test_what_is_no_address_cannot_be_sent(encode: Callable[[Endpoint, Endpoint], bytes], end: Endpoint) -> None:
    with pytest.raises(LocalProtocolError):
        encode(end, B)
    with pytest.raises(LocalProtocolError):
        encode(B, end)


@pytest.mark.parametrize(
    "tlvs",
    [
        [(0xE0, bytes(65536))],
        [(0xE0, bytes(65535))],
        [(0xE0, bytes(33000))] * 2,
        [(256, b"")],
        [(-1, b"")],
        [(Tlv.UNIQUE_ID, bytes(129))],
        [(Tlv.CRC32C, b"")],
    ],
)
def test_what_does_not_fit_is_refused_not_left_out(tlvs: list[tuple[int, bytes]]) -> None:
    """A TLV that were counted but not sent, or sent but not counted, would spill into the stream behind the header."""
    with pytest.raises(LocalProtocolError):
        encode_v2(A, B, tlvs=tlvs)


def test_a_path_is_not_cut() -> None:
    with pytest.raises(LocalProtocolError):
        encode_v2(b"p" * 109, b"")


# Against real peers


@pytest.mark.parametrize(
    ("options", "version"),
    [("send-proxy", 1), ("send-proxy-v2", 2), ("send-proxy-v2 proxy-v2-options crc32c,unique-id", 2)],
)
def test_what_haproxy_sends_is_read(start_haproxy: Callable[..., HaproxyServer], options: str, version: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(10)
        haproxy = start_haproxy(upstream.getsockname()[1], options)
        with socket.create_connection((haproxy.host, haproxy.port), timeout=10) as client:
            client.sendall(b"hello")
            header, rest = receive_header(upstream, ends_with=b"hello", client=client)
            assert header.version == version
            assert (header.source, header.destination) == (client.getsockname(), client.getpeername())
            assert rest == b"hello"


def receive_header(upstream: socket.socket, ends_with: bytes, client: socket.socket) -> tuple[ProxyHeader, bytes]:
    """Of the connection that belongs to ``client``; the readiness check of HAProxy may have made others before it."""
    while True:
        connection = upstream.accept()[0]
        with connection:
            connection.settimeout(10)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
                header = read_header(received)
                if header and header.source == client.getsockname() and received.endswith(ends_with):
                    return header, received[header.size :]


@pytest.mark.parametrize("encode", [encode_v1, encode_v2, lambda a, b: encode_v2(a, b, checksum=True)])
@pytest.mark.parametrize("source", [A, A6])
def test_what_we_send_is_read_by_nginx(
    nginx: NginxServer, encode: Callable[[Endpoint, Endpoint], bytes], source: tuple[str, int]
) -> None:
    with socket.create_connection((nginx.host, nginx.proxy_protocol_port), timeout=10) as client:
        client.sendall(encode(source, B) + b"GET /source HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as response:
            assert response.read().endswith(f"\r\n\r\n{source[0]}:{source[1]}\n".encode())
