"""The service behind the proxy of the demo, and its clients: lines of text over TCP.

``order NAME`` is answered with the order's number and a card number, ``wait NAME`` the same a little later, ``bulk
SIZE`` with so many bytes. Everything else is sent back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from l4proxy.address import Address

__all__ = ["CARD", "Client", "Orders", "exchange_many"]

CARD = "4111 1111 1111 1111"
HALF = -10
"""Where an answer is cut in two: inside the card number."""
PERIOD = 256
BLOCK = bytes(range(PERIOD)) * 1024
EXPECTED = memoryview(BLOCK + BLOCK[:PERIOD])
"""A block, from whichever byte of the period on."""
WAIT = 0.3


class Orders:
    """The service, called ``name``. A context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.orders = 0
        self.said = ""
        """Its last answer to an order."""
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Orders:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = Address(host, port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no more, and cut all connections."""
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError):
            async for line in reader:
                await self._answer(line, writer)
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        word, _, rest = line.decode().strip().partition(" ")
        match word:
            case "bulk":
                for _ in range(int(rest) // len(BLOCK)):
                    writer.write(BLOCK)
                    await writer.drain()
            case "order" | "wait":
                await asyncio.sleep(WAIT if word == "wait" else 0)
                self.orders += 1
                self.said = f"{self.name}: order {self.orders} for {rest}, card {CARD}"
                await _write_in_two(f"{self.said}\n".encode(), writer)
            case _:
                writer.write(line)


async def _write_in_two(answer: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answer[:HALF])
    await asyncio.sleep(0.01)  # so that they are two chunks for whoever reads
    writer.write(answer[HALF:])


class Client:
    """A connection to the service, through the proxy."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection(self._address.host, self._address.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def ask(self, line: str) -> str:
        """The answer to one line; empty where the connection has ended instead."""
        self._writer.write(f"{line}\n".encode())
        return (await self._reader.readline()).decode().strip()

    async def download(self, size: int) -> int:
        """Ask for ``size`` bytes, and return how many of them came as they should."""
        self._writer.write(f"bulk {size}\n".encode())
        right = 0
        while right < size:
            data = await self._reader.read(len(BLOCK))
            at = right % PERIOD
            if not data or data != EXPECTED[at : at + len(data)]:
                break
            right += len(data)
        return right


async def exchange_many(address: Address, clients: int, each: int) -> tuple[list[float], float]:
    """Have ``clients`` at once send a line and wait for it, ``each`` times. The sorted times of all exchanges in
    seconds, and how long it took altogether."""
    begin = time.perf_counter()
    times = await asyncio.gather(*(_exchange(address, each) for _ in range(clients)))
    return sorted(_joined(times)), time.perf_counter() - begin


async def _exchange(address: Address, times: int) -> list[float]:
    taken = []
    async with Client(address) as client:
        for number in range(times):
            begin = time.perf_counter()
            answer = await client.ask(f"hello {number}")
            taken.append(time.perf_counter() - begin)
            if answer != f"hello {number}":
                raise ValueError(f"{answer!r} came back for line {number}")
    return taken


def _joined(lists: Iterable[list[float]]) -> list[float]:
    return [item for one in lists for item in one]
