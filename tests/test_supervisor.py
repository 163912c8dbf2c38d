"""Several workers: they share an address, die, come back, reload and hand over."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from proxy_process import Clients, echo_server, start_proxy, wait_until

TWO = {"top": "workers = 2", "ready": "2 workers serve"}


def test_a_killed_worker_costs_only_its_own_connections(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream, **TWO) as proxy:
        before = proxy.processes()
        assert len(before) == 2
        with Clients(proxy.port, short=6, kept=0) as clients:
            clients.made(50)
            os.kill(before[0], signal.SIGKILL)
            proxy.wait_for_log("was killed by SIGKILL; it is started again")
            wait_until(lambda: len(proxy.processes()) == 2, "two workers again")
            clients.made(300)
    assert len(clients.errors) <= 6, "no more than one exchange per client was under way"
    assert not any("refused" in error for error in clients.errors)


def test_reloads_under_load_harm_no_connection(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream, **TWO) as proxy, Clients(proxy.port) as clients:
        for times in range(1, 4):
            clients.made(50)
            proxy.signal(signal.SIGHUP)
            proxy.wait_for_log("the configuration was reloaded", times)
        clients.made(50)
    assert clients.errors == []


def test_a_reload_brings_new_listeners_to_every_worker(tmp_path: Path) -> None:
    from services.process import HOST, accepts, free_port

    second = free_port()
    with echo_server() as upstream, start_proxy(tmp_path, upstream, **TWO) as proxy:
        proxy.config.write_text(
            proxy.config.read_text() + f'[[listeners]]\naddress = "{HOST}:{second}"\nfilters = ["echo"]\n'
        )
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("the configuration was reloaded")
        assert accepts(second)
        with Clients(second, short=4, kept=0) as clients:
            clients.made(20)
            os.kill(proxy.processes()[0], signal.SIGKILL)
            wait_until(lambda: "started again" in proxy.log and len(proxy.processes()) == 2, "two workers again")
            clients.made(200)
    assert len(clients.errors) <= 4
    assert not any("refused" in error for error in clients.errors)


def test_a_successor_takes_over_from_all_workers(tmp_path: Path) -> None:
    with (
        echo_server() as upstream,
        start_proxy(tmp_path, upstream, **TWO) as proxy,
        Clients(proxy.port, kept=0) as clients,
    ):
        clients.made(50)
        proxy.signal(signal.SIGUSR2)
        proxy.wait_for_log("serves; this one drains")
        assert proxy.process.wait(30) == 0
        clients.made(100)
    assert clients.errors == []


def test_sigterm_ends_everything(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream, **TWO) as proxy:
        workers = proxy.processes()
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_the_supervisor_feeds_the_service_managers_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with echo_server() as upstream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with start_proxy(tmp_path, upstream, **TWO) as proxy:
            while (said := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert said == b"READY=1\nMAINPID=%d" % proxy.process.pid
            assert manager.recv(1000) == b"WATCHDOG=1"
