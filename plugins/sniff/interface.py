"""A network interface as source: what passes, between whoever, without touching it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shlex
import socket
import sys
import time
from collections.abc import Iterable

from l4proxy.errors import L4ProxyError, did_you_mean
from l4proxy.plugins.sniff.file import facts_of, ports_text
from l4proxy.plugins.sniff.packet_socket import RETIRE, PacketSocket
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.sniff.streams import Streams

__all__ = ["InterfaceSource"]

ANY = "any"
BLOCKS_AT_ONCE = 4
"""Blocks of packets that are read before keyboard and scrapers have their turn."""
SECONDS_BETWEEN_COUNTS = 0.5


class InterfaceSource(Source):
    """Captures on one interface, or on ``any``. ``ring`` is the kernel's memory for what is not read yet, in bytes."""

    def __init__(self, interface: str, ports: Iterable[int], ring: int) -> None:
        self._interface = interface
        self._ports = tuple(ports)
        self._ring = ring
        self._socket: PacketSocket | None = None
        self._streams: Streams | None = None
        self._began = 0.0

    async def open(self, sight: Sight) -> str:
        self._socket = _open(self._interface, self._ports, self._ring, sight.protocol.name)
        sight.begin()
        self._streams = Streams(sight, self._ports)
        self._began = self.now()
        where = "all interfaces" if self._interface == ANY else self._interface
        return f"{where}, {ports_text(self._ports)}"

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._socket is not None
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._socket, self._read, ended)
        try:
            while not ended.done():
                self._count_drops()
                await asyncio.wait((ended,), timeout=SECONDS_BETWEEN_COUNTS)
            await ended
        finally:
            loop.remove_reader(self._socket)

    def _read(self, ended: asyncio.Future[None]) -> None:
        assert self._socket is not None
        assert self._streams is not None
        try:
            for _ in range(BLOCKS_AT_ONCE):
                packets = self._socket.read_block()
                if packets is None:
                    return
                self._streams.take(packets)
        except OSError as error:
            if not ended.done():
                ended.set_exception(L4ProxyError(f"{self._interface}: {error.strerror}"))

    def _count_drops(self) -> None:
        if self._socket is not None and self._streams is not None:
            self._streams.stats.dropped_packets_total = self._socket.count_drops()

    async def close(self) -> None:
        if self._streams is not None:
            await self._read_rest()
            self._count_drops()
            self._streams.finish()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _read_rest(self) -> None:
        """What was captured until now: the kernel hands over the block that it is filling after a while."""
        assert self._socket is not None
        assert self._streams is not None
        await asyncio.sleep(2 * RETIRE / 1000)
        with contextlib.suppress(OSError):
            for _ in range(self._socket.blocks):
                packets = self._socket.read_block()
                if packets is None:
                    return
                self._streams.take(packets)

    def began(self) -> float:
        return self._began

    def now(self) -> float:
        return time.time()

    def facts(self) -> Iterable[tuple[str, str]]:
        return facts_of(self._streams) if self._streams is not None else ()


def _open(interface: str, ports: tuple[int, ...], ring: int, protocol: str) -> PacketSocket:
    if not hasattr(socket, "AF_PACKET"):
        raise L4ProxyError(
            "--interface needs Linux; elsewhere let tcpdump capture:"
            " tcpdump -i IF -w - | l4proxy sniff PROTOCOL --pcap -"
        )
    try:
        return PacketSocket("" if interface == ANY else interface, ports, ring)
    except PermissionError as error:
        raise L4ProxyError(_how_to_be_allowed(interface, ports, protocol)) from error
    except ValueError as error:
        raise L4ProxyError(f"--port: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO):
            names = [ANY, *(name for _, name in socket.if_nameindex())]
            raise L4ProxyError(f"there is no interface {interface!r}{did_you_mean(interface, names)}") from error
        raise L4ProxyError(f"--interface {interface}: {error.strerror}") from error


def _how_to_be_allowed(interface: str, ports: tuple[int, ...], protocol: str) -> str:
    chosen = " or ".join(f"port {port}" for port in ports)
    pattern = shlex.quote(f"tcp and ({chosen})" if chosen else "tcp")
    return (
        "capturing needs the capability CAP_NET_RAW, which this process has not. Either of these does it:\n"
        f"  sudo {shlex.join(sys.orig_argv)}\n"
        f"  sudo tcpdump -i {interface} -U -w - {pattern} | l4proxy sniff {protocol} --pcap -\n"
        "  (a service gets it by AmbientCapabilities=CAP_NET_RAW, a container by --cap-add NET_RAW)"
    )
