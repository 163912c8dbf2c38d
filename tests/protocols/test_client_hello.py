from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.client_hello import HELLO_LIMIT, RECORDS_LIMIT, ClientHello, read_client_hello
from services.needs import needs, program


def from_python(server_name: str | None = "a.test", alpn: tuple[str, ...] = (), **versions: ssl.TLSVersion) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # distributions have defaults of their own
    for name, version in versions.items():
        setattr(context, name, version)
    context.set_alpn_protocols(alpn)
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def vector(prefix: int, content: bytes) -> bytes:
    return len(content).to_bytes(prefix, "big") + content


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind) + vector(2, value)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes([kind]) + vector(2, name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def body(
    *extensions: bytes,
    version: bytes = b"\3\3",
    session_id: bytes = bytes(32),
    ciphers: bytes = b"\x0a\x0a\x13\1",
    compression: bytes = b"\0",
) -> bytes:
    start = version + bytes(32) + vector(1, session_id) + vector(2, ciphers) + vector(1, compression)
    return start + vector(2, b"".join(extensions)) if extensions else start


def record(fragment: bytes, version: int = 0x0301) -> bytes:
    return struct.pack("!BHH", 22, version, len(fragment)) + fragment


def handshake(content: bytes) -> bytes:
    return b"\1" + vector(3, content)


def wire(content: bytes) -> bytes:
    return record(handshake(content))


def hello(name: str = "", protocols: tuple[str, ...] = (), versions: tuple[int, ...] = (0x0303,)) -> ClientHello:
    return ClientHello(name, protocols, versions, encrypted=False)


GOOD: list[tuple[bytes, ClientHello]] = [
    (from_python("a.test", ("h2", "http/1.1")), hello("a.test", ("h2", "http/1.1"), (0x0304, 0x0303))),
    (from_python("A.Test", maximum_version=ssl.TLSVersion.TLSv1_2), hello("a.test")),
    (from_python("a.test", minimum_version=ssl.TLSVersion.TLSv1_3), hello("a.test", versions=(0x0304,))),
    (from_python(None), hello(versions=(0x0304, 0x0303))),
    (wire(body()), hello()),
    (wire(body(version=b"\3\0", session_id=b"")), hello(versions=(0x0300,))),
    (record(handshake(body(version=b"\3\1")), version=0x0300), hello(versions=(0x0301,))),
    (wire(body(extension(0x0A0A, b""), server_name(b"a.test"), extension(0xFAFA, b"\0"))), hello("a.test")),
    (wire(body(extension(43, b"\6\x3a\x3a\3\4\3\3"))), hello(versions=(0x0304, 0x0303))),
    (wire(body(alpn(b"\x5a\x5a", b"h2", b"\xff\0"))), hello(protocols=("h2", "\xff\0"))),
    (wire(body(server_name(b"public.test"), extension(0xFE0D, b"\0" + bytes(40)))),
     ClientHello("public.test", (), (0x0303,), encrypted=True)),
    (wire(body(server_name(b"x" * 255))), hello("x" * 255)),
    (wire(body(extension(21, bytes(HELLO_LIMIT - 200)))), hello()),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), GOOD, ids=range(len(GOOD)))
def test_a_good_hello_whole_byte_by_byte_and_with_more_behind(data: bytes, expected: ClientHello) -> None:
    assert read_client_hello(data) == expected
    assert read_client_hello(data + b"\x17\3\3\0\1x") == expected
    assert all(read_client_hello(data[:size]) is None for size in range(0, len(data), 1 + len(data) // 2000))


@given(st.sampled_from(GOOD[:11]), st.lists(st.integers(1, 400), max_size=10), st.data())
def test_a_hello_may_be_spread_over_records(
    good: tuple[bytes, ClientHello], sizes: list[int], data: st.DataObject
) -> None:
    whole, expected = good
    fragments, message = [], whole[5:]
    for size in sizes:
        fragments.append(message[:size])
        message = message[size:]
    spread = b"".join(record(fragment) for fragment in [*fragments, message] if fragment)
    assert read_client_hello(spread) == expected
    assert read_client_hello(spread[: data.draw(st.integers(0, len(spread) - 1))]) is None


def test_records_end_where_the_message_does_or_later() -> None:
    """A record may hold the beginning of the next message; a second record behind the hello is not looked at."""
    assert read_client_hello(record(handshake(body()) + b"\x0b\0\0\1x") + b"garbage") == hello()


def spread(records: int) -> bytes:
    message = handshake(body(server_name(b"a.test"), extension(21, bytes(200))))
    return b"".join(record(message[at : at + 1]) for at in range(records - 1)) + record(message[records - 1 :])


def test_the_number_of_records_is_limited() -> None:
    assert read_client_hello(spread(RECORDS_LIMIT)) == hello("a.test")
    assert read_client_hello(spread(RECORDS_LIMIT + 1)) is False


def test_the_size_of_the_hello_is_limited_and_known_from_its_start() -> None:
    data = wire(body(server_name(b"a.test")))
    assert read_client_hello(data, limit=len(data) - 5) == hello("a.test")
    assert read_client_hello(data, limit=len(data) - 6) is False
    assert read_client_hello(data[:9], limit=len(data) - 6) is False
    assert read_client_hello(record(b"\1" + (HELLO_LIMIT - 3).to_bytes(3, "big"))) is False


NOT_TLS = {
    "plain text": b"GET / HTTP/1.1\r\n\r\n",
    "TLS, but no handshake": b"\x15\3\1\0\2\1\0",
    "another version": b"\x16\4\0\0\x2f\1",
    "a later version of SSL 3": b"\x16\3\5\0\x2f\1",
    "a ServerHello": b"\x16\3\3\0\x2f\2",
    "an empty record": b"\x16\3\1\0\0",
    "a record that is too long": b"\x16\3\1\x40\1\1",
    "SSL 2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
    "other records between": record(handshake(body())[:20]) + b"\x14\3\3\0\1\1",
    "version 2 inside": wire(body(version=b"\2\0")),
    "nothing inside": wire(b""),
    "cut inside": wire(body()[:-1]),
    "a long session id": wire(body(session_id=bytes(33))),
    "no cipher": wire(body(ciphers=b"")),
    "half a cipher": wire(body(ciphers=b"\x13\1\x13")),
    "no compression method": wire(body(compression=b"")),
    "extensions cut": wire(body() + b"\0\5\0\0"),
    "an extension cut": wire(body() + b"\0\3\0\0\0"),
    "an extension that reaches too far": wire(body() + b"\0\4\0\0\0\1"),
    "bytes behind the extensions": wire(body(server_name(b"a.test")) + b"\0"),
    "an extension twice": wire(body(server_name(b"a.test"), server_name(b"a.test"))),
    "a server name of nothing": wire(body(extension(0, b""))),
    "an empty list of server names": wire(body(extension(0, b"\0\0"))),
    "an empty server name": wire(body(server_name(b""))),
    "a server name with a NUL": wire(body(server_name(b"a.test\0.b.test"))),
    "a server name beyond ASCII": wire(body(server_name("ä.test".encode()))),
    "a server name that is too long": wire(body(server_name(b"x" * 256))),
    "an unknown type of server name": wire(body(server_name(b"a.test", kind=1))),
    "two server names": wire(body(extension(0, vector(2, (b"\0" + vector(2, b"a.test")) * 2)))),
    "bytes behind the server name": wire(body(extension(0, vector(2, b"\0" + vector(2, b"a.test")) + b"\0"))),
    "no protocol in ALPN": wire(body(alpn())),
    "an empty protocol in ALPN": wire(body(alpn(b"h2", b""))),
    "ALPN cut": wire(body(extension(16, vector(2, b"\3h2")))),
    "no supported version": wire(body(extension(43, b"\0"))),
    "half a supported version": wire(body(extension(43, b"\1\3"))),
}


@pytest.mark.parametrize("data", NOT_TLS.values(), ids=NOT_TLS)
def test_what_is_not_tls_or_not_in_order(data: bytes) -> None:
    answers = [read_client_hello(data[:size]) for size in range(len(data) + 1)]
    first = answers.index(False)
    assert set(answers[:first]) <= {None}
    assert set(answers[first:]) == {False}


@given(st.sampled_from(GOOD[:11]), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4), st.data())
def test_damage_raises_nothing_and_a_decision_stands(
    good: tuple[bytes, ClientHello], damage: list[tuple[int, int]], data: st.DataObject
) -> None:
    broken = bytearray(good[0])
    for at, byte in damage:
        broken[at % len(broken)] = byte
    whole = bytes(broken) + b"more"
    early = read_client_hello(whole[: data.draw(st.integers(0, len(whole)))])
    assert early in (None, read_client_hello(whole))


@given(st.sampled_from([b"", b"\x16\3\1", b"\x16\3\1\0\x30\1\0\0\x2c\3\3"]), st.binary(max_size=100))
def test_garbage_raises_nothing(start: bytes, noise: bytes) -> None:
    read_client_hello(start + noise)


@needs("openssl")
@pytest.mark.parametrize("options", [["-tls1_3"], ["-tls1_2"]])
def test_openssl(options: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{server.getsockname()[1]}", *options]
        argv += ["-servername", "Db.Example.com", "-alpn", "postgresql,h2"]
        client = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        connection = server.accept()[0]
        with client, connection:
            connection.settimeout(10)
            read = read_client_hello(connection.recv(65536))
            client.kill()
    version = 0x0304 if options == ["-tls1_3"] else 0x0303
    assert read == hello("db.example.com", ("postgresql", "h2"), (version,))
