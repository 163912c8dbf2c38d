"""HTTP as bytes: downloads, load, connections that are kept and that are not."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.proxies import Proxy, tcp
from services.needs import needs, program
from services.nginx import NginxServer
from services.process import HOST


@pytest.fixture
def proxy(nginx: NginxServer, tmp_path: Path) -> Iterator[Proxy]:
    with tcp(tmp_path, nginx.port) as proxy:
        yield proxy


def curl(*options: str) -> bytes:
    return subprocess.run(
        [program("curl"), "--silent", "--show-error", *options], check=True, capture_output=True
    ).stdout


@needs("curl")
def test_a_download_of_64_mib(nginx: NginxServer, proxy: Proxy) -> None:
    data = os.urandom(64 << 20)
    (nginx.root / "e2e-large").write_bytes(data)
    received = curl(f"http://{HOST}:{proxy.port}/e2e-large")
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
    (line,) = proxy.ended("flags=-")
    assert int(line.partition("sent=")[2].split()[0]) > len(data)


@needs("curl")
def test_a_connection_is_kept_and_one_of_http_1_0_is_not(proxy: Proxy) -> None:
    url = f"http://{HOST}:{proxy.port}/index.html"
    connects = ["--write-out", "connections: %{num_connects}\n", url, url]
    assert re.findall(rb"connections: (.)", curl(*connects)) == [b"1", b"0"]
    proxy.ended("client:eof")
    assert re.findall(rb"connections: (.)", curl("--http1.0", *connects)) == [b"1", b"1"]
    proxy.ended("upstream:eof", times=2)


@needs("wrk")
def test_load_on_kept_connections(proxy: Proxy) -> None:
    load = [program("wrk"), "--threads=1", "--connections=32", "--duration=1s", f"http://{HOST}:{proxy.port}/"]
    done = subprocess.run(load, capture_output=True, text=True, check=True)
    assert "requests in" in done.stdout
    assert "Socket errors" not in done.stdout
    assert "Non-2xx" not in done.stdout
    proxy.ended(times=32)


@needs("ab")
@pytest.mark.parametrize("options", [[], ["-k"]], ids=["one request each", "kept"])
def test_load_of_short_connections(proxy: Proxy, options: list[str]) -> None:
    load = [program("ab"), "-q", "-n", "2000", "-c", "32", *options, f"http://{HOST}:{proxy.port}/index.html"]
    done = subprocess.run(load, capture_output=True, text=True, check=True)
    assert re.search(r"Complete requests: +2000\n", done.stdout)
    assert re.search(r"Failed requests: +0\n", done.stdout)
