"""``http_lines``: what a person at a terminal wants to see of requests."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from l4proxy import NoConfig, Register, hookimpl
from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.writer import LineWriter
from l4proxy.plugins.access_log_file import LogFile
from l4proxy.plugins.http.log_operators import PROBLEM
from l4proxy.plugins.http.record import HttpRecord
from l4proxy.plugins.sniff.cells import clock_text, fitted, seconds_text, size_text, width_of
from l4proxy.terminal import BOLD, CYAN, DIM, GREEN, RED, YELLOW, painter, printable

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord
    from l4proxy.terminal import Painter

__all__ = ["HttpLines"]

CAPACITY = 1 << 20
"""Bytes that may wait for the terminal; what comes then is dropped and counted."""
SLOW = 1.0
"""Seconds from which on a request is worth a second look."""
COLOURS = {1: CYAN, 2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}
NARROWEST = 20
"""Columns that a URL always has."""


class HttpLines(AccessLogger[NoConfig]):
    """A short line per request on standard output: when, status, how long, how much, what, and where it went.

    Coloured at a terminal, and cut to its width; what the proxy answered by itself says why. `l4proxy http` uses it.
    """

    name = "http_lines"

    def __init__(self, config: NoConfig) -> None:
        super().__init__(config)
        self._paint = painter(sys.stdout)
        self._cut = sys.stdout.isatty()
        self._writer = LineWriter("http_lines", LogFile("-"), capacity=CAPACITY, interval=0.05, on_dropped=self.dropped)

    def log(self, record: AccessRecord) -> None:
        if not (isinstance(record, HttpRecord) or record.failed):
            return  # a connection that asked for nothing, as browsers make them
        width = shutil.get_terminal_size().columns if self._cut else 0
        line = request_line if isinstance(record, HttpRecord) else connection_line
        self._writer.put(line(record, self._paint, width).encode() + b"\n")

    def close(self) -> None:
        self._writer.close()


def request_line(record: Any, paint: Painter, width: int = 0) -> str:
    """``width``: columns that there are; 0: any number."""
    request, status, colour = record.request, record.status, COLOURS.get(record.verdict // 100, RED)
    clock, took, size = clock_text(record.started, 0), seconds_text(record.duration), size_text(record.bytes_sent)
    method, url = printable(request.kind), printable(request.authority + request.target)
    where, why = f" → {record.endpoint}" if record.endpoint else "", _why(record)
    if width:
        url = _cut(url, max(NARROWEST, width - width_of(f"{clock} 200 {took:>8} {size:>9} {method:4} {where}{why}")))
    parts = (
        paint(clock, DIM),
        paint(str(status or "---"), colour),
        paint(f"{took:>8}", YELLOW) if record.duration > SLOW else f"{took:>8}",
        f"{size:>9}",
        paint(f"{method:4}", BOLD),
        url + (paint(where, DIM) if where else "") + (paint(why, colour) if why else ""),
    )
    return " ".join(parts)


def connection_line(record: AccessRecord, paint: Painter, width: int = 0) -> str:
    """A connection that ended before it had a request: it spoke no HTTP."""
    clock, reason = clock_text(record.started, 0), record.reason
    text = f"{record.client.host}:{record.client.port} {reason.message or reason.detail}"
    text = printable(text)
    if width:
        text = _cut(text, max(NARROWEST, width - len(clock) - 5))
    return f"{paint(clock, DIM)} {paint('---', RED)} {paint(text, RED)}"


def _why(record: Any) -> str:
    """What the status does not say, and what is out of the ordinary."""
    status = record.grpc_status
    parts = [status] if status else []
    if record.attempts > 1:
        parts.append(f"{record.attempts} tries")
    if record.details not in ("", "via_upstream", "direct_response"):
        parts.append(printable(record.state.get(PROBLEM) or record.details))
    elif record.reason.flags or not record.status:
        parts.append(record.reason.detail)
    return f" ({', '.join(parts)})" if parts else ""


def _cut(text: str, width: int) -> str:
    return fitted(text, width) if width_of(text) > width else text


@hookimpl
def register_access_loggers(register: Register[type[HttpLines]]) -> None:
    register(HttpLines)
