"""One port for many protocols, each with its own client and its own server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.proxies import run
from services.certs import Certs
from services.haproxy import HaproxyServer
from services.needs import needs, program
from services.nginx import NginxServer
from services.postgres import PostgresServer
from services.process import HOST, free_port
from services.redis import RedisServer

GARBAGE = {
    "nothing that anybody speaks": b"\xff" * 100,
    "zeros": bytes(5000),
    "a long line": b"GET /" + b"a" * 20000,
    "a TLS record of no handshake": b"\x15\x03\x01\x00\x02\x02\x28",
    "a ClientHello of nothing": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    "a huge PostgreSQL packet": b"\x7f\xff\xff\xff\x00\x03\x00\x00",
    "a Redis array without end": b"*99999999999999999999\r\n",
    "half a PROXY header": b"PROXY TCP4 1.2.3.4",
    "a broken PROXY header": b"PROXY TCP4 x\r\n",
    "HTTP/2 cut off": b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
}


def chain(cluster: str, **match: object) -> dict[str, object]:
    return {"match": match, "filters": [{"use": "tcp_proxy", "cluster": cluster}]}


@needs("curl", "psql", "redis-cli")
def test_every_client_reaches_its_own_server(
    redis: RedisServer, postgres: PostgresServer, nginx: NginxServer, certs: Certs, tmp_path: Path
) -> None:
    port = free_port()
    upstreams = {
        "redis": redis.address,
        "postgres": postgres.address,
        "web": nginx.address,
        "tls": f"{nginx.host}:{nginx.tls_port}",
    }
    config = {
        "listeners": [
            {
                "address": f"{HOST}:{port}",
                "peek_timeout": "5s",
                "filter_chains": [
                    chain("tls", tls={"server_names": ["localhost"]}),
                    chain("web", http1=True),
                    chain("redis", redis=True),
                    chain("postgres", postgres=True),
                ],
            }
        ],
        "clusters": [{"name": name, "endpoints": [address]} for name, address in upstreams.items()],
    }

    def curl(*options: str) -> str:
        argv = [program("curl"), "--silent", "--show-error", "--cacert", str(certs.ca), *options]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    with run(tmp_path, config, port) as proxy:
        assert redis.command("ping", port=port) == "PONG"
        assert postgres.query("select 1", port=port) == "1"
        assert curl(f"http://{HOST}:{port}/") == "hello from nginx\n"
        assert curl("--http2", f"https://localhost:{port}/") == "hello from nginx\n"
        for cluster in upstreams:
            proxy.ended(cluster, "flags=-")
        with pytest.raises(subprocess.CalledProcessError):  # a name that no chain has
            curl("--connect-to", f"elsewhere.test:443:{HOST}:{port}", "https://elsewhere.test/")
        proxy.ended("flags=NR", "proxy:no_filter_chain", "phase=peek")
        for garbage in GARBAGE.values():
            end_after(port, garbage)
        proxy.ended("flags=NR", "proxy:no_filter_chain", times=1 + len(GARBAGE))
        assert redis.command("ping", port=port) == "PONG"
        assert "Traceback" not in proxy.log


def end_after(port: int, data: bytes) -> None:
    """Send something that nobody understands, and no more: the proxy has to end it."""
    with (
        socket.create_connection((HOST, port), timeout=30) as client,
        contextlib.suppress(ConnectionError),  # it may be ended before all is sent
    ):
        client.sendall(data)
        assert client.recv(1) == b""


@needs("haproxy")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_proxy_protocol_comes_in_from_haproxy_and_goes_out_to_nginx(
    start_haproxy: Callable[..., HaproxyServer], nginx: NginxServer, tmp_path: Path, version: str
) -> None:
    port = free_port()
    forward = {"use": "tcp_proxy", "cluster": "nginx", "proxy_protocol": version}
    config = {
        "listeners": [{"address": f"{HOST}:{port}", "preambles": ["proxy_protocol"], "filters": [forward]}],
        "clusters": [{"name": "nginx", "endpoints": [f"{HOST}:{nginx.proxy_protocol_port}"]}],
    }
    with run(tmp_path, config, port) as proxy:
        haproxy = start_haproxy(port, "send-proxy" if version == "v1" else "send-proxy-v2")
        with socket.create_connection((haproxy.host, haproxy.port), timeout=30) as client:
            client.sendall(b"GET /source HTTP/1.0\r\n\r\n")
            with client.makefile("rb") as response:
                body = response.read().rpartition(b"\r\n\r\n")[2]
            source = "{}:{}".format(*client.getsockname())
        assert body.decode() == f"{source}\n"
        assert source in proxy.ended("flags=-", source)[0]
