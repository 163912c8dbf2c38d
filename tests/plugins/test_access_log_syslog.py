from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l4proxy.access_log.select import When
from l4proxy.address import Address
from l4proxy.plugins.access_log_syslog import MESSAGE_LIMIT, SyslogAccessLog, SyslogAccessLogConfig
from records import REFUSED, record

RFC5424 = re.compile(
    r"<(?P<priority>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>\S+) (?P<app>\S+) (?P<pid>\d+)"
    r" access - (?P<message>.*)"
)


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def unix_daemon(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    return sock


def make(address: Address, **options: Any) -> SyslogAccessLog:
    return SyslogAccessLog(SyslogAccessLogConfig(address=address, **options))


def to(daemon: socket.socket, **options: Any) -> SyslogAccessLog:
    return make(Address(*daemon.getsockname()), **options)


def received(daemon: socket.socket) -> dict[str, str]:
    found = RFC5424.fullmatch(daemon.recv(65536).decode())
    assert found
    return found.groupdict()


def close_and_wait(log: SyslogAccessLog) -> None:
    log.close()
    assert log._writer._thread is not None
    log._writer._thread.join()


def test_messages_have_the_form_of_rfc_5424(daemon: socket.socket) -> None:
    log = to(daemon, format="%CONNECTION_ID% %LISTENER_NAME%", app_name="edge")
    log.log(record())
    close_and_wait(log)
    message = received(daemon)
    assert message["message"] == "7 web"
    assert message["app"] == "edge"
    assert message["host"] == socket.gethostname()
    assert message["pid"] == str(os.getpid())


@pytest.mark.parametrize(("facility", "number"), [("user", 1), ("daemon", 3), ("local0", 16), ("local7", 23)])
def test_priority_is_facility_and_severity(daemon: socket.socket, facility: str, number: int) -> None:
    log = to(daemon, facility=facility)
    log.log(record())
    log.log(record(reason=REFUSED))
    close_and_wait(log)
    assert [received(daemon)["priority"] for _ in range(2)] == [str(number * 8 + 6), str(number * 8 + 4)]


def test_json_and_selection(daemon: socket.socket) -> None:
    log = to(daemon, format="json", when=When(errors_only=True))
    log.log(record())
    log.log(record(reason=REFUSED))
    close_and_wait(log)
    assert json.loads(received(daemon)["message"])["response_flags"] == "UF,URX"


def test_a_message_that_is_too_long_is_cut_between_characters(daemon: socket.socket) -> None:
    log = to(daemon, format="%FILTER_STATE(pad)%")
    log.log(record(state={"pad": "é" * MESSAGE_LIMIT}))
    close_and_wait(log)
    datagram = daemon.recv(65536)
    assert MESSAGE_LIMIT - 1 <= len(datagram) <= MESSAGE_LIMIT
    assert datagram.decode().endswith("éé")


@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_socket(tmp_path: Path, abstract: bool) -> None:
    name = f"l4proxy-test-{os.getpid()}" if abstract else str(tmp_path / "log")
    with unix_daemon(f"\0{name}" if abstract else name) as daemon:
        log = make(Address(path=f"@{name}" if abstract else name), format="%CONNECTION_ID%")
        log.log(record())
        close_and_wait(log)
        assert received(daemon)["message"] == "7"


def test_a_daemon_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    log = make(Address(path=path), format="%CONNECTION_ID%")
    with unix_daemon(path) as first:
        log.log(record(connection_id=1))
        assert received(first)["message"] == "1"
    os.unlink(path)
    with unix_daemon(path) as second:
        log.log(record(connection_id=2))
        close_and_wait(log)
        assert received(second)["message"] == "2"
    assert len(log.stats.dropped_total) == 0


def test_without_a_daemon_messages_are_lost_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = make(Address(path=str(tmp_path / "nobody")))
    log.log(record())
    close_and_wait(log)
    assert log.stats.dropped_total["error"] == 1


def test_reopening_connects_again(daemon: socket.socket) -> None:
    log = to(daemon, format="%CONNECTION_ID%")
    log.log(record(connection_id=1))
    assert received(daemon)["message"] == "1"
    log.reopen()
    log.log(record(connection_id=2))
    close_and_wait(log)
    assert received(daemon)["message"] == "2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app_name": "two words"}, "app_name: 'two words' is not 1 to 48 printable characters"),
        ({"app_name": ""}, "app_name: '' is not"),
        ({"app_name": "x" * 49}, "app_name: "),
        ({"address": Address(host="", port=514)}, "address: needs a host and a port"),
        ({"address": Address(host="localhost", port=0)}, "address: needs a host and a port"),
        ({"format": "%NOPE%"}, "format: unknown operator %NOPE%"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        SyslogAccessLogConfig(**options)
