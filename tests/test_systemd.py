"""What a service manager hears, and what it asks."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path

import pytest

from l4proxy.systemd import feed_watchdog, notify, reloading, silence, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_states_come_in_one_message(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@l4proxy-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.setblocking(False)
        notify("READY=1", "MAINPID=7")
        assert manager.recv(100) == b"READY=1\nMAINPID=7"


@pytest.mark.parametrize("name", [None, "", "/nobody/listens", "vsock:2:1"])
def test_no_manager_is_no_reason_to_stop(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if name is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")


def test_a_manager_that_does_not_read_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        for _ in range(2000):
            notify("STATUS=" + "x" * 1000)


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("", "", 0.0),
        ("0", "", 0.0),
        ("30000000", "", 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "1", 0.0),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    usec: str, pid: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)
    assert watchdog_interval() == seconds


def test_it_is_fed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.setblocking(False)
            feeding = asyncio.create_task(feed_watchdog())
            for _ in range(3):
                assert await asyncio.get_running_loop().sock_recv(manager, 100) == b"WATCHDOG=1"
            feeding.cancel()

    asyncio.run(main())


def test_where_nobody_watches_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    asyncio.run(feed_watchdog())


def test_a_reload_has_a_beginning_and_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        with pytest.raises(ValueError, match="bad"), reloading():
            raise ValueError("bad")
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(100))
        assert manager.recv(100) == b"READY=1"
        silence()
        notify("STOPPING=1")
        with pytest.raises(BlockingIOError):
            manager.recv(100)
