from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy import ConfigError, PeekInfo, PreambleResult
from l4proxy.codec import RemoteProtocolError
from l4proxy.config import load_mapping
from l4proxy.plugin_manager import load_plugins
from l4proxy.plugins.proxy_protocol import ProxyProtocol
from l4proxy.protocols.proxy_protocol import encode_v1, encode_v2
from l4proxy.server import serve
from services.haproxy import HaproxyServer
from services.nginx import NginxServer

SOURCE, DESTINATION = ("192.0.2.1", 56324), ("192.0.2.11", 443)
V1 = encode_v1(SOURCE, DESTINATION)
V2 = encode_v2(SOURCE, DESTINATION, tlvs=[(0xE0, b"first"), (2, b"a.test"), (0xE0, b"second")], checksum=True)
PEER = ("10.1.2.3", 40000)


def preamble(**options: Any) -> ProxyProtocol:
    """Through the real loader."""
    listener = {
        "address": "127.0.0.1:0",
        "preambles": [{"use": "proxy_protocol", **options}],
        "filters": [{"use": "echo"}],
    }
    (use,) = load_mapping({"listeners": [listener]}, load_plugins().registry).listeners[0].preambles
    made: ProxyProtocol = use.cls(use.config)
    return made


def info(peer: tuple[str, int] = PEER) -> PeekInfo:
    return PeekInfo(peer, ("10.0.0.1", 80))


def seen(result: PreambleResult | None) -> tuple[Any, ...] | None:
    return (result.consumed, result.client, result.destination, result.tlvs) if result else None


NOT_THERE: tuple[Any, ...] = (0, None, None, {})


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("header", "client", "destination", "tlvs"),
    [
        (V1, SOURCE, DESTINATION, {}),
        (V2, SOURCE, DESTINATION, {0xE0: b"first", 2: b"a.test"}),
        (encode_v1(None, None), None, None, {}),
        (encode_v2(None, None), None, None, {}),
        (encode_v2(b"/run/a", b"/run/b"), ("", 0), ("", 0), {}),
    ],
)
def test_headers(header: bytes, required: bool, client: Any, destination: Any, tlvs: dict[int, bytes]) -> None:
    one = preamble(required=required)
    assert seen(one.read(header + b"data", info())) == (len(header), client, destination, tlvs)
    assert all(one.read(header[:size], info()) is None for size in range(len(header)))


def code(one: ProxyProtocol, peek: bytes, peer: tuple[str, int] = PEER) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        one.read(peek, info(peer))
    return caught.value.code


def test_no_header() -> None:
    assert code(preamble(), b"G") == "proxy_header_missing"
    assert seen(preamble(required=False).read(b"G", info())) == NOT_THERE
    assert seen(preamble(required=False).read(b"PROXX", info())) == NOT_THERE
    assert preamble(required=False).read(b"PROX", info()) is None


@pytest.mark.parametrize("required", [True, False])
def test_a_broken_header_is_refused_also_where_none_is_required(required: bool) -> None:
    one = preamble(required=required)
    assert code(one, b"PROXY TCP4 x\r\n") == "proxy_header_invalid"
    assert code(one, V2[:-1] + b"?") == "proxy_header_invalid"


def test_versions() -> None:
    assert code(preamble(versions=[1]), V2) == "proxy_header_version"
    assert code(preamble(versions=[2]), V1) == "proxy_header_version"
    assert seen(preamble(versions=[1]).read(V1, info())) == (len(V1), SOURCE, DESTINATION, {})


def test_the_size_is_limited() -> None:
    large = encode_v2(SOURCE, DESTINATION, tlvs=[(0xE0, bytes(5000))])
    assert code(preamble(), large) == "proxy_header_too_long"
    assert seen(preamble(max_header_size="8KiB").read(large, info()))
    assert code(preamble(max_header_size=107), encode_v2(SOURCE, DESTINATION, tlvs=[(0xE0, bytes(77))])) == (
        "proxy_header_too_long"
    )


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (("10.1.2.3", 1), True),
        (("::ffff:10.1.2.3", 1), True),
        (("2001:db8::7", 1), True),
        (("", 0), True),
        (("192.0.2.1", 1), False),
        (("2001:db9::7", 1), False),
    ],
)
def test_only_trusted_hosts_may_send_a_header(peer: tuple[str, int], trusted: bool) -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32"]
    strict, lenient = preamble(trusted=networks), preamble(trusted=networks, required=False)
    if trusted:
        for one in (strict, lenient):
            assert seen(one.read(V1, info(peer))) == (len(V1), SOURCE, DESTINATION, {})
            assert one.read(b"", info(peer)) is None
    else:
        assert code(strict, b"", peer) == code(strict, V1, peer) == "proxy_header_not_trusted"
        # Not even waited for: the client may be one that lets the server speak first.
        assert seen(lenient.read(b"", info(peer))) == seen(lenient.read(V1, info(peer))) == NOT_THERE


@given(st.sampled_from([V1, V2]), st.integers(0, 80), st.binary(max_size=30), st.booleans())
def test_garbage_is_refused_waited_on_or_left_alone(header: bytes, cut: int, noise: bytes, required: bool) -> None:
    with contextlib.suppress(RemoteProtocolError):
        PREAMBLES[required].read(header[:cut] + noise, info())


PREAMBLES = {required: preamble(required=required) for required in (True, False)}


@pytest.mark.parametrize(
    ("options", "path", "cause"),
    [
        ({"versions": []}, "versions", "name at least one version"),
        ({"versions": [3]}, "versions[0]", "3"),
        ({"trusted": ["10.0.0.1/8"]}, "trusted[0]", 'write "10.0.0.0/8"'),
        ({"trust": ["10.0.0.0/8"]}, "trust", "did you mean 'trusted'?"),
        ({"max_header_size": "1MiB"}, "max_header_size", "out of range"),
    ],
)
def test_mistakes_are_told_with_their_place(options: dict[str, Any], path: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preamble(**options)
    (problem,) = caught.value.problems
    assert problem.path == f"listeners[0].preambles[0].{path}"
    assert cause in problem.cause


def chained(preamble_options: dict[str, Any], send: str, upstream: str) -> dict[str, Any]:
    return {
        "listeners": [
            {
                "address": "127.0.0.1:0",
                "preambles": [{"use": "proxy_protocol", **preamble_options}],
                "filter_chains": [
                    {
                        "match": {"source": ["127.0.0.0/8", "192.0.2.0/24"]},
                        "filters": [{"use": "tcp_proxy", "cluster": "nginx", "proxy_protocol": send}],
                    }
                ],
            }
        ],
        "clusters": [{"name": "nginx", "endpoints": [upstream]}],
    }


@pytest.mark.parametrize("send", ["v1", "v2"])
@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c"])
def test_from_haproxy_through_us_to_nginx(
    start_haproxy: Callable[..., HaproxyServer], nginx: NginxServer, options: str, send: str
) -> None:
    """Each of the three takes a header off and puts one on; nginx tells whom it thinks it talks to."""

    def ask(port: int) -> None:
        haproxy = start_haproxy(port, options)
        client = http.client.HTTPConnection(haproxy.host, haproxy.port, timeout=10)
        with contextlib.closing(client):
            client.request("GET", "/source")
            host, port = client.sock.getsockname()
            assert client.getresponse().read() == f"{host}:{port}\n".encode()

    async def main() -> None:
        config = chained({"trusted": ["127.0.0.1"]}, send, f"{nginx.host}:{nginx.proxy_protocol_port}")
        async with serve(config) as server:
            [(address,)] = server.addresses.values()
            await asyncio.to_thread(ask, address.port)

    asyncio.run(main())


def test_a_header_that_comes_byte_by_byte_and_one_that_is_none(nginx: NginxServer) -> None:
    def talk(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(V1)):
                client.send(V1[at : at + 1])
            client.sendall(b"GET /source HTTP/1.0\r\n\r\n")
            with client.makefile("rb") as response:
                assert response.read().endswith(b"\r\n\r\n192.0.2.1:56324\n")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /source HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""

    async def main() -> None:
        async with serve(chained({}, "v2", f"{nginx.host}:{nginx.proxy_protocol_port}")) as server:
            [(address,)] = server.addresses.values()
            await asyncio.to_thread(talk, address.port)
            assert server.listeners[0].stats.refused_total.values == {"proxy_header_missing": 1}

    asyncio.run(main())
