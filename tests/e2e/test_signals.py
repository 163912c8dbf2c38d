"""Signals under load: clients notice nothing, but for those of a worker that was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.proxies import Proxy, between
from proxy_process import Clients, echo_server, wait_until
from services.needs import needs, program
from services.nginx import NginxServer
from services.process import HOST

WORKERS = pytest.mark.parametrize("workers", [1, 2], ids=["one process", "two workers"])


@pytest.fixture
def upstream() -> Iterator[int]:
    with echo_server() as port:
        yield port


@WORKERS
def test_twenty_reloads(upstream: int, tmp_path: Path, workers: int) -> None:
    with between(tmp_path, upstream, top={"workers": workers}) as proxy, Clients(proxy.port) as clients:
        clients.made(100)
        for times in range(1, 21):
            proxy.signal(signal.SIGHUP)
            proxy.wait_for_log("the configuration was reloaded", times)
        clients.made(100)
    assert clients.errors == []
    assert "not reloaded" not in proxy.log


@WORKERS
def test_reloads_that_come_faster_than_they_are_done(upstream: int, tmp_path: Path, workers: int) -> None:
    """Each with another configuration, so that one that is late would undo a newer one."""
    with between(tmp_path, upstream, top={"workers": workers}) as proxy, Clients(proxy.port, kept=2) as clients:
        config = json.loads(proxy.config.read_text())
        first = config["listeners"]
        for at in range(15):
            config["listeners"] = [*first, {"address": f"unix:{tmp_path}/{at % 3}.sock", "filters": ["echo"]}]
            (tmp_path / "new.json").write_text(json.dumps(config))
            (tmp_path / "new.json").rename(proxy.config)
            proxy.signal(signal.SIGHUP)
            time.sleep(0.003)
        wait_until(lambda: answering(tmp_path) == ["2.sock"], "the last configuration is at work, and no other")
        clients.made(50)
        assert "not reloaded" not in proxy.log
    assert clients.errors == []


def answering(directory: Path) -> list[str]:
    """The unix sockets behind which there is an echo."""
    return sorted(path.name for path in directory.glob("*.sock") if answers(path))


def answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(b"hello")
        return client.recv(5) == b"hello"
    return False


@WORKERS
def test_a_successor_that_is_asked_for_twice_is_started_once(upstream: int, tmp_path: Path, workers: int) -> None:
    with (
        between(tmp_path, upstream, top={"workers": workers}) as proxy,
        Clients(proxy.port, kept=0) as clients,
    ):
        clients.made(50)
        proxy.signal(signal.SIGUSR2)
        proxy.wait_for_log("was started to take over")
        proxy.signal(signal.SIGUSR2)
        proxy.wait_for_log("no further successor is started")
        proxy.wait_for_log("serves; this one drains")
        assert proxy.process.wait(30) == 0
        clients.made(50)
        assert len(proxy.successors()) == 1
    assert clients.errors == []


def test_workers_that_are_killed_cost_only_what_they_were_at(upstream: int, tmp_path: Path) -> None:
    kills = 3
    with between(tmp_path, upstream, top={"workers": 2}) as proxy, Clients(proxy.port, short=6, kept=0) as clients:
        for times in range(1, kills + 1):
            clients.made(50)
            os.kill(proxy.processes()[0], signal.SIGKILL)
            proxy.wait_for_log("was killed by SIGKILL; it is started again", times)
            wait_until(lambda: len(proxy.processes()) == 2, "two workers again")
        clients.made(300)
    assert len(clients.errors) <= kills * 6
    assert not any("refused" in error for error in clients.errors)


def limited_download(proxy: Proxy) -> subprocess.Popen[bytes]:
    url = f"http://{HOST}:{proxy.port}/e2e-drain"
    curl = [program("curl"), "--silent", "--show-error", "--limit-rate", "16m", url]
    client = subprocess.Popen(curl, stdout=subprocess.PIPE)
    assert client.stdout is not None
    return client


@needs("curl")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2], ids=lambda number: number.name)
def test_an_open_transfer_ends_well(nginx: NginxServer, tmp_path: Path, number: signal.Signals) -> None:
    data = os.urandom(24 << 20)
    (nginx.root / "e2e-drain").write_bytes(data)
    with between(tmp_path, nginx.port) as proxy, limited_download(proxy) as client:
        assert client.stdout is not None
        received = client.stdout.read(1 << 20)
        proxy.signal(number)
        if number == signal.SIGUSR2:
            proxy.wait_for_log("serves; this one drains")
        received += client.stdout.read()
        assert client.wait(30) == 0
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
        assert proxy.process.wait(30) == 0
        proxy.ended("client:eof", "flags=-")


@needs("curl")
def test_a_transfer_that_outlasts_the_drain_time_does_not_look_complete(nginx: NginxServer, tmp_path: Path) -> None:
    (nginx.root / "e2e-drain").write_bytes(bytes(64 << 20))
    with between(tmp_path, nginx.port, top={"drain_time": "200ms"}) as proxy, limited_download(proxy) as client:
        assert client.stdout is not None
        client.stdout.read(1 << 20)
        proxy.signal(signal.SIGTERM)
        client.stdout.read()
        assert client.wait(30) == 56, "curl's word for a reset"
        assert proxy.process.wait(30) == 0
        proxy.ended("proxy:drain_timeout")
