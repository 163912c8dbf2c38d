"""The proxy as a process of its own, and clients that notice when anything goes wrong with it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from services.process import HOST, accepts, free_port, running

__all__ = ["Clients", "ProxyProcess", "echo_server", "start_proxy", "wait_until"]

_POLL = 0.02


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that happens in another process; the limit is only there so that a failure ends."""
    for _ in range(1500):
        if condition():
            return
        time.sleep(_POLL)
    raise AssertionError(f"never happened: {what}")


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """A TCP server that echoes; yields its port."""
    with _Server((HOST, 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class ProxyProcess:
    """A running ``l4proxy run FILE``."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, config: Path, log: Path) -> None:
        self.process = process
        self.port = port
        self.config = config
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for_log(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times, f"{text!r} {times} times in:\n{self.log}")

    def processes(self) -> list[int]:
        """The supervisor's workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def successors(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"process (\d+) was started to take over", self.log)]


@contextlib.contextmanager
def start_proxy(
    directory: Path, upstream: int, *, top: str = "", ready: str = "listening on", options: Sequence[str] = ()
) -> Iterator[ProxyProcess]:
    """Run a proxy in front of the port ``upstream``; ``top`` is put at the beginning of its configuration."""
    port = free_port()
    config, log = directory / "proxy.toml", directory / "proxy.log"
    config.write_text(
        f'{top}\n[[listeners]]\nname = "l"\naddress = "{HOST}:{port}"\n'
        'filters = [{ use = "tcp_proxy", cluster = "c" }]\n'
        f'[[clusters]]\nname = "c"\nendpoints = ["{HOST}:{upstream}"]\n'
    )
    argv = [sys.executable, "-m", "l4proxy", "run", str(config), *options]
    with running(argv, log=log, ready=lambda: ready in log.read_text() and accepts(port)) as process:
        proxy = ProxyProcess(process, port, config, log)
        try:
            yield proxy
        finally:
            for pid in proxy.successors():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)


class Clients:
    """Threads that use a port until they are told to stop, each exchange on a new connection or all on one; ``errors``
    is what a user would have seen."""

    def __init__(self, port: int, *, short: int = 4, kept: int = 4) -> None:
        self.port = port
        self.exchanges = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        jobs = [self._short] * short + [self._kept] * kept
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def made(self, more: int) -> None:
        """Wait for that many more exchanges."""
        goal = self.exchanges + more
        wait_until(lambda: self.exchanges >= goal or bool(self.errors), f"{more} more exchanges")

    def _exchange(self, sock: socket.socket) -> None:
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello", "the connection ended"
        self.exchanges += 1

    def _short(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection((HOST, self.port), timeout=20) as sock:
                    self._exchange(sock)
            except (OSError, AssertionError) as error:
                self.errors.append(f"short: {error!r}")

    def _kept(self) -> None:
        try:
            with socket.create_connection((HOST, self.port), timeout=20) as sock:
                while not self._stop.is_set():
                    self._exchange(sock)
                    time.sleep(0.002)
        except (OSError, AssertionError) as error:
            self.errors.append(f"kept: {error!r}")
