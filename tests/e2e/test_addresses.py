"""Every kind of address, on both sides."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from e2e.proxies import run, tcp
from services.needs import needs, program
from services.nginx import NginxServer
from services.process import HOST
from services.redis import RedisServer


def curl(*options: str) -> bytes:
    argv = [program("curl"), "--silent", "--show-error", "--globoff", *options]
    return subprocess.run(argv, check=True, capture_output=True).stdout


@needs("curl")
@pytest.mark.parametrize("mode", ["0600", "0666"])
def test_a_unix_socket_with_a_mode(nginx: NginxServer, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "l4proxy.sock"
    config = {
        "listeners": [
            {"address": f"unix:{path}", "unix_mode": mode, "filters": [{"use": "tcp_proxy", "cluster": "nginx"}]}
        ],
        "clusters": [{"name": "nginx", "endpoints": [nginx.address]}],
    }
    with run(tmp_path, config, 0) as proxy:
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
        assert curl("--unix-socket", str(path), "http://anything.test/") == b"hello from nginx\n"
        proxy.ended("flags=-")
    with run(tmp_path, config, 0):  # what is left of the first one is in nobody's way
        assert curl("--unix-socket", str(path), "http://anything.test/") == b"hello from nginx\n"


@needs("curl")
def test_an_abstract_unix_socket(nginx: NginxServer, tmp_path: Path) -> None:
    name = f"l4proxy-test-{os.getpid()}"
    with tcp(tmp_path, nginx.port, listen=f"unix:@{name}"):
        assert curl("--abstract-unix-socket", name, "http://anything.test/") == b"hello from nginx\n"


@needs("redis-cli")
def test_an_upstream_on_a_unix_socket(redis: RedisServer, tmp_path: Path) -> None:
    with tcp(tmp_path, f"unix:{redis.path}") as proxy:
        assert redis.command("ping", port=proxy.port) == "PONG"
        large = "x" * (1 << 16)
        assert redis.command("echo", large, port=proxy.port) == large


@pytest.fixture
def ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


@needs("curl")
@pytest.mark.usefixtures("ipv6")
def test_ipv6_on_both_sides(nginx: NginxServer, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with tcp(tmp_path / "inner", nginx.port, listen="[::1]:0") as inner:
        port = inner.log.partition("listening on [::1]:")[2].split()[0]
        with tcp(tmp_path, f"[::1]:{port}") as outer:
            assert curl(f"http://{HOST}:{outer.port}/") == b"hello from nginx\n"
            outer.ended(f"[::1]:{port}", "flags=-")


@needs("curl")
@pytest.mark.usefixtures("ipv6")
def test_a_port_alone_is_both_families(nginx: NginxServer, tmp_path: Path) -> None:
    with tcp(tmp_path, nginx.port, listen=":0") as proxy:
        port = proxy.log.partition("listening on 0.0.0.0:")[2].partition(",")[0]
        assert curl(f"http://{HOST}:{port}/") == b"hello from nginx\n"
        assert curl(f"http://[::1]:{port}/") == b"hello from nginx\n"
