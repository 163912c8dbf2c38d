"""Large bodies, most of which the kernel moves: whole, bounded, counted, and noticed when they are not whole."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from clusters import run
from http_peers import Client, Seen, connect, http_proxy, read_head, upstream
from l4proxy.splice import BoundedSplicer

SIZE = 12_000_000
DATA = random.Random(1).randbytes(SIZE)
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each hand-over was for."""
    sizes: list[int] = []
    init = BoundedSplicer.__init__

    def count(self: BoundedSplicer, source: object, sink: object, size: int) -> None:
        sizes.append(size)
        init(self, source, sink, size)  # type: ignore[arg-type]

    monkeypatch.setattr(BoundedSplicer, "__init__", count)
    return sizes


async def pieces(data: bytes, pause: float) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1_000_000):
        yield data[at : at + 1_000_000]
        await asyncio.sleep(pause)


async def summed(reader: asyncio.StreamReader, size: int, pause: float) -> str:
    found = hashlib.sha256()
    while size:
        data = await reader.read(min(size, 200_000))
        assert data
        found.update(data)
        size -= len(data)
        await asyncio.sleep(pause)
    return found.hexdigest()


@pytest.mark.parametrize(("sender", "reader"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.005)])
def test_a_download_is_whole(sender: float, reader: float, moved: list[int]) -> None:
    async def pour(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        async for piece in pieces(DATA, sender):
            writer.write(piece)
            await writer.drain()

    async def conversation() -> None:
        async with upstream(pour) as up, http_proxy(up) as proxy, connect(proxy) as client:
            for _ in range(2):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await read_head(client.reader)
                assert await summed(client.reader, SIZE, reader) == SUM
            assert up.connections == [2]
            assert len(moved) == 2

    run(conversation)


@pytest.mark.parametrize(("sender", "reader"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.005)])
def test_an_upload_is_whole(sender: float, reader: float, moved: list[int]) -> None:
    async def take(_seen: Seen, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await summed(stream, SIZE, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + found.encode())

    async def conversation() -> None:
        async with upstream(take, body=False) as up, http_proxy(up) as proxy, connect(proxy) as client:
            for _ in range(2):
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
                async for piece in pieces(DATA, sender):
                    client.send(piece)
                    await client.writer.drain()
                assert (await client.reply()).body.decode() == SUM
            assert up.connections == [2]
            assert len(moved) == 2

    run(conversation)


def test_a_download_that_is_cut_short_does_not_look_complete(moved: list[int]) -> None:
    async def pour(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        writer.write(DATA[: SIZE // 2])
        await writer.drain()
        writer.close()

    async def conversation() -> None:
        async with upstream(pour) as up, http_proxy(up) as proxy, connect(proxy) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises(ConnectionError):
                await client.reader.read(-1)
            assert moved
            assert proxy.value("l4proxy_http_resets_total", http="http", reason="response_cut_short") == 1

    run(conversation)


def test_an_upload_whose_client_goes_away_reaches_nobody_as_whole(moved: list[int]) -> None:
    async def conversation() -> None:
        ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def take(_seen: Seen, stream: asyncio.StreamReader, _writer: object) -> None:
            try:
                ended.set_result(await stream.read(-1))
            except ConnectionError:
                ended.set_result(b"")

        async with upstream(take, body=False) as up, http_proxy(up) as proxy:
            async with connect(proxy) as client:
                await start_upload(client)
                while not moved:
                    await asyncio.sleep(0.01)
            assert len(await asyncio.wait_for(ended, 10)) < SIZE

    run(conversation)


async def start_upload(client: Client) -> None:
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
    client.send(DATA[: SIZE // 2])
    await client.writer.drain()


def test_a_filter_in_front_keeps_the_bytes_here(moved: list[int]) -> None:
    async def pour(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + DATA)

    async def conversation() -> None:
        from proxying import proxy as start

        async with upstream(pour) as up:
            limit = {"use": "bandwidth_limit", "download": "1GB/s"}
            async with (
                start(limit, {"use": "http", "cluster": "up"}, upstreams=[up.port]) as proxy,
                connect(proxy) as client,
            ):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await read_head(client.reader)
                assert await summed(client.reader, SIZE, 0) == SUM
                assert not moved

    run(conversation)
