"""Floods against a running proxy: each is told to calm down, and costs the process next to nothing.

``pytest -rP`` on this file prints what each cost: memory at its peak, and processor time.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from e2e.proxies import Proxy, tcp
from http2_floods import BOMB, CRUMBS, FLOODS, Frames, mentions
from http2_wire import headers
from l4proxy.protocols.http2 import PREFACE, ErrorCode, Setting
from l4proxy.protocols.http2.frames import settings_frame, window_update_frame
from proxy_process import wait_until
from services.process import HOST

MEMORY = 4 << 20
"""By how much no flood may make the process grow: a read, a table, and what a hundred requests are on both sides."""
SECONDS = 2.0
"""Of processor time, on a machine that is slow."""
BODY = 8 << 20
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY + bytes(BODY)


@dataclass
class Attack:
    """A client that sends and sends."""

    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes) -> None:
        """Raises ConnectionError when the proxy has had enough."""
        with contextlib.suppress(BlockingIOError):
            while chunk := self.sock.recv(65536, socket.MSG_DONTWAIT):
                self.received += chunk
        if self.received.endswith(b"_flood"):
            raise ConnectionError("GOAWAY")
        self.sock.sendall(data)

    def drain(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self.sock.recv(65536):
                self.received += chunk


@contextlib.contextmanager
def attack(proxy: Proxy, **settings: int) -> Iterator[Attack]:
    with socket.create_connection((HOST, proxy.port)) as sock:
        sock.sendall(PREFACE + settings_frame((Setting[name.upper()], value) for name, value in settings.items()))
        yield Attack(sock)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose endpoint takes connections and never answers."""
    with (
        socket.create_server((HOST, 0), backlog=4096) as listener,
        tcp(tmp_path_factory.mktemp("proxy"), listener.getsockname()[1], command="http") as proxy,
    ):
        yield proxy


@contextlib.contextmanager
def cost(proxy: Proxy, what: str, memory: int = MEMORY) -> Iterator[None]:
    """Fails where it is more than ``memory``, or takes too long."""
    Path(f"/proc/{proxy.process.pid}/clear_refs").write_text("5")
    before, seconds = proxy.memory(), proxy.cpu_seconds()
    yield
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    grown = (int(status.partition("VmHWM:")[2].split()[0]) - before) * 1024
    seconds = proxy.cpu_seconds() - seconds
    print(f"{what:24} {grown / 2**20:6.2f} MiB more at its peak, {seconds:5.2f} s of processor time")
    assert grown < memory
    assert seconds < SECONDS


def bombs(first: bytes) -> Frames:
    return lambda: itertools.chain([first], (mentions(at) for at in itertools.count(3, 2)))


ALL = [*FLOODS, ("HPACK bombs", "provoked_resets", 102, bombs(BOMB)), ("crumbs", "provoked_resets", 102, bombs(CRUMBS))]


@pytest.mark.parametrize(("name", "kind", "frames"), [pytest.param(row[0], row[1], row[3], id=row[0]) for row in ALL])
def test_a_flood(silent: Proxy, name: str, kind: str, frames: Frames) -> None:
    times = silent.log.count(f"] {kind}_flood: ") + 1
    with attack(silent) as client, cost(silent, name):
        with contextlib.suppress(ConnectionError):
            for wire in itertools.islice(frames(), 30_000):
                client.send(wire)
        client.drain()
        silent.wait_for_log(f"] {kind}_flood: ", times)
    goaway = re.search(rb"\0\0[^\0]\x07\0\0\0\0\0....(....)([a-z_0-9]+)$", client.received, re.DOTALL)
    if goaway:  # a RST that overtakes it may have swallowed it
        assert int.from_bytes(goaway[1], "big") == ErrorCode.ENHANCE_YOUR_CALM
        assert goaway[2].decode() == f"{kind}_flood"


class _Generous(socketserver.BaseRequestHandler):
    """Answers every request with a large body."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 1000  # a hundred connections come at once, and what overflows is only tried again later

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.request.recv(65536):
                self.request.sendall(ANSWER)


@pytest.fixture
def generous(tmp_path: Path) -> Iterator[Proxy]:
    with _Generous.Server((HOST, 0), _Generous) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with tcp(tmp_path, server.server_address[1], command="http") as proxy:
            yield proxy
        server.shutdown()


READERS = {
    # settings, and what is sent behind the requests
    "windows of 0": ({"initial_window_size": 0}, b""),
    "tiny windows": ({"initial_window_size": 1}, b"".join(window_update_frame(at, 1) for at in range(1, 200, 2))),
    "a socket never read": ({"initial_window_size": 2**31 - 1}, window_update_frame(0, 2**31 - 65_536)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_hundred_large_bodies_that_nobody_takes(generous: Proxy, name: str) -> None:
    settings, more = READERS[name]
    with attack(generous, **settings) as client, cost(generous, name, memory=24 << 20):
        client.sock.sendall(b"".join(headers(at) for at in range(1, 200, 2)) + more)
        wait_until(lambda: generous.descriptors() > 100, "a hundred connections to the endpoint")
        for _ in range(5):  # others are served meanwhile, and there is time to do wrong
            with contextlib.closing(HTTPConnection(HOST, generous.port)) as other:
                other.request("GET", "/")
                assert len(other.getresponse().read()) == BODY
