"""A recording as source: the same conversations once more, for other eyes."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable
from typing import Any

from l4proxy.errors import L4ProxyError
from l4proxy.inspector import Link
from l4proxy.plugins.sniff.file import open_input, read_chunks
from l4proxy.plugins.sniff.recording import parse_header, parse_line, parse_peer
from l4proxy.plugins.sniff.sight import Recorded, Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.watch import Watched

__all__ = ["ReplaySource"]

LINE_LIMIT = 256 << 20
"""Bytes of a line: a frame of 100 MiB, in Base64, has less."""


class ReplaySource(Source):
    """Reads what ``--record`` wrote, as fast as it goes; times are those of the recording."""

    waits = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._began = self._at = 0.0
        self._lines = 0
        self._connections: dict[int, Watched | Recorded] = {}
        self._times: dict[int, float] = {}
        """When the last thing happened to each connection."""

    async def open(self, sight: Sight) -> str:
        self._fd = open_input(self._path)
        self._sight = sight
        sight.begin()
        return f"{self._path}, a recording"

    async def run(self) -> None:
        decoder, kept = codecs.getincrementaldecoder("utf-8")(), ""
        try:
            async for chunk in read_chunks(self._fd):
                *lines, kept = (kept + decoder.decode(chunk)).split("\n")
                if len(kept) > LINE_LIMIT:
                    raise ValueError("a line is too long")
                for line in lines:
                    self._take(line)
            self._close_connections()
        except ValueError as error:
            raise L4ProxyError(f"{self._path}:{self._lines}: {error}") from error

    def _take(self, line: str) -> None:
        self._lines += 1
        if self._lines == 1:
            protocol = parse_header(line)
            if protocol != self._sight.protocol.name:
                raise ValueError(f"a recording of {protocol}: l4proxy sniff {protocol} --replay {self._path}")
            return
        event = parse_line(line)
        at = float(event["at"])
        self._at = max(self._at, at)
        self._began = self._began or at
        number = event["connection"]
        if "open" in event:
            self._open(number, event["open"], at)
            return
        connection = self._connections.get(number)
        if connection is None:
            raise ValueError(f"connection {number} was not opened")
        match event:
            case {"from": side, "bytes": data}:
                began = max(float(event.get("began", at)), self._times[number])
                if began < at:
                    _feed(connection, side, data[:-1], began)
                    data = data[-1:]
                _feed(connection, side, data, at)
            case {"server": str(server)}:
                connection.link.server = parse_peer(server)
            case {"eof": side}:
                (connection.client_eof if side == "client" else connection.server_eof)(at)
            case {"lost": side, "size": size}:
                (connection.client_lost if side == "client" else connection.server_lost)(size, at)
            case {"close": True}:
                self._connections.pop(number).close(at)
            case _:
                raise ValueError("a line has server, from, eof, lost or close")
        self._times[number] = at

    def _open(self, number: int, ends: Any, at: float) -> None:
        if number in self._connections or not isinstance(ends, dict):
            raise ValueError(f"connection {number} is open already, or has no ends")
        server = ends.get("server")
        link = Link(
            number,
            parse_peer(str(ends.get("client"))),
            None if server is None else parse_peer(str(server)),
            midway=bool(ends.get("midway")),
        )
        self._connections[number] = self._sight.connection(link, at)
        self._times[number] = at

    def _close_connections(self) -> None:
        for connection in self._connections.values():
            connection.close(self._at)
        self._connections.clear()

    async def close(self) -> None:
        self._close_connections()
        if self._fd >= 0 and self._path != "-":
            os.close(self._fd)

    def began(self) -> float:
        return self._began

    def now(self) -> float:
        return self._at

    def facts(self) -> Iterable[tuple[str, str]]:
        yield "lines", f"{self._lines:,}"


def _feed(connection: Watched | Recorded, side: str, data: bytes, at: float) -> None:
    if data:
        try:
            (connection.client_data if side == "client" else connection.server_data)(data, at)
        except Exception as error:
            connection.failed(error, at)
