from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from collections.abc import Iterator

import pytest

from l4proxy import logging_setup
from l4proxy.access_log import writer as writer_module
from l4proxy.access_log.writer import LineWriter, piece_size, wait_for_last_lines, write_lines


class Outlet:
    """Records what is asked of it. ``gate`` holds up writing while it is closed; ``fail`` makes everything raise.
    ``entered`` and ``failed`` say that it has come to that."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.failed = threading.Event()
        self.fail = False

    def write(self, lines: list[bytes]) -> None:
        self.entered.set()
        self.gate.wait()
        self._check()
        self.log.append(lines)

    def _check(self) -> None:
        if self.fail:
            self.failed.set()
            raise OSError(28, "No space left on device")

    def reopen(self) -> None:
        self._check()
        self.log.append("reopen")

    def close(self) -> None:
        self.log.append("close")

    @property
    def lines(self) -> list[bytes]:
        return [line for entry in self.log if isinstance(entry, list) for line in entry]


class Setting:
    def __init__(self, *, capacity: int = 1000, interval: float = 0) -> None:
        self.outlet = Outlet()
        self.losses: list[tuple[str, int]] = []
        self.writer = LineWriter(
            "test log",
            self.outlet,
            capacity=capacity,
            interval=interval,
            on_dropped=lambda reason, lines: self.losses.append((reason, lines)),
        )

    def get_stuck(self, line: bytes = b"line\n") -> None:
        """In writing this."""
        self.outlet.gate.clear()
        self.writer.put(line)
        self.outlet.entered.wait()

    def close_and_wait(self) -> None:
        self.outlet.gate.set()
        self.writer.close()
        assert self.writer._thread is not None
        self.writer._thread.join()
        assert self.writer not in writer_module._closing


@pytest.fixture
def setting() -> Iterator[Setting]:
    logging_setup._last_said.clear()
    setting = Setting()
    yield setting
    setting.outlet.gate.set()


def test_lines_are_written_in_order_and_the_outlet_is_closed(setting: Setting) -> None:
    lines = [b"%d\n" % number for number in range(100)]
    for line in lines:
        setting.writer.put(line)
    setting.close_and_wait()
    assert setting.outlet.lines == lines
    assert setting.outlet.log[-1] == "close"
    assert not setting.losses


def test_lines_of_an_interval_are_written_together() -> None:
    setting = Setting(interval=60)
    for number in range(10):
        setting.writer.put(b"%d\n" % number)
    setting.close_and_wait()
    assert len(setting.outlet.log) == 2
    assert len(setting.outlet.lines) == 10


def test_a_queue_that_is_half_full_does_not_wait_for_the_interval() -> None:
    setting = Setting(interval=3600)
    setting.writer.put(b"x" * 400)
    assert not setting.outlet.entered.is_set()
    setting.writer.put(b"y" * 200)
    setting.outlet.entered.wait()
    setting.close_and_wait()
    assert [line[:1] for line in setting.outlet.lines] == [b"x", b"y"]


def test_what_does_not_fit_is_dropped_and_counted(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.outlet.gate.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(15):
            setting.writer.put(b"x" * 100)
    setting.close_and_wait()
    assert len(setting.outlet.lines) == 10
    assert setting.losses == [("full", 1)] * 5
    assert caplog.messages == ["test log does not keep up, lines are dropped (1 times)"]


def test_lines_that_are_being_written_still_take_room_and_then_give_it_back(setting: Setting) -> None:
    setting.get_stuck(b"x" * 900)
    setting.writer.put(b"y" * 200)
    assert setting.losses == [("full", 1)]
    setting.close_and_wait()
    setting.writer._write_waiting()
    setting.writer.put(b"z" * 1000)
    assert setting.losses == [("full", 1)]


def test_a_failed_write_loses_its_lines_and_no_more(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.outlet.fail = True
    setting.writer.put(b"lost\n")
    setting.outlet.failed.wait()
    setting.outlet.fail = False
    setting.writer.put(b"kept\n")
    setting.close_and_wait()
    assert setting.losses == [("error", 1)]
    assert setting.outlet.lines == [b"kept\n"]
    assert "test log: [Errno 28] No space left on device" in caplog.text


def test_reopening_comes_before_the_lines_that_wait(setting: Setting) -> None:
    setting.get_stuck(b"old\n")
    setting.writer.reopen()
    setting.writer.put(b"new\n")
    setting.close_and_wait()
    assert setting.outlet.log == [[b"old\n"], "reopen", [b"new\n"], "close"]


def test_a_failed_reopening_is_logged_and_writing_goes_on(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.outlet.fail = True
    setting.writer.reopen()
    setting.outlet.failed.wait()
    setting.outlet.fail = False
    setting.writer.put(b"line\n")
    setting.close_and_wait()
    assert setting.outlet.log == [[b"line\n"], "close"]
    assert "No space left" in caplog.text


def test_there_is_no_thread_before_there_is_a_line(setting: Setting) -> None:
    assert setting.writer._thread is None


def test_a_writer_without_lines_closes_its_outlet(setting: Setting) -> None:
    setting.close_and_wait()
    assert setting.outlet.log == ["close"]


def test_closing_waits_for_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop does it, on a reload."""
    monkeypatch.setattr(writer_module, "CLOSE_PATIENCE", 3600)
    setting.get_stuck()
    setting.writer.close()
    assert setting.outlet.log == []
    setting.outlet.gate.set()
    asyncio.run(wait_for_last_lines())
    assert setting.outlet.log == [[b"line\n"], "close"]


def test_an_outlet_that_is_stuck_is_not_waited_for(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "CLOSE_PATIENCE", 0.001)
    setting.get_stuck()
    setting.writer.close()
    asyncio.run(wait_for_last_lines())
    assert setting.outlet.log == []
    setting.close_and_wait()
    assert setting.outlet.log == [[b"line\n"], "close"]


def test_a_thread_that_comes_late_is_waited_for(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that is busy."""
    monkeypatch.setattr(writer_module, "CLOSE_PATIENCE", 0.001)
    begin, run = threading.Event(), setting.writer._run

    def run_late() -> None:
        begin.wait()
        run()

    monkeypatch.setattr(setting.writer, "_run", run_late)
    setting.writer.put(b"line\n")
    threading.Timer(0.1, begin.set).start()
    setting.writer.close()
    setting.writer.wait()
    assert setting.outlet.log == [[b"line\n"], "close"]


def test_flushing_waits_until_all_is_written(setting: Setting) -> None:
    setting.writer.flush()
    setting.outlet.gate.clear()
    for _ in range(3):
        setting.writer.put(b"line\n")
    threading.Timer(0.05, setting.outlet.gate.set).start()
    setting.writer.flush()
    assert setting.outlet.lines == [b"line\n"] * 3
    assert setting.writer.waiting == 0
    setting.close_and_wait()


def test_flushing_does_not_wait_for_an_outlet_that_is_stuck(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "CLOSE_PATIENCE", 0.001)
    setting.get_stuck()
    setting.writer.flush()
    assert setting.writer.waiting == 5
    setting.close_and_wait()


def test_whole_lines_are_joined_as_long_as_there_is_room() -> None:
    lines = [b"%04d\n" % number * 100 for number in range(50)]
    pieces = list(writer_module._pieces(lines, select.PIPE_BUF))
    assert b"".join(pieces) == b"".join(lines)
    assert all(len(piece) <= select.PIPE_BUF and len(piece) % 500 == 0 for piece in pieces)
    assert list(writer_module._pieces([b"x" * 9000, b"y"], 4096)) == [b"x" * 9000, b"y"]


def test_a_nonblocking_output_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    received = bytearray()

    def read_all() -> None:
        while chunk := os.read(reader, 4096):
            received.extend(chunk)

    thread = threading.Thread(target=read_all)
    thread.start()
    data = bytes(range(256)) * 4096
    write_lines(writer, [data], piece_size(writer))
    os.close(writer)
    thread.join()
    os.close(reader)
    assert received == data
