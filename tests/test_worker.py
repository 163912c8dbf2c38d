"""One process that serves: signals, reload, drain, a successor. With clients that notice every error."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy_process import Clients, echo_server, start_proxy, wait_until
from services.process import HOST, accepts, free_port

Connect = Callable[[int], socket.socket]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect to a port; closed when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(socket.create_connection((HOST, port), timeout=20))


def wait_until_refused(port: int) -> None:
    wait_until(lambda: not accepts(port), "the listener is closed")


def test_reloads_under_load_harm_no_connection(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream) as proxy, Clients(proxy.port) as clients:
        for times in range(1, 6):
            clients.made(50)
            proxy.signal(signal.SIGHUP)
            proxy.wait_for_log("the configuration was reloaded", times)
        clients.made(50)
    assert clients.errors == []


def test_a_reload_changes_where_new_connections_go_and_leaves_old_ones(tmp_path: Path, connect: Connect) -> None:
    with echo_server() as upstream, socket.create_server((HOST, 0)) as other, start_proxy(tmp_path, upstream) as proxy:
        old = connect(proxy.port)
        old.sendall(b"1")
        assert old.recv(1) == b"1"
        proxy.config.write_text(proxy.config.read_text().replace(str(upstream), str(other.getsockname()[1])))
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("reloaded")
        new = connect(proxy.port)
        accepted, _ = other.accept()
        with accepted:
            accepted.sendall(b"from the other")
        assert new.recv(100) == b"from the other"
        old.sendall(b"2")
        assert old.recv(1) == b"2"


def test_a_bad_file_is_refused_and_the_old_configuration_stays(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream) as proxy, Clients(proxy.port) as clients:
        good = proxy.config.read_text()
        proxy.config.write_text(good.replace('use = "tcp_proxy"', 'use = "tcp_prxy"'))
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("was not reloaded")
        proxy.wait_for_log("did you mean 'tcp_proxy'")
        clients.made(50)
        proxy.config.write_text(good)
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("the configuration was reloaded")
        clients.made(50)
    assert clients.errors == []


def test_a_reload_can_add_and_remove_listeners(tmp_path: Path, connect: Connect) -> None:
    second = free_port()
    with echo_server() as upstream, start_proxy(tmp_path, upstream) as proxy:
        good = proxy.config.read_text()
        more = f'[[listeners]]\naddress = "{HOST}:{second}"\nfilters = ["echo"]\n'
        proxy.config.write_text(good + more)
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: accepts(second), "the new listener accepts")
        kept = connect(second)
        proxy.config.write_text(good)
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("the configuration was reloaded", 2)
        assert not accepts(second)
        kept.sendall(b"still here")
        assert kept.recv(100) == b"still here"


def test_sigterm_lets_open_transfers_end(tmp_path: Path, connect: Connect) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream) as proxy:
        one = connect(proxy.port)
        one.sendall(b"1")
        assert one.recv(1) == b"1"
        proxy.signal(signal.SIGTERM)
        wait_until_refused(proxy.port)
        for _ in range(20):
            one.sendall(b"x" * 1000)
            assert one.recv(1000, socket.MSG_WAITALL) == b"x" * 1000
        one.close()
        assert proxy.process.wait(30) == 0


def test_the_drain_time_ends_what_does_not_end_by_itself(tmp_path: Path, connect: Connect) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream, top='drain_time = "200ms"') as proxy:
        one = connect(proxy.port)
        one.sendall(b"1")
        assert one.recv(1) == b"1"
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(30) == 0
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_a_second_signal_ends_the_drain(tmp_path: Path, connect: Connect) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream, top='drain_time = "1h"') as proxy:
        one = connect(proxy.port)
        one.sendall(b"1")
        assert one.recv(1) == b"1"
        proxy.signal(signal.SIGTERM)
        wait_until_refused(proxy.port)
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(30) == 0


def test_a_successor_takes_the_sockets_without_an_error_to_any_client(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream) as proxy, Clients(proxy.port, kept=0) as clients:
        clients.made(50)
        proxy.signal(signal.SIGUSR2)
        proxy.wait_for_log("serves; this one drains")
        clients.made(50)
        assert proxy.process.wait(30) == 0
        clients.made(50)
        (successor,) = proxy.successors()
        os.kill(successor, 0)
    assert clients.errors == []


def test_a_successor_that_fails_changes_nothing(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream) as proxy, Clients(proxy.port) as clients:
        proxy.config.write_text("listeners = 1")
        proxy.signal(signal.SIGUSR2)
        proxy.wait_for_log("this one goes on")
        clients.made(50)
    assert clients.errors == []


def test_systemd_hears_that_it_is_ready_and_gives_the_sockets(tmp_path: Path, connect: Connect) -> None:
    with (
        echo_server() as upstream,
        socket.create_server((HOST, 0)) as given,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        port = given.getsockname()[1]
        script = 'exec 3<&{fd}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" -m l4proxy tcp {listen} {upstream}'
        process = subprocess.Popen(
            [
                "bash",
                "-c",
                script.format(fd=given.fileno(), listen=f"{HOST}:{port}", upstream=f"{HOST}:{upstream}"),
                sys.executable,
            ],
            pass_fds=[given.fileno()],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"},
        )
        try:
            first = manager.recv(1000).decode().split("\n")
            assert first == ["READY=1", f"MAINPID={process.pid}"]
            assert manager.recv(1000) == b"WATCHDOG=1"
            with connect(port) as sock:
                sock.sendall(b"1")
                assert sock.recv(1) == b"1"
        finally:
            process.terminate()
            assert process.wait(30) == 0
        while (said := manager.recv(1000)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
