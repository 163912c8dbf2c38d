"""A capture as source: a file, or what comes in on standard input while it happens (``ssh HOST tcpdump -w -``)."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator

from l4proxy.errors import L4ProxyError
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.sniff.streams import Streams
from l4proxy.protocols.capture.pcap import CaptureError
from l4proxy.protocols.capture.reader import CaptureReader

__all__ = ["FileSource", "read_chunks"]

CHUNK = 256 * 1024
SLICE = 0.02
"""Seconds of work after which keyboard and scrapers have their turn."""
_GZIP = b"\x1f\x8b"


class FileSource(Source):
    """Reads pcap or pcapng, also compressed by gzip."""

    waits = True

    def __init__(self, path: str, ports: Iterable[int]) -> None:
        self._path = path
        self._name = "standard input" if path == "-" else path
        self._ports = tuple(ports)
        self._fd = -1
        self._reader = CaptureReader()
        self._streams: Streams | None = None

    async def open(self, sight: Sight) -> str:
        self._fd = open_input(self._path)
        sight.begin()
        self._streams = Streams(sight, self._ports)
        return f"{self._name}, {ports_text(self._ports)}"

    async def run(self) -> None:
        assert self._streams is not None
        inflate = _Inflate()
        try:
            async for chunk in read_chunks(self._fd):
                for data in inflate.feed(chunk):
                    self._streams.take(self._reader.feed(data))
                    self._streams.stats.dropped_packets_total = self._reader.dropped
            self._streams.finish()
        except (CaptureError, zlib.error) as error:
            raise L4ProxyError(f"{self._name}: {error}") from error

    async def close(self) -> None:
        if self._streams is not None:
            self._streams.finish()
        if self._fd >= 0 and self._path != "-":
            os.close(self._fd)

    def began(self) -> float:
        return self._streams.began if self._streams is not None else 0.0

    def now(self) -> float:
        return self._streams.at if self._streams is not None else 0.0

    def facts(self) -> Iterable[tuple[str, str]]:
        if self._streams is not None:
            yield from facts_of(self._streams)
        if self._reader.unfinished:
            yield "the capture ends", "in the middle of a packet"


def open_input(path: str) -> int:
    """A descriptor to read ``path`` from, ``-`` for standard input. Raises L4ProxyError."""
    if path == "-":
        if sys.stdin.isatty():
            raise L4ProxyError("standard input is a terminal: pipe a capture into it, tcpdump -w - | l4proxy sniff ...")
        return sys.stdin.fileno()
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise L4ProxyError(f"{path}: {error.strerror}") from error


async def read_chunks(fd: int) -> AsyncIterator[bytes]:
    """Everything that comes from a descriptor, in pieces of up to ``CHUNK``; what else the loop has to do is done in
    between."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        deadline = time.monotonic() + SLICE
        while data := os.read(fd, CHUNK):
            yield data
            if time.monotonic() > deadline:
                await asyncio.sleep(0)
                deadline = time.monotonic() + SLICE
        return
    loop = asyncio.get_running_loop()
    blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    there = asyncio.Event()
    loop.add_reader(fd, there.set)
    try:
        while True:
            try:
                data = os.read(fd, CHUNK)
            except BlockingIOError:
                there.clear()
                await there.wait()
                continue
            if not data:
                return
            yield data
            await asyncio.sleep(0)
    finally:
        loop.remove_reader(fd)
        os.set_blocking(fd, blocking)


class _Inflate:
    """Decompresses what begins like gzip, and leaves everything else as it is."""

    def __init__(self) -> None:
        self._beginning: bytes | None = b""
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises zlib.error."""
        if self._beginning is not None:
            data = self._beginning + data
            if len(data) < len(_GZIP):
                self._beginning = data
                return
            self._beginning = None
            if data.startswith(_GZIP):
                self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        if self._inflate is None:
            yield data
            return
        while data:
            yield self._inflate.decompress(data, CHUNK)
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:  # several files, compressed one by one, may be joined
                data = self._inflate.unused_data
                self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)


def ports_text(ports: Iterable[int]) -> str:
    """``port 9092``, for people."""
    listed = sorted(ports)
    if not listed:
        return "all TCP ports"
    return f"port{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"


def facts_of(streams: Streams) -> Iterator[tuple[str, str]]:
    """What a capture says of itself: how much there was, what is missing, what was not looked into."""
    counts = streams.counts
    yield "packets", f"{streams.packets:,}"
    if streams.stats.dropped_packets_total:
        yield "dropped", f"{streams.stats.dropped_packets_total:,} packets that the capture had no room for"
    if counts.gaps:
        yield "not captured", f"{counts.lost_bytes:,} bytes in {counts.gaps:,} gaps"
    if counts.midway:
        yield "begun before", f"{counts.midway:,} connections"
    events = ("retransmitted", "out_of_order", "zero_windows", "resets", "forgotten")
    seen = [f"{getattr(counts, name):,} {name.replace('_', ' ')}" for name in events if getattr(counts, name)]
    if seen:
        yield "TCP", ", ".join(seen)
    if streams.ignored:
        yield "no TCP", f"{streams.ignored:,} packets"
    if streams.other_ports and not streams.watched:
        most = ", ".join(f"{port} ({number})" for port, number in streams.other_ports.most_common(5))
        yield "other ports", f"there were connections to {most}; --port chooses"
    elif streams.other_ports:
        yield "other ports", f"{streams.other_ports.total():,} connections"
