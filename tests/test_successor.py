"""Starting a successor: a small program that stands in for the next version of ours."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import run
from l4proxy import process, successor
from l4proxy.successor import READY_PIPE, announce_ready, start_successor
from streams import open_descriptors

READY = """
import os, socket, sys, time
from l4proxy.handoff import sockets_from_environment
from l4proxy.successor import announce_ready
(name, (sock,)), = sockets_from_environment().items()
with open(sys.argv[1], "w") as told:
    print(os.getpid(), name, sock.getsockname()[1], os.environ.get("WATCHDOG_PID"), file=told)
announce_ready()
time.sleep(60)
"""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


def start(script: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> bool:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    monkeypatch.setattr(process, "own_command", lambda: command)
    return run(lambda: start_successor({":80": [listening]}))


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_successor_that_serves_has_our_sockets(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert start(READY, listening, monkeypatch, tmp_path / "told")
    pid, name, port, watchdog = (tmp_path / "told").read_text().split()
    os.kill(int(pid), signal.SIGKILL)
    os.waitpid(int(pid), 0)
    assert (name, int(port)) == (":80", listening.getsockname()[1])
    assert watchdog == "None", "the service manager's watchdog is for whoever serves"


@pytest.mark.parametrize("script", ["", "raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_one_that_ends_without_a_word_changes_nothing(
    script: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert not start(script, listening, monkeypatch)
    assert "did not become ready; this one goes on" in caplog.text


def test_one_that_takes_too_long_is_ended(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(successor, "START_TIMEOUT", 0.05)
    assert not start("import time; time.sleep(60)", listening, monkeypatch)
    assert "did not become ready; this one goes on" in caplog.text


def test_one_that_cannot_be_started(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "own_command", lambda: ["/no/such/program"])
    assert not run(lambda: start_successor({":80": [listening]}))
    assert "no successor could be started: [Errno 2] No such file or directory" in caplog.text


def test_saying_that_we_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    reading, writing = os.pipe()
    monkeypatch.setenv(READY_PIPE, str(writing))
    announce_ready()
    assert READY_PIPE not in os.environ
    assert os.read(reading, 10) == b"1"
    assert os.read(reading, 10) == b""
    os.close(reading)
    announce_ready()


def test_a_predecessor_that_is_gone_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setenv(READY_PIPE, str(writing))
    announce_ready()
