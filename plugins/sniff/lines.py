"""Exchanges as lines: for people and for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Protocol

from l4proxy.exchange import Exchange
from l4proxy.plugins.sniff.cells import clock_text
from l4proxy.terminal import DIM, RED, painter, printable

__all__ = ["JsonLines", "LineStream", "Lines", "json_of"]


class LineStream(Protocol):
    """Where lines go: standard output, or what stands in front of it (`output`)."""

    def isatty(self) -> bool: ...

    def write(self, line: str, /) -> object: ...

    def flush(self) -> object: ...


class Lines:
    """``12:00:01.250000 192.0.2.1:4711 Produce 1.234ms orders/0 5 records``; in red where there is an error."""

    def __init__(self, stream: LineStream | None = None) -> None:
        self._stream = stream or sys.stdout
        self._paint = painter(self._stream)

    def exchange(self, exchange: Exchange) -> None:
        line = printable(exchange.line())
        at = self._paint(clock_text(exchange.at, 6), DIM)
        self._stream.write(f"{at} {self._paint(line, RED) if exchange.error else line}\n")

    def flush(self) -> None:
        self._stream.flush()


class JsonLines:
    """A JSON object for each exchange, on a line."""

    def __init__(self, kind_word: str, stream: LineStream | None = None) -> None:
        self._stream = stream or sys.stdout
        self._kind_word = kind_word
        self._encode = json.JSONEncoder(ensure_ascii=False, default=_plain).encode

    def exchange(self, exchange: Exchange) -> None:
        self._stream.write(f"{self._encode(json_of(exchange, self._kind_word))}\n")

    def flush(self) -> None:
        self._stream.flush()


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    return str(value)


def json_of(exchange: Exchange, kind_word: str) -> dict[str, Any]:
    """What all exchanges have, then what the protocol says of this one."""
    link = exchange.link
    whole, micros = divmod(round(exchange.at * 1_000_000), 1_000_000)
    return {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micros:06}Z",
        "connection": link.id,
        "client": str(link.client),
        "server": None if link.server is None else str(link.server),
        kind_word: exchange.kind,
        "seconds": None if exchange.seconds is None else round(exchange.seconds, 6),
        "error": exchange.error,
        "request_bytes": exchange.request_bytes,
        "response_bytes": exchange.response_bytes,
        **exchange.fields(),
    }
