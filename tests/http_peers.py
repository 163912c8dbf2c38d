"""HTTP upstreams and clients of a test, which do what real ones cannot be made to do: bytes by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from proxying import HOST, Proxy, proxy, server

__all__ = ["Client", "Pour", "Reply", "Seen", "connect", "http_proxy", "ok", "read_head", "send", "upstream"]

TIMEOUT = 10
Answer = Callable[["Seen", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Seen(NamedTuple):
    """A request as an upstream has read it: ``lines`` of the head, the first one apart."""

    line: str
    lines: list[str]
    body: bytes

    def field(self, name: str) -> str | None:
        values = [line.partition(":")[2].strip() for line in self.lines if line.lower().startswith(f"{name.lower()}:")]
        return ", ".join(values) if values else None


async def read_head(reader: asyncio.StreamReader) -> tuple[str, list[str]]:
    """Raises IncompleteReadError at the end of the stream."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head[:-4].split("\r\n")
    return line, lines


async def _read_body(reader: asyncio.StreamReader, head: Seen) -> bytes:
    if (head.field("transfer-encoding") or "").lower() == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return body
    return await reader.readexactly(int(head.field("content-length") or 0))


def ok(body: bytes = b"ok", *lines: str, status: str = "200 OK") -> Answer:
    """An answer with this body."""

    async def answer(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", ""))
        writer.write(head.encode() + body)

    return answer


def send(data: bytes, *, close: bool = False) -> Answer:
    """An answer of these bytes."""

    async def answer(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            await writer.drain()
            writer.close()

    return answer


class Pour:
    """An answer of 100 MB, as fast as it is taken. ``sent`` says how much of it was."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            writer.write(bytes(100_000))
            await writer.drain()
            self.sent += 100_000

    async def standstill(self) -> None:
        """Wait until nothing is taken any more. Raises AssertionError if that was most of it."""
        before = -1
        while self.sent != before:
            before = self.sent
            await asyncio.sleep(0.3)
        assert self.sent < 50_000_000


class Upstream(NamedTuple):
    port: int
    seen: list[Seen]
    connections: list[int]
    """How many requests each connection has carried."""


@contextlib.asynccontextmanager
async def upstream(*answers: Answer, body: bool = True) -> AsyncIterator[Upstream]:
    """A server that gives these answers in turn, the last one for ever, and remembers what it has seen."""
    seen: list[Seen] = []
    connections: list[int] = []
    left = list(answers or [ok()])
    handlers: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        task.add_done_callback(handlers.discard)
        at = len(connections)
        connections.append(0)
        while not writer.is_closing():
            try:
                line, lines = await read_head(reader)
            except asyncio.IncompleteReadError:
                return
            request = Seen(line, lines, b"")
            answer = left.pop(0) if len(left) > 1 else left[0]
            if body:
                request = request._replace(body=await _read_body(reader, request))
            seen.append(request)
            connections[at] += 1
            await answer(request, reader, writer)
            if not writer.is_closing():
                await writer.drain()

    async with server(handle) as port:
        yield Upstream(port, seen, connections)
        if handlers:
            await asyncio.wait(handlers, timeout=1)


@contextlib.asynccontextmanager
async def http_proxy(*upstreams: Upstream | str, **options: Any) -> AsyncIterator[Proxy]:
    """A proxy whose cluster ``up`` has these endpoints; ``options`` are those of the filter, which goes there unless it
    has routes of its own. ``config`` is further configuration."""
    config = options.pop("config", {})
    if not options.keys() & {"routes", "virtual_hosts", "cluster"}:
        options["cluster"] = "up"
    ports = [int(one.rpartition(":")[2]) if isinstance(one, str) else one.port for one in upstreams]
    async with proxy({"use": "http", **options}, upstreams=ports, **config) as running:
        yield running


class Reply(NamedTuple):
    status: int
    line: str
    lines: list[str]
    body: bytes

    def field(self, name: str) -> str | None:
        return Seen(self.line, self.lines, b"").field(name)


class Client:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def get(self, target: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> Reply:
        """A request, and its response."""
        head = "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", "Host: a.test", *lines))
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{head}{length}\r\n".encode("latin-1") + body)
        return await self.reply(method)

    async def reply(self, method: str = "GET") -> Reply:
        """The next response."""
        async with asyncio.timeout(TIMEOUT):
            line, lines = await read_head(self.reader)
            status = int(line.split()[1])
            head = Seen(line, lines, b"")
            body = b""
            if method != "HEAD" and status not in (204, 304) and status >= 200:
                if head.field("transfer-encoding") is None and head.field("content-length") is None:
                    body = await self.reader.read()
                else:
                    body = await _read_body(self.reader, head)
            return Reply(status, line, lines, body)

    async def rest(self) -> bytes:
        """All that comes until the end."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def connect(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange_all(proxy: Proxy, requests: Sequence[bytes]) -> bytes:
    """Send all at once; return all that comes until the end."""
    async with connect(proxy) as client:
        client.send(b"".join(requests))
        client.writer.write_eof()
        return await client.rest()
