"""Access logs to syslog, in the form of RFC 5424, by datagrams: to the local daemon's socket or over UDP."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy import Register, hookimpl
from l4proxy.access_log.format import check_format, compile_line
from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.select import When
from l4proxy.access_log.times import time_formatter
from l4proxy.access_log.writer import LineWriter
from l4proxy.address import Address
from l4proxy.config.types import Range, Size

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord

__all__ = ["SyslogAccessLog", "SyslogAccessLogConfig", "SyslogSocket"]

WARNING, INFO = 4, 6
"""Severities: of what went wrong, and of everything else."""
MESSAGE_LIMIT = 8192
"""Bytes of a datagram; what is longer is cut. rsyslog and syslog-ng take so much unless told otherwise."""
INTERVAL = 0.1

Facility = Literal["user", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]

FACILITIES = {"user": 1, "daemon": 3, **{f"local{number}": 16 + number for number in range(8)}}
"""Numbers of facilities, RFC 5424 section 6.2.1, table 1."""


@dataclass(frozen=True, slots=True)
class SyslogAccessLogConfig:
    address: Address = Address(path="/dev/log")
    """The daemon: `unix:/dev/log`, or `host:514` for UDP."""
    facility: Facility = "local0"
    """Under which facility the daemon files the messages."""
    app_name: str = "l4proxy"
    """What the messages call this program; 1 to 48 characters."""
    format: str | dict[str, Any] = "text"
    """`"text"`, `"json"`, a line with Envoy's operators (`"%START_TIME% %DURATION%"`), or a table of such for JSON."""
    when: When = When()
    """Which connections are logged."""
    buffer: Annotated[Size, Range(4096)] = Size(1 << 20)
    """Bytes that may wait for the daemon; what comes then is dropped and counted."""

    def __post_init__(self) -> None:
        check_format(self.format)
        if not re.fullmatch(r"[!-~]{1,48}", self.app_name):
            raise ValueError(f"app_name: {self.app_name!r} is not 1 to 48 printable characters without spaces")
        if not self.address.is_unix and not (self.address.host and self.address.port):
            raise ValueError('address: needs a host and a port (such as "127.0.0.1:514")')


class SyslogAccessLog(AccessLogger[SyslogAccessLogConfig]):
    """A syslog message for every connection."""

    name = "syslog"

    def __init__(self, config: SyslogAccessLogConfig) -> None:
        super().__init__(config)
        self._wanted = config.when.compile()
        self._line = compile_line(config.format)
        self._timestamp = time_formatter("%Y-%m-%dT%H:%M:%S.%6fZ")
        self._facility = FACILITIES[config.facility] * 8
        self._sender = f"{socket.gethostname() or '-'} {config.app_name} {os.getpid()} access -"
        self._writer = LineWriter(
            f"access log syslog {config.address}",
            SyslogSocket(config.address),
            capacity=config.buffer,
            interval=INTERVAL,
            on_dropped=self.dropped,
        )

    def log(self, record: AccessRecord) -> None:
        if self._wanted(record):
            priority = self._facility + (WARNING if record.failed else INFO)
            header = f"<{priority}>1 {self._timestamp(time.time())} {self._sender}"
            self._writer.put(_cut(f"{header} {self._line(record)}".encode()))

    def reopen(self) -> None:
        self._writer.reopen()

    def close(self) -> None:
        self._writer.close()


def _cut(message: bytes) -> bytes:
    """Keep to the limit, without half a character at the end."""
    return message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT].decode(errors="ignore").encode()


class SyslogSocket:
    """Sends each line as a datagram. Connects when there is something to send, and again after the daemon's restart."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._socket: socket.socket | None = None

    def write(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                self._connected().send(line)
            except OSError:
                self.reopen()
                self._connected().send(line)

    def reopen(self) -> None:
        self.close()
        self._socket = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = _connect(self.address)
        return self._socket


def _connect(address: Address) -> socket.socket:
    target: Any
    if address.is_unix:
        family, target = socket.AF_UNIX, re.sub("^@", "\0", address.path)
    else:
        family, *_, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


@hookimpl
def register_access_loggers(register: Register[Any]) -> None:
    register(SyslogAccessLog)
