from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l4proxy.access_log import writer as writer_module
from l4proxy.access_log.select import When
from l4proxy.config import load_mapping
from l4proxy.config.types import Duration, FilePath, Percent, Size
from l4proxy.errors import ConfigError
from l4proxy.plugins import access_log_file
from l4proxy.plugins.access_log_file import FileAccessLog, FileAccessLogConfig, LogFile
from l4proxy.reason import CloseReason
from l4proxy.server import Server, serve
from proxying import exchange
from records import REFUSED, record

AT_ONCE = Duration(0.0)


def close_and_wait(log: FileAccessLog) -> None:
    log.close()
    assert log._writer._thread is not None
    log._writer._thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def make(path: Path) -> Callable[..., FileAccessLog]:
    def make(**options: Any) -> FileAccessLog:
        return FileAccessLog(FileAccessLogConfig(**{"path": str(path), "flush_interval": AT_ONCE, **options}))

    return make


def test_lines_are_appended_in_order(make: Callable[..., FileAccessLog], path: Path) -> None:
    path.write_text("from before\n")
    log = make(format="%CONNECTION_ID%")
    for number in range(1, 501):
        log.log(record(connection_id=number))
    close_and_wait(log)
    assert path.read_text() == "from before\n" + "".join(f"{number}\n" for number in range(1, 501))


def test_a_new_file_is_not_for_everybody(make: Callable[..., FileAccessLog], path: Path) -> None:
    close_and_wait(make())
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0


def test_json_lines(make: Callable[..., FileAccessLog], path: Path) -> None:
    log = make(format={"id": "%CONNECTION_ID%", "from": {"client": "%BYTES_RECEIVED%"}})
    log.log(record())
    log.log(record(connection_id=8))
    close_and_wait(log)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"id": 7, "from": {"client": 120}},
        {"id": 8, "from": {"client": 120}},
    ]


def test_only_what_is_wanted_is_written(make: Callable[..., FileAccessLog], path: Path) -> None:
    log = make(format="%CONNECTION_ID%", when=When(errors_only=True))
    log.log(record(connection_id=1))
    log.log(record(connection_id=2, reason=REFUSED))
    close_and_wait(log)
    assert path.read_text() == "2\n"


def test_nothing_is_written_at_0_percent(make: Callable[..., FileAccessLog], path: Path) -> None:
    log = make(when=When(sample=Percent(0.0)))
    log.log(record())
    close_and_wait(log)
    assert path.read_text() == ""


def test_a_file_that_was_moved_away_is_opened_again(make: Callable[..., FileAccessLog], path: Path) -> None:
    log = make(format="%CONNECTION_ID%")
    log.log(record(connection_id=1))
    moved = path.with_suffix(".1")
    path.rename(moved)
    log.reopen()
    log.log(record(connection_id=2))
    close_and_wait(log)
    assert sorted((moved.read_text() + path.read_text()).split()) == ["1", "2"]
    assert path.read_text().endswith("2\n")


def test_what_the_file_does_not_take_is_dropped_and_counted(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    options = {"path": FilePath(str(fifo)), "flush_interval": AT_ONCE, "buffer": Size(8192)}
    log = FileAccessLog(FileAccessLogConfig(format="%FILTER_STATE(pad)%", **options))  # type: ignore[arg-type]
    for _ in range(100):
        log.log(record(state={"pad": "x" * 1999}))
    dropped = log.stats.dropped_total["full"]
    os.set_blocking(reader, True)
    received = 0
    while received < (100 - dropped) * 2000:
        received += len(os.read(reader, 65536))
    close_and_wait(log)
    os.close(reader)
    assert 0 < dropped < 100
    assert received == (100 - dropped) * 2000


def test_a_pipe_gets_whole_lines_in_pieces_that_are_never_mixed(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(fifo))
    assert file._piece == select.PIPE_BUF
    file.close()
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "why"), [("missing/a.log", "there is no folder /.*/missing$"), ("", "Is a directory")]
)
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str, why: str) -> None:
    path = str(tmp_path / name)
    for refuse in (FileAccessLog, FileAccessLog.check):
        with pytest.raises(ValueError, match=f"^path: cannot open {path}: {why}"):
            refuse(FileAccessLogConfig(path=FilePath(path)))
    assert not os.listdir(tmp_path)


def test_a_file_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FileAccessLog.check(FileAccessLogConfig(path=FilePath(str(tmp_path / "a.log"))))
    FileAccessLog.check(FileAccessLogConfig())
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as root, everything may be written
    with pytest.raises(ValueError, match=r"a\.log: Permission denied"):
        FileAccessLog.check(FileAccessLogConfig(path=FilePath(str(tmp_path / "a.log"))))


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="No such device or address"):
        LogFile(str(tmp_path / "pipe"))


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.fixture
def standard_output(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    reader, writer = os.pipe()
    monkeypatch.setattr(access_log_file, "STANDARD_OUTPUT", writer)
    yield reader
    os.close(reader)
    os.close(writer)


def test_standard_output_is_plain_unless_it_is_a_terminal(standard_output: int) -> None:
    log = FileAccessLog(FileAccessLogConfig(format="%CONNECTION_ID%", flush_interval=AT_ONCE))
    log.log(record(reason=REFUSED))
    log.reopen()
    close_and_wait(log)
    assert os.read(standard_output, 1000) == b"7\n"


def test_a_terminal_shows_failures_in_red(standard_output: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    log = FileAccessLog(FileAccessLogConfig(format="%CONNECTION_ID%", flush_interval=AT_ONCE))
    log.log(record(connection_id=1))
    log.log(record(connection_id=2, reason=REFUSED))
    log.log(record(connection_id=3, reason=CloseReason("proxy", "relay", "idle_timeout")))
    close_and_wait(log)
    assert os.read(standard_output, 1000) == b"1\n\x1b[31m2\x1b[0m\n\x1b[33m3\x1b[0m\n"


def test_json_has_no_colour(standard_output: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    log = FileAccessLog(FileAccessLogConfig(format={"id": "%CONNECTION_ID%"}, flush_interval=AT_ONCE))
    log.log(record(reason=REFUSED))
    close_and_wait(log)
    assert os.read(standard_output, 1000) == b'{"id":7}\n'


LISTENER = {"name": "web", "address": "127.0.0.1:0", "filters": ["echo"]}


async def say_hello(server: Server) -> None:
    (address,) = server.addresses["web"]
    assert await exchange(address.port, b"hello") == b"hello"


def test_a_server_logs_its_connections_and_counts_them(path: Path) -> None:
    async def main() -> None:
        log = {"use": "file", "path": str(path), "format": "%LISTENER_NAME% %BYTES_SENT% %RESPONSE_FLAGS%"}
        async with serve({"listeners": [LISTENER], "access_log": [log]}) as server:
            await say_hello(server)
        samples = server.stats.snapshot()["l4proxy_access_log_records_total"]["samples"]
        assert samples == [{"labels": ["file"], "value": 1}]

    asyncio.run(main())
    assert path.read_text() == "web 5 -\n"


def test_a_reload_does_not_wait_for_a_log_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "CLOSE_PATIENCE", 3600)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    filling = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)

    async def main() -> None:
        log = {"use": "file", "path": str(pipe), "format": "%BYTES_SENT%", "flush_interval": "0s"}
        async with serve({"listeners": [LISTENER], "access_log": [log]}) as server:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(filling, bytes(select.PIPE_BUF))
            await say_hello(server)
            server.reload(load_mapping({"listeners": [LISTENER]}, server.plugins.registry))
            await say_hello(server)
            assert os.read(reading, 1 << 20)

    asyncio.run(main())
    assert os.read(reading, 1 << 20).strip(b"\0") == b"5\n"
    os.close(reading)
    os.close(filling)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"format": "%DURATON%"}, r"^access_log\[0\]\.format: unknown operator %DURATON% .*'DURATION'"),
        ({"format": {"a": "%"}}, r"^access_log\[0\]\.format: a: '%' is not an operator"),
        ({"when": {"flags": ["XX"]}}, r"^access_log\[0\]\.when\.flags: unknown response flag 'XX'"),
        ({"when": {"sample": "150%"}}, r"^access_log\[0\]\.when\.sample: 150% is not a percentage"),
        (
            {"path": "/nowhere/at/all.log"},
            r"^access_log\[0\].*cannot open /nowhere/at/all\.log: there is no folder /nowhere/at",
        ),
        ({"buffer": "10B"}, r"^access_log\[0\]\.buffer: 10B is out of range"),
    ],
)
def test_a_wrong_configuration_is_refused(options: dict[str, Any], problem: str) -> None:
    async def main() -> None:
        async with serve({"listeners": [LISTENER], "access_log": [{"use": "file", **options}]}):
            pass

    with pytest.raises(ConfigError, match=problem):
        asyncio.run(main())
