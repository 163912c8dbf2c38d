"""The process's own log where standard error is read late, or by nobody."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from l4proxy import background_log
from l4proxy.access_log import writer as writer_module
from l4proxy.background_log import BackgroundHandler
from proxy_process import Clients, wait_until
from services.process import HOST, accepts, free_port


class Pipe:
    """Both ends of one, and a stream that writes to it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.stream: TextIO = os.fdopen(self.writing, "w", encoding="ascii")
        self.read = b""

    def fill(self) -> None:
        os.set_blocking(self.writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"." * select.PIPE_BUF)
        os.set_blocking(self.writing, True)

    def text(self) -> str:
        """All that has come, without what ``fill`` has put there."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.reading, 1 << 20):
                self.read += data
        return self.read.replace(b".", b"").decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()
    os.close(made.reading)


def say(handler: BackgroundHandler, text: object) -> None:
    handler.handle(logging.LogRecord("l4proxy", logging.INFO, __file__, 0, "%s", (text,), None))


def test_lines_come_in_order_and_flushing_waits_for_them(pipe: Pipe) -> None:
    handler = BackgroundHandler(pipe.stream)
    for number in range(100):
        say(handler, number)
    say(handler, "né")
    handler.flush()
    assert pipe.text().split() == [*map(str, range(100)), "n\\xe9"]
    assert handler.lost == 0


def test_what_nobody_reads_is_dropped_and_told_of(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_log, "CAPACITY", 4000)
    pipe.fill()
    handler = BackgroundHandler(pipe.stream)
    for number in range(1000):
        say(handler, f"{number:09}")
    assert handler.lost == 600
    wait_until(lambda: "399" in pipe.text(), "what has been waiting is written")
    handler.flush()
    say(handler, "again")
    handler.flush()
    *lines, notice, last = pipe.text().splitlines()
    assert (len(lines), last) == (400, "again")
    assert notice == "600 lines above are missing: they were not read in time"
    assert handler.lost == 600


def test_who_has_left_is_not_told(pipe: Pipe) -> None:
    handler = BackgroundHandler(pipe.stream)
    os.close(pipe.reading)
    for number in range(5):
        say(handler, number)
    handler.flush()
    assert handler.lost == 5
    pipe.reading = os.open(os.devnull, os.O_RDONLY)


def test_a_stream_that_was_closed_gets_nothing(pipe: Pipe) -> None:
    handler = BackgroundHandler(pipe.stream)
    pipe.stream.close()
    say(handler, "lost")
    handler.flush()
    assert handler.lost == 1


def test_flushing_does_not_wait_for_a_reader_that_is_stuck(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "CLOSE_PATIENCE", 0.001)
    pipe.fill()
    handler = BackgroundHandler(pipe.stream)
    say(handler, "later")
    handler.flush()
    wait_until(lambda: pipe.text() == "later\n", "it is written all the same")


def test_traffic_goes_on_while_nobody_reads_standard_error(tmp_path: Path, pipe: Pipe) -> None:
    """From the first line on; and the process ends when it is told to."""
    port = free_port()
    config = tmp_path / "proxy.toml"
    config.write_text(f'[[listeners]]\naddress = "{HOST}:{port}"\nfilters = ["echo"]\n')
    pipe.fill()
    process = subprocess.Popen([sys.executable, "-m", "l4proxy", "run", str(config)], stderr=pipe.writing)
    try:
        wait_until(lambda: accepts(port), "it serves")
        with Clients(port) as clients:
            clients.made(50)
            process.send_signal(signal.SIGHUP)
            clients.made(50)
            wait_until(lambda: "configuration" in pipe.text(), "the log tells of the reload")
            pipe.fill()
            process.send_signal(signal.SIGHUP)
            clients.made(50)
        assert not clients.errors
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert re.search(r"listening on .*\n.*configuration", pipe.text())


CRASHING = """
import logging
from l4proxy import hookimpl

@hookimpl
def startup(server):
    for number in range(300):
        logging.getLogger("l4proxy.crashing").warning("line %d", number)
    raise RuntimeError("that was it")
"""


def test_what_a_process_says_last_comes_behind_its_log(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    argv = [sys.executable, "-m", "l4proxy", "--plugin-dir", str(tmp_path), "tcp", f"{HOST}:0", f"{HOST}:1"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    lines = said.stderr.splitlines()
    at = next(at for at, line in enumerate(lines) if line.endswith("line 0"))
    assert [line.rsplit(" ", 1)[1] for line in lines[at : at + 300]] == [*map(str, range(300))]
    assert "that was it" in said.stderr.split("line 299\n")[1]
    assert said.returncode
