from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l4proxy.protocols.client_hello import read_client_hello
from l4proxy.protocols.detect import DETECTORS, METHOD_LIMIT, is_http1, is_kafka, is_postgres, is_redis, is_tls
from l4proxy.protocols.proxy_protocol import encode_v1, encode_v2
from services.needs import needs, program


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="a.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def kafka(api_key: int, api_version: int, correlation_id: int, client_id: bytes | None, body: bytes = b"") -> bytes:
    name = b"\xff\xff" if client_id is None else struct.pack("!h", len(client_id)) + client_id
    request = struct.pack("!hhi", api_key, api_version, correlation_id) + name + body
    return struct.pack("!i", len(request)) + request


def postgres(code: int, rest: bytes = b"") -> bytes:
    return struct.pack("!ii", 8 + len(rest), code) + rest


FIRST_BYTES: dict[str, list[bytes]] = {
    "tls": [
        client_hello(),
        b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00",
        b"\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00",
    ],
    "http1": [
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /ping HTTP/1.0\r\n\r\n",
        b"\r\nPOST /a?b=c HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a.test:443 HTTP/1.1\r\n",
        b"GET http://a.test/ HTTP/1.1\r\n",
        b"M-SEARCH * HTTP/1.1\r\n",
        b"SUBSCRIBE /events HTTP/1.1\r\n",
        b"UPDATEREDIRECTREF /x HTTP/1.1\r\n",
        b"get /\xc3\xa4 HTTP/1.1\r\n",
        b"PRIVATE / HTTP/1.1\r\n",
        b"PROXYFIND / HTTP/1.1\r\n",
        b"PINGS / HTTP/1.1\r\n",
        b"SSH / HTTP/1.1\r\n",
        b"*1 / HTTP/1.1\r\n",
    ],
    "http2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0"],
    "redis": [
        b"*1\r\n$4\r\nPING\r\n",
        b"*3\r\n$3\r\nSET\r\n",
        b"*1048576\r\n$4\r\nMGET\r\n",
        b"PING\r\n",
        b"ping\n",
        b"INFO server\r\n",
        b"SET a b\r\n",
        b"hello 3\r\n",
        b"AUTH secret\r\n",
    ],
    "kafka": [
        kafka(18, 0, 0, b"producer-1"),
        kafka(18, 3, 1, b"rdkafka", b"\0\7kgo\7v1.0\0"),
        kafka(18, 4, 0, None),
        kafka(17, 1, 2147483640, b"", b"\0\5PLAIN"),
        kafka(3, 0, 0, b"kafka-python-1.0", bytes(4)),
        kafka(3, 12, 1 << 24, "verbraucher-ä".encode(), bytes(4)),
        kafka(3, 0, -1, None, bytes(4)),
        kafka(0, 2, 7, b"sarama", bytes(50)),
        kafka(0, 0, 7, b"sarama", bytes(50)),
        kafka(1, 11, 7, b"f" * 255, bytes(50)),
        kafka(92, 20, 1, b"x"),
    ],
    "postgres": [
        postgres(80877103),
        postgres(80877104),
        postgres(80877102, bytes(8)),
        postgres(80877102, bytes(4 + 256)),
        postgres(196608, b"user\0alice\0database\0shop\0\0"),
        postgres(196610, b"user\0alice\0_pq_.x\0y\0\0"),
        postgres(196608, b"_pq_.x\0y\0user\0alice\0\0"),
        postgres(3 << 16 | 9999, b"user\0p" + b"x" * 200 + b"\0\0"),
    ],
    "ssh": [b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"SSH-1.99-x\n"],
    "proxy_protocol": [
        encode_v1(("192.0.2.1", 1), ("192.0.2.2", 2)) + b"GET / HTTP/1.1\r\n",
        encode_v1(None, None),
        encode_v2(("192.0.2.1", 1), ("192.0.2.2", 2)) + b"SSH-2.0-x\r\n",
        b"PROXY / HTTP/1.1\r\n",  # "PROXY " is version 1 and must be read as such, says its specification
    ],
}
OTHERS = {
    "nothing known": b"\x00",
    "AMQP": b"AMQP\0\0\x09\x01",
    "Cassandra OPTIONS": bytes.fromhex("040000000500000000"),
    "Cassandra STARTUP": bytes.fromhex("04000000010000001600010b43514c5f56455253494f4e0005332e342e35"),
    "FTP": b"USER anonymous\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/2 frame without preface": bytes.fromhex("0000120400000000000003000000640004000100000005"),
    "LDAP": bytes.fromhex("300c020101600702010304008000"),
    "memcached": b"get key\r\n",
    "MongoDB": bytes.fromhex("3f0000000100000000000000d407000000000000") + b"admin.$cmd\0",
    "MQTT": bytes.fromhex("100c00044d5154540402003c0000"),
    "MSSQL": bytes.fromhex("1201002f0000010000001a000601002000"),
    "PostgreSQL 2": postgres(2 << 16, b"database".ljust(288, b"\0")),
    "RDP": bytes.fromhex("0300001302e0000000000001000800030000"),
    "Redis, empty array": b"*0\r\n",
    "SMB": bytes.fromhex("00000054ff534d4272000000001801280000"),
    "SMTP": b"EHLO a.test\r\n",
    "SSL 2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
    "TLS alert": bytes.fromhex("15030300020228"),
    "TLS ServerHello": bytes.fromhex("160303004a02000046"),
    "ZooKeeper": bytes.fromhex(
        "0000002d000000000000000000000000000075300000000000000000000000100000000000000000000000"
    ),
}
SAMPLES = [(name, sample) for name, samples in FIRST_BYTES.items() for sample in samples]


def decision(name: str, data: bytes) -> int | None:
    """After how many bytes the detector ``name`` has decided."""
    return next((size for size in range(len(data) + 1) if DETECTORS[name](data[:size]) is not None), None)


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=range(len(SAMPLES)))
def test_at_every_split_its_own_detector_says_yes_and_no_other(name: str, sample: bytes) -> None:
    for other, detect in DETECTORS.items():
        answers = [detect(sample[:size]) for size in range(len(sample) + 1)]
        decided = [answer for answer in answers if answer is not None]
        assert answers == [None] * (len(answers) - len(decided)) + [other == name] * len(decided)
        assert decided, other


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_other_protocols_are_nobodys(data: bytes) -> None:
    for name, detect in DETECTORS.items():
        answers = {detect(data[:size]) for size in range(len(data) + 1)}
        assert True not in answers, name
        assert False in answers or len(data) == 1, name


def test_nothing_is_decided_by_nothing() -> None:
    assert [detect(b"") for detect in DETECTORS.values()] == [None] * len(DETECTORS)


@pytest.mark.parametrize(
    ("name", "index", "size"),
    [
        ("tls", 0, 6),
        ("http1", 0, len(b"GET / HTTP/1.1")),
        ("http2", 0, len(b"PRI * HTTP/2")),
        ("redis", 0, len(b"*1\r\n$")),
        ("redis", 3, len(b"PING\r\n")),
        ("redis", 5, len(b"INFO ")),
        ("kafka", 0, 14 + len(b"producer-1")),
        ("kafka", 2, 14),
        ("postgres", 0, 8),
        ("postgres", 4, 9),
        ("ssh", 0, 4),
        ("proxy_protocol", 0, 6),
        ("proxy_protocol", 2, 12),
    ],
)
def test_how_many_bytes_it_takes(name: str, index: int, size: int) -> None:
    assert decision(name, FIRST_BYTES[name][index]) == size


def test_a_client_of_another_protocol_is_known_as_such_at_once() -> None:
    """No detector waits longer than it takes to see that it is none of its own."""
    late = {"http1": 24, "kafka": 14, "postgres": 9, "proxy_protocol": 6, "redis": 7, "tls": 6}
    for name, sample in SAMPLES:
        for other in DETECTORS.keys() - {name}:
            assert (decision(other, sample) or 0) <= late.get(other, 4), (other, sample)


STARTS = st.sampled_from(sorted({sample[:size] for _, sample in SAMPLES for size in (0, 1, 4, 5, 9, 14, len(sample))}))
TAILS = st.binary(max_size=30) | st.text(" \r\nHTP/1.0*$ABCpg", max_size=30).map(str.encode)


@given(STARTS, TAILS, st.data())
@example(b"GET / HTTP/1", b"." + b"9" * 30, None)
def test_a_decision_stands_and_only_one_says_yes(start: bytes, tail: bytes, data: st.DataObject | None) -> None:
    whole = start + tail
    cut = data.draw(st.integers(0, len(whole))) if data else len(start)
    for name, detect in DETECTORS.items():
        assert detect(whole[:cut]) in (None, detect(whole)), name
    assert sum(detect(whole) is True for detect in DETECTORS.values()) <= 1


@given(st.sampled_from([sample for _, sample in SAMPLES]), st.integers(0, 40), st.integers(0, 255))
def test_one_wrong_byte_breaks_no_law(sample: bytes, at: int, byte: int) -> None:
    damaged = sample[:at] + bytes([byte]) + sample[at + 1 :]
    for detect in DETECTORS.values():
        answers = [detect(damaged[:size]) for size in range(len(damaged) + 1)]
        assert len({answer for answer in answers if answer is not None}) <= 1
        assert None not in answers[next((i for i, answer in enumerate(answers) if answer is not None), len(answers)) :]
    assert sum(detect(damaged) is True for detect in DETECTORS.values()) <= 1


@given(STARTS, TAILS)
def test_what_is_not_tls_has_no_client_hello(start: bytes, tail: bytes) -> None:
    if is_tls(start + tail) is False:
        assert read_client_hello(start + tail) is False


@pytest.mark.parametrize(
    "data",
    [b" GET / HTTP/1.1", b"GET  / HTTP/1.1", b"GET / HTTP/2.0", b"GET / HTTP/1x", b"GET /\0 HTTP/1.1",
     b"GET\t/ HTTP/1.1",
     b"\r\n\r\nGET / HTTP/1.1", b"\nGET / HTTP/1.1", b"G(T / HTTP/1.1", b"A" * (METHOD_LIMIT + 1), b"GET / http/1.1"],
)  # fmt: skip
def test_what_is_no_request_line(data: bytes) -> None:
    assert is_http1(data) is False


def test_the_length_of_a_method_is_limited() -> None:
    assert is_http1(b"A" * METHOD_LIMIT + b" / HTTP/1.1") is True
    assert is_http1(b"A" * METHOD_LIMIT) is None


@pytest.mark.parametrize(
    "data", [b"*01\r\n$", b"*12345678", b"*-1\r\n", b"*1\n$", b"*1\r\n+", b"$4\r\n", b"PINGX", b"PING\r "]
)
def test_what_is_no_redis_command(data: bytes) -> None:
    assert is_redis(data) is False


@pytest.mark.parametrize(
    "data",
    [postgres(80877103, b"\0"), postgres(80877102), postgres(80877102, bytes(5 + 256)), postgres(80877105),
     postgres(196608), postgres(196608, b"\0"), postgres(196608, b"\0\0"), postgres(196608, b"x" * 9993),
     postgres(4 << 16, b"user\0")],
)  # fmt: skip
def test_what_is_no_postgres_startup(data: bytes) -> None:
    assert is_postgres(data) is False


@pytest.mark.parametrize(
    "data",
    [kafka(18, 0, 0, b"a\nb"), kafka(18, 0, 0, b"x" * 513), kafka(256, 0, 0, b"x"), kafka(18, 64, 0, b"x"),
     kafka(-1, 0, 0, b"x"), kafka(18, 0, 0, b"x")[:12] + b"\xff\xfe", kafka(18, 0, 0, b"x")[:12] + b"\0\2xx",
     struct.pack("!ihhih", 9, 18, 0, 0, -1), struct.pack("!ihhih", 104857601, 18, 0, 0, -1)],
)  # fmt: skip
def test_what_is_no_kafka_request(data: bytes) -> None:
    assert is_kafka(data) is False


# Real clients


def first_bytes(argv: Sequence[str]) -> bytes:
    """What a program sends first to the port that stands as ``{port}`` in its arguments."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = str(server.getsockname()[1])
        process = subprocess.Popen(
            [program(argv[0]), *(word.replace("{port}", port) for word in argv[1:])],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PGPASSWORD": "x"},
        )  # fmt: skip
        try:
            connection = server.accept()[0]
            with connection:
                connection.settimeout(10)
                return connection.recv(65536)
        finally:
            process.kill()
            process.wait()


CLIENTS = [
    ("http1", "curl", "--silent", "http://127.0.0.1:{port}/"),
    ("http2", "curl", "--silent", "--http2-prior-knowledge", "http://127.0.0.1:{port}/"),
    ("tls", "curl", "--silent", "https://127.0.0.1:{port}/"),
    ("tls", "openssl", "s_client", "-connect", "127.0.0.1:{port}"),
    ("tls", "openssl", "s_client", "-tls1_2", "-connect", "127.0.0.1:{port}", "-split_send_frag", "512"),
    ("proxy_protocol", "curl", "--silent", "--haproxy-protocol", "http://127.0.0.1:{port}/"),
    ("redis", "redis-cli", "-p", "{port}", "ping"),
    ("kafka", "kcat", "-b", "127.0.0.1:{port}", "-L"),
    ("kafka", "kcat", "-b", "127.0.0.1:{port}", "-X", "api.version.request=false", "-L"),
    ("postgres", "psql", "postgresql://alice@127.0.0.1:{port}/shop"),
    ("postgres", "psql", "postgresql://alice@127.0.0.1:{port}/shop?sslmode=disable&gssencmode=disable"),
    ("ssh", "ssh", "-F", "none", "-o", "UserKnownHostsFile=/dev/null", "-p", "{port}", "127.0.0.1"),
]


@pytest.mark.parametrize("client", [pytest.param(c, marks=needs(c[1]), id=" ".join(c[:2])) for c in CLIENTS])
def test_a_real_client_is_known_by_its_first_bytes(client: tuple[str, ...]) -> None:
    name, *argv = client
    data = first_bytes(argv)
    assert {other: detect(data) for other, detect in DETECTORS.items()} == {other: other == name for other in DETECTORS}
