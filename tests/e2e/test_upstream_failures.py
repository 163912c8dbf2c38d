"""Upstreams that fail in every way: what the client sees is what happened, and the log and the counters say it."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from clusters import black_hole, go_silent, listening, refused
from e2e.proxies import between, tcp
from l4proxy.testing import Proxy, SocketEnd
from services.needs import needs, program
from services.process import HOST, accepts, free_port, running

MIB = 1 << 20


def test_a_reset_in_the_middle_is_a_reset_for_the_client() -> None:
    def upstream(end: SocketEnd) -> None:
        end.send(bytes(4 * MIB))
        end.reset()

    with Proxy(upstream=upstream) as proxy:
        with proxy.connect() as client, pytest.raises(ConnectionResetError):
            client.receive_all()
        (reason,) = proxy.wait_closed()
        assert str(reason) == "upstream:reset phase=relay errno=ECONNRESET"
        assert proxy.stat("l4proxy_listener_closed_total", reason="reset") == 1


@pytest.mark.parametrize("size", [10, 20_000])
def test_the_answer_of_a_server_that_refuses_an_upload_arrives(size: int) -> None:
    """It answers early and closes with most of the upload unread, which turns into a reset behind the answer."""

    def upstream(end: SocketEnd) -> None:
        end.receive(1)
        end.send(b"n" * size)
        end.close()

    answer = b""
    with Proxy(upstream=upstream) as proxy:
        with proxy.connect() as client, contextlib.suppress(ConnectionError):
            sender = threading.Thread(target=upload, args=(client, 64 * MIB), daemon=True)
            sender.start()
            while data := client.sock.recv(1 << 16):
                answer += data
        assert answer == b"n" * size
        (reason,) = proxy.wait_closed()
        assert reason.detail == "reset"


def upload(client: SocketEnd, size: int) -> None:
    with contextlib.suppress(OSError):
        client.send(bytes(size))


def test_an_end_in_the_middle_is_an_end_for_the_client_behind_every_byte() -> None:
    with Proxy(upstream=lambda end: end.send(bytes(4 * MIB))) as proxy:
        with proxy.connect() as client:
            assert len(client.receive_all()) == 4 * MIB
        (reason,) = proxy.wait_closed()
        assert str(reason) == "upstream:eof phase=relay"


@needs("curl", "nginx")
def test_a_server_that_is_killed_leaves_a_download_unfinished(tmp_path: Path) -> None:
    """Its system ends its connections for it; only their length tells, and that must not come out right."""
    port = free_port()
    (tmp_path / "large").write_bytes(bytes(64 * MIB))
    server = f"server {{ listen {HOST}:{port}; root {tmp_path}; limit_rate 4m; }}"
    config = f"daemon off; master_process off; pid {tmp_path}/pid; events {{}} http {{ access_log off; {server} }}"
    (tmp_path / "nginx.conf").write_text(config)
    nginx = [program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    with (
        running(nginx, log=tmp_path / "nginx.log", ready=lambda: accepts(port)) as process,
        tcp(tmp_path, port) as proxy,
    ):
        curl = [program("curl"), "--silent", "--show-error", "--no-buffer", f"http://{HOST}:{proxy.port}/large"]
        with subprocess.Popen(curl, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            assert client.stdout is not None
            client.stdout.read(MIB)
            process.kill()
            _, error = client.communicate(timeout=30)
        assert client.returncode in (18, 56), error  # a partial file, or a reset
        (line,) = proxy.ended()
        assert " upstream:" in line
        assert MIB <= int(line.partition("sent=")[2].split()[0]) < 64 * MIB


def test_a_refused_connection() -> None:
    with Proxy(upstream=refused()) as proxy:
        with proxy.connect() as client:
            client.send(b"hello")
            assert client.receive_all() == b""
        (reason,) = proxy.wait_closed()
        assert (reason.who, reason.phase, reason.detail) == ("upstream", "connecting", "connect_refused")
        assert reason.flags == ("UF", "URX")
        assert proxy.stat("l4proxy_cluster_connect_failed_total", reason="connect_refused") == 1


def test_a_black_hole(tmp_path: Path) -> None:
    with black_hole() as upstream, between(tmp_path, upstream, cluster={"connect_timeout": "200ms"}) as proxy:
        with socket.create_connection((HOST, proxy.port), timeout=30) as client:
            assert client.recv(1) == b""
        proxy.ended("upstream:connect_timeout", "phase=connecting", "flags=UF,URX")


def test_an_upstream_that_accepts_nobody_any_more(tmp_path: Path) -> None:
    with contextlib.ExitStack() as waiting, listening(backlog=0) as server:
        with contextlib.suppress(TimeoutError):
            while True:
                waiting.enter_context(socket.create_connection(server.getsockname(), timeout=0.1))
        upstream = server.getsockname()[1]
        with between(tmp_path, upstream, cluster={"connect_timeout": "200ms"}) as proxy:
            with socket.create_connection((HOST, proxy.port), timeout=30) as client:
                assert client.recv(1) == b""
            proxy.ended("upstream:connect_timeout", "phase=connecting", "flags=UF,URX")


def test_an_upstream_that_falls_silent_is_given_up_when_nothing_moves(tmp_path: Path) -> None:
    with listening() as server, between(tmp_path, server.getsockname()[1], idle_timeout="400ms") as proxy:
        with socket.create_connection((HOST, proxy.port), timeout=30) as client:
            upstream, _ = server.accept()
            with upstream:
                go_silent(upstream)
                client.sendall(b"hello")
                assert client.recv(1) == b""
        proxy.ended("proxy:idle_timeout", "phase=relay", "received=5")


def test_an_upstream_that_ends_first_still_gets_everything() -> None:
    received: queue.Queue[int] = queue.Queue()

    def upstream(end: SocketEnd) -> None:
        end.send(b"that is all")
        end.eof()
        received.put(len(end.receive_all()))

    with Proxy(upstream=upstream) as proxy:
        with proxy.connect() as client:
            assert client.receive_all() == b"that is all"
            client.send(bytes(4 * MIB))
            client.eof()
            assert received.get(timeout=30) == 4 * MIB
        (reason,) = proxy.wait_closed()
        assert str(reason) == "upstream:eof phase=relay"


def test_a_client_that_ends_first_still_gets_everything() -> None:
    def upstream(end: SocketEnd) -> None:
        assert end.receive_all() == b"request"
        end.send(bytes(4 * MIB))

    with Proxy(upstream=upstream) as proxy:
        with proxy.connect() as client:
            client.send(b"request")
            client.eof()
            assert len(client.receive_all()) == 4 * MIB
        (reason,) = proxy.wait_closed()
        assert str(reason) == "client:eof phase=relay"


def test_an_upstream_that_sends_to_a_silent_client() -> None:
    go_on = threading.Semaphore(0)

    def upstream(end: SocketEnd) -> None:
        for at in range(100):
            end.send(b"%03d" % at)
            go_on.acquire(timeout=30)

    with Proxy(upstream=upstream) as proxy, proxy.connect() as client:
        for at in range(100):
            assert client.receive(3) == b"%03d" % at
            go_on.release()
        assert client.receive_all() == b""


def test_another_endpoint_is_tried(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        endpoints = [refused(), "{}:{}".format(*server.getsockname())]
        with between(tmp_path, 1, cluster={"endpoints": endpoints}, max_connect_attempts=2) as proxy:
            for _ in range(2):
                with socket.create_connection((HOST, proxy.port), timeout=30) as client:
                    client.sendall(b"hello")
                    upstream, _ = server.accept()
                    with upstream:
                        assert upstream.recv(5) == b"hello"
            proxy.ended("flags=-", times=2)
