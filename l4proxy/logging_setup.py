"""The process's own log: text for people, JSON lines for machines. Set up by ``l4proxy run``; never in a library.

Everything logs under ``l4proxy``, each part under its own name (``l4proxy.listener``, ``l4proxy.filter.NAME``). Levels
can be set for each name while the proxy runs.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from l4proxy.errors import did_you_mean
from l4proxy.terminal import DIM, RED, YELLOW, paint, printable, wants_colour

__all__ = [
    "LEVELS",
    "JsonFormatter",
    "TextFormatter",
    "current_levels",
    "flush_log",
    "lost_lines",
    "once_per",
    "set_all_levels",
    "set_level",
    "set_up_logging",
]

LEVELS = ("debug", "info", "warning", "error", "critical")


def set_up_logging(
    level: str = "info",
    *,
    json_lines: bool = False,
    levels: Mapping[str, str] | None = None,
    stream: IO[str] | None = None,
) -> None:
    """Send every log message of this process to ``stream``, in place of whatever was set up before; without one to
    standard error, in a thread of its own.

    ``levels`` are of single loggers: ``{"l4proxy.listener": "debug"}``. Raises ValueError for an unknown level.
    """
    handler = logging.StreamHandler(stream) if stream is not None else _standard_error()
    seen = stream or sys.stderr
    colour = seen is not None and wants_colour(seen)
    handler.setFormatter(JsonFormatter() if json_lines else TextFormatter(colour=colour))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    for logger, one in {"": level, **(levels or {})}.items():
        set_level(logger, one)


def _standard_error() -> logging.Handler:
    from l4proxy.background_log import BackgroundHandler

    try:
        sys.stderr.fileno()
    except (AttributeError, OSError):  # there is none, or it is no file
        return logging.StreamHandler()
    return BackgroundHandler(sys.stderr)


def flush_log() -> None:
    """Wait until all is written that was logged, but not for a reader that is stuck: before something else is said."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def lost_lines() -> int:
    """Lines of the log that were not written, because nobody read in time, or because writing failed."""
    return sum(getattr(handler, "lost", 0) for handler in logging.getLogger().handlers)


def set_level(logger: str, level: str) -> None:
    """Show messages of ``logger`` and those below it from ``level`` on; ``""`` is the root. Raises ValueError."""
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}{did_you_mean(level, LEVELS)}")
    logging.getLogger(logger).setLevel(level.upper())


def set_all_levels(level: str) -> None:
    """Show messages of every logger from ``level`` on, also of those that had a level of their own. Raises
    ValueError."""
    set_level("", level)
    for name in logging.root.manager.loggerDict:
        if f"{name}.".startswith("l4proxy."):
            logging.getLogger(name).setLevel(logging.NOTSET)


def current_levels() -> dict[str, str]:
    """The level in force of every logger that there is, the root as ``""``."""
    names = ["", *sorted(logging.root.manager.loggerDict)]
    return {name: logging.getLevelName(logging.getLogger(name).getEffectiveLevel()).lower() for name in names}


_last_said: dict[str, tuple[float, int]] = {}
_last_said_lock = threading.Lock()
_KEYS_LIMIT = 1000


def once_per(seconds: float, key: str) -> int:
    """Ask whether a message that may repeat is to be logged now, at most once in ``seconds`` for each ``key``.

    Returns 0 for no, or how many times it was asked since the last yes, this time included::

        if times := once_per(60, "disk_full"):
            log.error("the disk is full (%d times)", times)
    """
    now = time.monotonic()
    with _last_said_lock:
        said, unsaid = _last_said.get(key, (None, 0))
        if said is not None and now - said < seconds:
            _last_said[key] = said, unsaid + 1
            return 0
        if len(_last_said) >= _KEYS_LIMIT:
            _last_said.clear()
        _last_said[key] = now, 0
        return unsaid + 1


_COLOURS = {"DEBUG": DIM, "WARNING": YELLOW, "ERROR": RED, "CRITICAL": RED}


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 WARNING l4proxy.listener: message``. A message's further lines are indented, so that
    none can be taken for a new one."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03}"
        level = f"{record.levelname:7}"
        if self._colour:
            at = paint(at, DIM)
            level = paint(level, _COLOURS[record.levelname]) if record.levelname in _COLOURS else level
        connection = getattr(record, "connection", None)
        where = record.name if connection is None else f"{record.name} #{connection}"
        lines = [printable(line) for line in record.getMessage().split("\n")]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return f"{at} {level} {where}: " + "\n    ".join(lines)


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``level``, ``logger``, ``message``; ``connection`` and ``exception`` if any."""

    def __init__(self) -> None:
        super().__init__()
        from json import JSONEncoder

        self._encode = JSONEncoder(separators=(",", ":")).encode

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        entry = {"time": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        connection = getattr(record, "connection", None)
        if connection is not None:
            entry["connection"] = connection
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return self._encode(entry)
