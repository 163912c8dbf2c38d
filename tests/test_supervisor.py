"""Several workers: they share an address, die, come back, reload and hand over."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from l4proxy.supervisor import Supervisor
from proxy_process import Clients, echo_server, start_proxy, wait_until
from services.process import HOST, accepts, free_port

TWO: Any = {"top": "workers = 2", "ready": "2 workers serve"}


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
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        with start_proxy(tmp_path, upstream, **TWO) as proxy:
            while (said := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert said == b"READY=1\nMAINPID=%d" % proxy.process.pid
            assert manager.recv(1000) == b"WATCHDOG=1"


def test_a_worker_that_starts_later_has_the_configuration_at_work_and_not_the_file(tmp_path: Path) -> None:
    with echo_server() as upstream, start_proxy(tmp_path, upstream, **TWO) as proxy:
        proxy.config.write_text("listeners = 1")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("the configuration was not reloaded, the old one stays")
        os.kill(proxy.processes()[0], signal.SIGKILL)
        wait_until(lambda: "started again" in proxy.log and len(proxy.processes()) == 2, "two workers again")
        with Clients(proxy.port, short=4, kept=0) as clients:
            clients.made(100)
        assert proxy.log.count("started again") == 1
        assert not any("refused" in error for error in clients.errors)


PICKY = """
import os
from l4proxy import Filter, NoConfig, hookimpl

class Picky(Filter[NoConfig]):
    \"\"\"Lets one worker have it, and no other.\"\"\"

    name = "picky"

    @classmethod
    def provision(cls, config, server):
        try:
            os.mkdir({flag!r})
        except FileExistsError:
            raise ValueError("one worker has it already") from None

@hookimpl
def register_filters(register):
    register(Picky)
"""


def test_what_one_worker_refuses_is_at_work_in_none(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "picky.py").write_text(PICKY.format(flag=str(tmp_path / "taken")))
    plugins = ("--plugin-dir", str(tmp_path / "plugins"))
    port = free_port()
    with echo_server() as upstream, start_proxy(tmp_path, upstream, options=plugins, **TWO) as proxy:
        second = f'[[listeners]]\naddress = "{HOST}:{port}"\nfilters = ["picky", "echo"]\n'
        proxy.config.write_text(proxy.config.read_text() + second)
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("one worker has it already")
        proxy.wait_for_log("the configuration was not reloaded, the old one stays")
        assert not accepts(port)
        with Clients(proxy.port, kept=0) as clients:
            clients.made(100)
        assert clients.errors == []


def bound(family: int, host: str) -> socket.socket:
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, 0))
    return sock


def test_each_worker_inherits_a_socket_of_every_address() -> None:
    """``:port`` is bound to two addresses. By position one worker would have all of one of them."""
    four, six = bound(socket.AF_INET, "127.0.0.1"), bound(socket.AF_INET6, "::1")
    with four, six:
        copies = [sock.dup() for sock in (four, six, four, six)]
        config: Any = SimpleNamespace(workers=2, admin=None)
        supervisor = Supervisor(cast(Any, None), "", config, {":80": copies})
        dealt = [slot.store.inherited[":80"] for slot in supervisor._slots]
        assert dealt == [copies[:2], copies[2:]]
        for sock in copies:
            sock.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_handover_only_the_successor_speaks_to_the_service_manager(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with echo_server() as upstream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with start_proxy(tmp_path, upstream, top=f"workers = {workers}") as proxy:
            assert manager.recv(1000) == b"READY=1\nMAINPID=%d" % proxy.process.pid
            proxy.signal(signal.SIGUSR2)
            assert proxy.process.wait(30) == 0
            (successor,) = proxy.successors()
            assert manager.recv(1000) == b"READY=1\nMAINPID=%d" % successor
            os.kill(successor, signal.SIGTERM)
            assert manager.recv(1000) == b"STOPPING=1"
