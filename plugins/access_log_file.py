"""Access logs to a file or to standard output."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy import Register, hookimpl
from l4proxy.access_log.format import check_format, compile_line
from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.select import When
from l4proxy.access_log.writer import LineWriter, piece_size, write_lines
from l4proxy.config.types import Duration, FilePath, Range, Size
from l4proxy.terminal import RED, YELLOW, paint, wants_colour

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord

__all__ = ["FileAccessLog", "FileAccessLogConfig", "LogFile"]

STANDARD_OUTPUT = 1


@dataclass(frozen=True, slots=True)
class FileAccessLogConfig:
    path: Literal["-"] | FilePath = "-"
    """The file that lines are appended to; `"-"` is standard output. Opened again on SIGUSR1."""
    format: str | dict[str, Any] = "text"
    """`"text"`, `"json"`, a line with Envoy's operators (`"%START_TIME% %DURATION%"`), or a table of such for JSON."""
    when: When = When()
    """Which connections are logged."""
    buffer: Annotated[Size, Range(4096)] = Size(1 << 20)
    """Bytes that may wait for the file; what comes then is dropped and counted."""
    flush_interval: Annotated[Duration, Range(0, 60)] = Duration(0.1)
    """How long lines are gathered before they are written together."""

    def __post_init__(self) -> None:
        check_format(self.format)


class FileAccessLog(AccessLogger[FileAccessLogConfig]):
    """A line for every connection, in a file or on standard output."""

    name = "file"

    @classmethod
    def check(cls, config: FileAccessLogConfig) -> None:
        if config.path != "-":
            with _opening(config.path):
                _check_path(config.path)

    def __init__(self, config: FileAccessLogConfig) -> None:
        super().__init__(config)
        self._wanted = config.when.compile()
        self._line = compile_line(config.format)
        is_text = isinstance(config.format, str) and config.format != "json"
        self._colour = is_text and config.path == "-" and wants_colour(sys.stdout)
        self._writer = LineWriter(
            f"access log {config.path}",
            LogFile(config.path),
            capacity=config.buffer,
            interval=config.flush_interval,
            on_dropped=self.dropped,
        )

    def log(self, record: AccessRecord) -> None:
        wanted, make_line = self._wanted, self._line
        if wanted(record):
            line = make_line(record)
            if self._colour and (colour := _colour(record)):
                line = paint(line, colour)
            self._writer.put(line.encode() + b"\n")

    def reopen(self) -> None:
        self._writer.reopen()

    def close(self) -> None:
        self._writer.close()


def _colour(record: AccessRecord) -> str:
    """Red for what went wrong, yellow for what is worth a second look."""
    return RED if record.failed else YELLOW if record.warning else ""


class LogFile:
    """A file that lines are appended to. Raises ValueError when it cannot be opened; writing raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        with _opening(path):
            self._use(STANDARD_OUTPUT if path == "-" else self._open())

    def _open(self) -> int:
        # O_NONBLOCK is for opening alone: a named pipe that nobody reads shall be an error, not a wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o640)
        os.set_blocking(fd, True)
        return fd

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._piece = piece_size(fd)

    def write(self, lines: list[bytes]) -> None:
        write_lines(self._fd, lines, self._piece)

    def reopen(self) -> None:
        """Open the file of this name, which may be a new one; where that fails the old one stays in use."""
        if self._fd != STANDARD_OUTPUT:
            old = self._fd
            self._use(self._open())
            os.close(old)

    def close(self) -> None:
        if self._fd != STANDARD_OUTPUT:
            os.close(self._fd)


@contextmanager
def _opening(path: str) -> Iterator[None]:
    """Raises ValueError where the system refuses; it does not say which folder is missing."""
    try:
        yield
    except OSError as error:
        folder = os.path.dirname(path) or "."
        why = (error.strerror or str(error)) if os.path.isdir(folder) else f"there is no folder {folder}"
        raise ValueError(f"path: cannot open {path}: {why}") from None


def _check_path(path: str) -> None:
    """Raises OSError where it can be told without opening it that it could not be opened."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        code = errno.EISDIR
    elif not os.path.isdir(folder):
        code = errno.ENOENT
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        code = errno.EACCES
    else:
        return
    raise OSError(code, os.strerror(code))


@hookimpl
def register_access_loggers(register: Register[Any]) -> None:
    register(FileAccessLog)
