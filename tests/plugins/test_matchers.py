from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy import ConfigError, Matcher, PeekInfo
from l4proxy.config import load_mapping
from l4proxy.config.schema import Config
from l4proxy.plugin_manager import load_plugins
from l4proxy.plugins import matchers
from l4proxy.plugins.matchers import Http1, Http2, Kafka, Postgres, ProxyProtocol, Redis, Ssh, Tls
from l4proxy.protocols.proxy_protocol import encode_v1
from l4proxy.server import serve
from services.nginx import NginxServer
from services.postgres import PostgresServer
from services.redis import RedisServer


def client_hello(server_name: str | None, *alpn: str) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.set_alpn_protocols(alpn)
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


FIRST_BYTES: dict[type[Matcher[Any]], bytes] = {
    Http1: b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    Http2: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    Kafka: bytes.fromhex("0000000b 0012 0000 00000001 0001") + b"x",
    Postgres: bytes.fromhex("00000008 04d2162f"),
    ProxyProtocol: encode_v1(("192.0.2.1", 1), ("192.0.2.2", 2)),
    Redis: b"*1\r\n$4\r\nPING\r\n",
    Ssh: b"SSH-2.0-OpenSSH_9.2\r\n",
    Tls: client_hello("a.test", "h2", "http/1.1"),
}


def info() -> PeekInfo:
    return PeekInfo(("192.0.2.1", 1), ("192.0.2.2", 2))


def load(**match: Any) -> Config:
    """A configuration whose only chain has this match, through the real loader."""
    chain = {"match": match, "filters": [{"use": "echo"}]}
    return load_mapping({"listeners": [{"address": "127.0.0.1:0", "filter_chains": [chain]}]}, load_plugins().registry)


def matcher(**match: Any) -> Matcher[Any]:
    (use,) = load(**match).listeners[0].chains[0].match
    made: Matcher[Any] = use.cls(use.config)
    return made


@pytest.mark.parametrize("cls", FIRST_BYTES, ids=lambda cls: cls.name)
def test_a_protocol_is_matched_by_its_own_matcher_alone(cls: type[Matcher[Any]]) -> None:
    for other, sample in FIRST_BYTES.items():
        seen = info()
        assert matcher(**{cls.name: True}).match(sample, seen) is (other is cls)
        assert matcher(**{cls.name: False}).match(sample, info()) is (other is not cls)
        assert seen.protocol == (cls.name if other is cls else "")


@pytest.mark.parametrize("cls", FIRST_BYTES, ids=lambda cls: cls.name)
@pytest.mark.parametrize("wanted", [True, False])
def test_nothing_is_decided_before_it_can_be(cls: type[Matcher[Any]], wanted: bool) -> None:
    one = matcher(**{cls.name: wanted})
    sample = FIRST_BYTES[cls]
    answers = [one.match(sample[:size], info()) for size in range(len(sample) + 1)]
    assert answers[0] is None
    assert {answer for answer in answers if answer is not None} == {wanted}


def test_all_matchers_are_tried_here() -> None:
    registered: list[Any] = []
    matchers.register_matchers(register=registered.append)
    assert set(registered) == set(FIRST_BYTES)


@pytest.mark.parametrize(
    ("options", "server_name", "alpn", "expected"),
    [
        ({}, "a.test", ["h2"], True),
        ({}, None, [], True),
        ({"server_names": ["a.test"]}, "a.test", [], True),
        ({"server_names": ["b.test", "A.TEST"]}, "a.test", [], True),
        ({"server_names": ["*.test"]}, "a.test", [], True),
        ({"server_names": ["*.a.test"]}, "a.test", [], False),
        ({"server_names": ["*"]}, "a.test", [], True),
        ({"server_names": ["*"]}, None, [], False),
        ({"alpn": ["h2"]}, None, ["http/1.1", "h2"], True),
        ({"alpn": ["h2", "h3"]}, None, ["http/1.1"], False),
        ({"alpn": ["h2"]}, "a.test", [], False),
        ({"server_names": ["a.test"], "alpn": ["h2"]}, "a.test", ["h2"], True),
        ({"server_names": ["a.test"], "alpn": ["h2"]}, "b.test", ["h2"], False),
    ],
)
def test_tls_by_server_name_and_alpn(
    options: dict[str, Any], server_name: str | None, alpn: list[str], expected: bool
) -> None:
    seen = info()
    assert matcher(tls=options).match(client_hello(server_name, *alpn), seen) is expected
    assert (seen.protocol, seen.server_name, seen.application_protocols) == ("tls", server_name or "", tuple(alpn))


def test_tls_with_options_is_not_matched_by_anything_else() -> None:
    for cls, sample in FIRST_BYTES.items():
        if cls is not Tls:
            assert matcher(tls={"server_names": ["*"]}).match(sample, info()) is False


@pytest.mark.parametrize(
    ("options", "head", "expected"),
    [
        ({}, b"GET / HTTP/1.1\r\n", True),
        ({"hosts": ["a.test"]}, b"GET / HTTP/1.1\r\n", None),
        ({"hosts": ["a.test"]}, b"GET / HTTP/1.1\r\nHost: A.test:80\r\n", True),
        ({"hosts": ["*.test"]}, b"GET / HTTP/1.1\r\nHost: a.test\r\n", True),
        ({"hosts": ["*"]}, b"GET / HTTP/1.0\r\n\r\n", False),
        ({"hosts": ["a.test"]}, b"GET / HTTP/1.1\r\nHost: b.test\r\n", False),
        ({"hosts": ["a.test"]}, b"GET http://a.test/ HTTP/1.1\r\n", True),
        ({"hosts": ["a.test"]}, b"SSH-2.0-x\r\n", False),
    ],
)
def test_http1_by_host(options: dict[str, Any], head: bytes, expected: bool | None) -> None:
    assert matcher(http1=options).match(head, info()) is expected


@pytest.mark.parametrize(
    ("match", "path", "cause"),
    [
        ({"tls": {"server_name": ["a.test"]}}, "match.tls.server_name", "did you mean 'server_names'?"),
        ({"tls": {"server_names": ["a.*"]}}, "match.tls.server_names[0]", "a star stands alone"),
        ({"tls": {"server_names": "a.test"}}, "match.tls.server_names", ""),
        ({"tls": "yes"}, "match.tls", ""),
        ({"http1": {"hosts": ["a.test:80"]}}, "match.http1.hosts[0]", "is not a host name"),
        ({"redis": {}}, "match.redis", ""),
        ({"reddis": True}, "match.reddis", "did you mean 'redis'?"),
    ],
)
def test_mistakes_are_told_with_their_place(match: dict[str, Any], path: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**match)
    (problem,) = caught.value.problems
    assert problem.path == f"listeners[0].filter_chains[0].{path}"
    assert cause in problem.cause


@given(st.sampled_from(list(FIRST_BYTES.values())), st.integers(0, 40), st.binary(max_size=20))
def test_garbage_raises_nothing(sample: bytes, cut: int, noise: bytes) -> None:
    for cls in FIRST_BYTES:
        cls(True).match(sample[:cut] + noise, info())


def test_one_port_for_real_clients_of_four_protocols(
    redis: RedisServer, postgres: PostgresServer, nginx: NginxServer
) -> None:
    upstreams = {
        "redis": (True, redis.address),
        "postgres": (True, postgres.address),
        "tls": ({"server_names": ["*.test"]}, f"{nginx.host}:{nginx.tls_port}"),
        "http1": ({"hosts": ["a.test"]}, nginx.address),
    }
    config = {
        "listeners": [
            {
                "address": "127.0.0.1:0",
                "filter_chains": [
                    {"match": {name: options}, "filters": [{"use": "tcp_proxy", "cluster": name}]}
                    for name, (options, _) in upstreams.items()
                ],
            }
        ],
        "clusters": [{"name": name, "endpoints": [address]} for name, (_, address) in upstreams.items()],
    }

    def talk(port: int) -> None:
        assert redis.command("ping", port=port) == "PONG"
        assert postgres.query("select 1", port=port) == "1"
        assert get(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) == 200
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        with context.wrap_socket(plain, server_hostname="b.test") as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    async def main() -> None:
        async with serve(config) as server:
            [(address,)] = server.addresses.values()
            await asyncio.to_thread(talk, address.port)

    asyncio.run(main())


def get(connection: http.client.HTTPConnection) -> int:
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Host": "a.test"})
        return connection.getresponse().status
