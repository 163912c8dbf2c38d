"""The admin interface of real processes: one, a supervisor with two workers, a successor."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from admin_client import HOST, Reply, request
from proxy_process import Clients, ProxyProcess, echo_server, start_proxy, wait_until
from services.process import accepts, free_port, running

SLEEPY = """
import time
from l4proxy import Filter, NoConfig, hookimpl

class Sleepy(Filter[NoConfig]):
    name = "sleepy"

    def on_client_data(self, data):
        time.sleep(0.8)
        return data

@hookimpl
def register_filters(register):
    register(Sleepy)
"""
ACCEPTED = 'l4proxy_listener_connections_total{listener="l"}'


class Admin:
    def __init__(self, proxy: ProxyProcess, port: int) -> None:
        self.proxy = proxy
        self.port = port

    def get(self, path: str, **headers: str) -> Reply:
        return request(self.port, "GET", path, **headers)

    def post(self, path: str, **headers: str) -> Reply:
        return request(self.port, "POST", path, **headers)

    def number(self, series: str) -> float:
        """One statistic's value; 0 while there is none."""
        lines = dict(line.rsplit(": ", 1) for line in self.get("/stats").text.splitlines())
        return float(lines.get(series, "0"))

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/server_info?format=json").data["workers"]
        return found


@contextmanager
def administered(directory: Path, top: str = "", **options: Any) -> Iterator[Admin]:
    port = free_port()
    top = f'{top}\n[admin]\naddress = "{HOST}:{port}"\n'
    with echo_server() as upstream, start_proxy(directory, upstream, top=top, **options) as proxy:
        yield Admin(proxy, port)


@contextmanager
def two_workers(directory: Path) -> Iterator[Admin]:
    with administered(directory, "workers = 2", ready="2 workers serve") as admin:
        yield admin


def connect(port: int, times: int) -> list[socket.socket]:
    """Connections that have been served."""
    sockets = [socket.create_connection((HOST, port), timeout=20) for _ in range(times)]
    for sock in sockets:
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
    return sockets


def test_two_workers_are_shown_as_one(tmp_path: Path) -> None:
    with two_workers(tmp_path) as admin:
        before = admin.number(ACCEPTED)
        sockets = connect(admin.proxy.port, 40)
        assert {one["pid"] for one in admin.workers()} == set(admin.proxy.processes())
        assert sum(one["connections"] for one in admin.workers()) == 40
        rows = admin.get("/connections?format=json").data["connections"]
        ports = {f"{HOST}:{sock.getsockname()[1]}" for sock in sockets}
        assert {row["client"] for row in rows} == ports
        assert {row["worker"] for row in rows} == {0, 1}
        (listener,) = admin.get("/listeners?format=json").data["listeners"]
        assert (listener["connections"], listener["bytes_received_total"]) == (40, 200)
        (cluster,) = admin.get("/clusters?format=json").data["clusters"]
        assert (cluster["connections"], cluster["endpoints"][0]["connections"]) == (40, 40)
        assert admin.number(ACCEPTED) == before + 40
        assert admin.number("l4proxy_supervisor_workers") == 2
        assert admin.get("/config_dump").data["workers"] == 2
        one = rows[0]
        assert admin.post(f"/connections/{one['id']}/close?worker={one['worker']}").status == 200
        wait_until(lambda: admin.number("l4proxy_server_connections_active") == 39, "one connection less")
        for sock in sockets:
            sock.close()


def test_a_killed_workers_counts_stay_and_its_successor_knows_what_was_changed(tmp_path: Path) -> None:
    with two_workers(tmp_path) as admin:
        sockets = connect(admin.proxy.port, 30)
        before = admin.number(ACCEPTED)
        assert before >= 30
        assert admin.post("/logging?l4proxy.filter.other=debug").status == 200
        victim = admin.workers()[0]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(admin.workers()) == 2 and victim not in [one["pid"] for one in admin.workers()], "two")
        assert admin.number(ACCEPTED) == before
        assert admin.number("l4proxy_supervisor_worker_restarts_total") == 1
        loggers = admin.get("/logging?format=json").data["loggers"]
        assert loggers["l4proxy.filter.other"] == "debug", "all workers agree"
        for sock in [*sockets, *connect(admin.proxy.port, 5)]:
            sock.close()
        assert admin.number(ACCEPTED) == before + 5


def test_a_worker_that_hangs_is_left_out(tmp_path: Path) -> None:
    with two_workers(tmp_path) as admin:
        for sock in connect(admin.proxy.port, 20):
            sock.close()
        total = admin.number(ACCEPTED)
        hung = admin.workers()[1]["pid"]
        os.kill(hung, signal.SIGSTOP)
        try:
            assert admin.get("/ready").text == "LIVE\n"
            with ThreadPoolExecutor() as pool:
                page, later = pool.submit(admin.get, "/server_info"), pool.submit(admin.number, ACCEPTED)
                assert page.result().text.endswith("# 1 of 2 workers did not answer\n")
                assert later.result() == total
        finally:
            os.kill(hung, signal.SIGCONT)


def test_draining_all_workers(tmp_path: Path) -> None:
    with two_workers(tmp_path) as admin:
        (sock,) = connect(admin.proxy.port, 1)
        assert admin.post("/drain_listeners").status == 200
        assert (admin.get("/ready").status, admin.get("/ready").text) == (503, "DRAINING\n")
        assert not accepts(admin.proxy.port)
        sock.sendall(b"still")
        assert sock.recv(5) == b"still"
        assert admin.post("/reload").status == 409
        empty = next(one["pid"] for one in admin.workers() if not one["connections"])
        os.kill(empty, signal.SIGKILL)
        wait_until(lambda: len(admin.workers()) == 1, "one worker")
        assert not accepts(admin.proxy.port), "no worker was started that would listen again"
        sock.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_reload_takes_over_the_admin_interface_too(tmp_path: Path, workers: int) -> None:
    ready = "2 workers serve" if workers == 2 else "listening on"
    with administered(tmp_path, f"workers = {workers}", ready=ready) as admin:
        config = admin.proxy.config
        before = config.read_text()
        config.write_text(before.replace("[admin]", "[admin]\ntoken = 7"))
        reply = admin.post("/reload")
        assert reply.status == 409
        assert "admin.token" in reply.text
        config.write_text(before.replace("[admin]", '[admin]\ntoken = "s3cret"'))
        assert admin.post("/reload").text == "the configuration was reloaded\n"
        assert admin.get("/ready").status == 401
        assert admin.get("/ready", Authorization="Bearer s3cret").status == 200
        config.write_text(before.replace("[admin]", "[no_admin]").split("[no_admin]")[0] + before[before.index("[[") :])
        assert admin.post("/reload", Authorization="Bearer s3cret").status == 200
        wait_until(lambda: not accepts(admin.port), "no admin interface any more")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_admin_address_that_is_taken_leaves_the_old_one(tmp_path: Path, workers: int) -> None:
    ready = "2 workers serve" if workers == 2 else "listening on"
    with (
        administered(tmp_path, f"workers = {workers}", ready=ready) as admin,
        socket.create_server((HOST, 0)) as taken,
    ):
        config = admin.proxy.config
        config.write_text(config.read_text().replace(f":{admin.port}", f":{taken.getsockname()[1]}"))
        reply = admin.post("/reload")
        assert reply.status == 409
        assert "admin.address: cannot listen on" in reply.text
        admin.proxy.wait_for_log("admin.address: cannot listen on")
        assert admin.get("/ready").text == "LIVE\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_quitting(tmp_path: Path, workers: int) -> None:
    ready = "2 workers serve" if workers == 2 else "listening on"
    with administered(tmp_path, f"workers = {workers}", ready=ready) as admin:
        (sock,) = connect(admin.proxy.port, 1)
        assert admin.post("/quitquitquit").text == "the process drains and ends\n"
        wait_until(lambda: admin.get("/ready").text == "DRAINING\n", "draining")
        sock.close()
        assert admin.proxy.process.wait(30) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_successor_takes_over_the_admin_interface(tmp_path: Path, workers: int) -> None:
    ready = "2 workers serve" if workers == 2 else "listening on"
    with (
        administered(tmp_path, f"workers = {workers}", ready=ready) as admin,
        Clients(admin.proxy.port, kept=0) as load,
    ):
        before = {one["pid"] for one in admin.workers()}
        admin.proxy.signal(signal.SIGUSR2)
        wait_until(lambda: before.isdisjoint({one["pid"] for one in admin.workers()}), "the successor answers")
        assert admin.proxy.process.wait(30) == 0
        assert admin.get("/ready").text == "LIVE\n"
        load.made(20)
    assert load.errors == []


def test_a_filter_that_blocks_the_loop_is_named(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "sleepy.py").write_text(SLEEPY)
    port, admin_port = free_port(), free_port()
    config, log = tmp_path / "proxy.toml", tmp_path / "proxy.log"
    config.write_text(
        f'slow_callback = "200ms"\n[admin]\naddress = "{HOST}:{admin_port}"\n'
        f'[[listeners]]\nname = "l"\naddress = "{HOST}:{port}"\nfilters = ["sleepy", "echo"]\n'
    )
    argv = [sys.executable, "-m", "l4proxy", "--plugin-dir", str(tmp_path / "plugins"), "run", str(config)]
    with running(argv, log=log, ready=lambda: accepts(port) and accepts(admin_port)):
        for sock in connect(port, 1):
            sock.close()
        lines = request(admin_port, "GET", "/stats?filter=blocked_total").text.splitlines()
        assert 'l4proxy_filter_blocked_total{filter="sleepy"}: 1' in lines
        assert 'l4proxy_filter_blocked_total{filter="echo"}: 0' in lines
        assert "l4proxy_event_loop_blocked_total: 1" in lines
    text = log.read_text()
    assert "filter sleepy (" in text
    assert "sleepy.py:9 in on_client_data) keeps it busy, and all connections wait" in text
    assert "time.sleep(0.8)" in text


def test_nothing_of_it_is_imported_where_it_is_not_asked_for() -> None:
    script = "import sys, l4proxy.worker, l4proxy.supervisor, l4proxy.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    names = {name for name in done.stdout.split() if name.startswith(("l4proxy.admin.", "l4proxy.describe"))}
    assert names == set()
