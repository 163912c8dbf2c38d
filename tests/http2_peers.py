"""HTTP/2 clients and upstreams of a test, on the package h2: another implementation, and one that can be made to
misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h2.events as events
from h2.config import H2Configuration
from h2.connection import H2Connection

from proxying import HOST, Proxy, server

__all__ = ["H2Client", "H2Reply", "H2Upstream", "Received", "h2_connect", "h2_upstream", "reply_ok"]

TIMEOUT = 20
Headers = Sequence[tuple[str, str]]


@dataclass
class H2Reply:
    """A response as it came; ``reset`` is the code of RST_STREAM, if one came."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    informational: list[list[tuple[str, str]]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> int:
        return int(dict(self.headers)[":status"])

    def field(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class _Connection(H2Connection):
    """The package takes GOAWAY for the end of the connection; here it is as the RFC has it, and streams go on."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        state = self.state_machine.state
        result = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        return result


class _Peer:
    """One end of a connection: reads in the background, opens windows as it reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = _Connection(
            H2Configuration(client_side=client, header_encoding="latin-1", validate_outbound_headers=False,
                            normalize_outbound_headers=False)
        )  # fmt: skip
        self.changed = asyncio.Condition()
        self.closed = False
        self.goaway: events.ConnectionTerminated | None = None
        self.opens_windows = True
        self.unopened: list[tuple[int, int]] = []
        """Bytes that have come meanwhile, and on which stream."""

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.writer.write(data)

    async def read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                happened = self.h2.receive_data(data)
                for event in happened:
                    if isinstance(event, events.ConnectionTerminated):
                        self.goaway = event
                    if isinstance(event, events.DataReceived) and event.flow_controlled_length:
                        self.unopened.append((event.flow_controlled_length, event.stream_id))
                if self.opens_windows:
                    self.open_windows()
                for event in happened:
                    self.take(event)
                self.flush()
                async with self.changed:
                    self.changed.notify_all()
        self.closed = True
        async with self.changed:
            self.changed.notify_all()

    def open_windows(self) -> None:
        for size, stream_id in self.unopened:
            self.h2.acknowledge_received_data(size, stream_id)
        self.unopened.clear()
        self.flush()

    def take(self, event: events.Event) -> None:
        raise NotImplementedError

    async def until(self, condition: Callable[..., object], *args: Any) -> None:
        """Wait until ``condition(*args)`` holds."""
        async with asyncio.timeout(TIMEOUT), self.changed:
            await self.changed.wait_for(lambda: condition(*args))

    async def send_body(self, stream_id: int, body: bytes, *, end: bool = True) -> None:
        """As the windows allow."""
        view = memoryview(body)
        while view:
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, len(view))
            if not room:
                await self.until(lambda: self.closed or self.h2.local_flow_control_window(stream_id))
                assert not self.closed
                continue
            self.h2.send_data(stream_id, bytes(view[:room]))
            view = view[room:]
            self.flush()
            await self.writer.drain()
        if end:
            self.h2.end_stream(stream_id)
            self.flush()


def _fields(event: Any) -> list[tuple[str, str]]:
    """They are text, as ``header_encoding`` says; the annotations of h2 say bytes whatever that is."""
    return [(name, value) for name, value in event.headers]


class H2Client(_Peer):
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer, client=True)
        self.replies: dict[int, H2Reply] = {}

    def take(self, event: Any) -> None:
        reply = self.replies.get(getattr(event, "stream_id", None) or 0)
        if reply is None:
            return
        match event:
            case events.ResponseReceived():
                reply.headers = _fields(event)
            case events.InformationalResponseReceived():
                reply.informational.append(_fields(event))
            case events.DataReceived():
                reply.body += event.data
            case events.TrailersReceived():
                reply.trailers = _fields(event)
            case events.StreamReset():
                reply.reset = event.error_code
            case events.StreamEnded():
                reply.ended = True

    def open(self, path: str = "/", *extra: tuple[str, str], method: str = "GET", end: bool = True) -> int:
        """Send a head; its stream's number."""
        head = [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path), *extra]
        return self.send(head, end=end)

    def send(self, head: Headers, *, end: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.replies[stream_id] = H2Reply()
        self.h2.send_headers(stream_id, list(head), end_stream=end)
        self.flush()
        return stream_id

    async def reply(self, stream_id: int) -> H2Reply:
        """The whole response, or what there was of it."""
        reply = self.replies[stream_id]
        await self.until(lambda: reply.ended or reply.reset is not None or self.closed)
        return reply

    async def get(
        self, path: str = "/", *extra: tuple[str, str], method: str = "GET", body: bytes | None = None
    ) -> H2Reply:
        stream_id = self.open(path, *extra, method=method, end=body is None)
        if body is not None:
            await self.send_body(stream_id, body)
        return await self.reply(stream_id)


@contextlib.asynccontextmanager
async def h2_connect(proxy: Proxy, context: ssl.SSLContext | None = None, **settings: int) -> AsyncIterator[H2Client]:
    """``settings`` are those of the package h2: ``initial_window_size`` ..."""
    options: dict[str, Any] = {} if context is None else {"ssl": context, "server_hostname": "localhost"}
    reader, writer = await asyncio.open_connection(HOST, proxy.port, **options)
    client = H2Client(reader, writer)
    client.h2.initiate_connection()
    if settings:
        from h2.settings import SettingCodes

        client.h2.update_settings({SettingCodes[name.upper()]: value for name, value in settings.items()})
    client.flush()
    task = asyncio.create_task(client.read())
    try:
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@dataclass
class Received:
    """A request as an upstream has it."""

    stream_id: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    def field(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class H2Connected(_Peer):
    """A proxy's connection to an upstream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: H2Upstream) -> None:
        super().__init__(reader, writer, client=False)
        self.upstream = upstream
        self.requests: dict[int, Received] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def take(self, event: Any) -> None:
        if isinstance(event, events.RequestReceived):
            request = Received(event.stream_id, _fields(event))
            self.requests[event.stream_id] = request
            self.upstream.seen.append(request)
            task = asyncio.create_task(self._answer(request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        request_or_none = self.requests.get(getattr(event, "stream_id", None) or 0)
        if request_or_none is None:
            return
        match event:
            case events.DataReceived():
                request_or_none.body += event.data
            case events.TrailersReceived():
                request_or_none.trailers = _fields(event)
            case events.StreamEnded():
                request_or_none.ended = True
            case events.StreamReset():
                request_or_none.reset = event.error_code

    async def _answer(self, request: Received) -> None:
        await self.upstream.answer(self, request)
        self.flush()

    def respond(self, request: Received, headers: Headers = (), *, status: int = 200, end: bool = False) -> None:
        self.h2.send_headers(request.stream_id, [(":status", str(status)), *headers], end_stream=end)
        self.flush()

    async def whole(self, request: Received) -> None:
        await self.until(lambda: request.ended or request.reset is not None or self.closed)


Answer = Callable[[H2Connected, Received], Awaitable[None]]


async def reply_ok(connection: H2Connected, request: Received) -> None:
    await connection.whole(request)
    connection.respond(request, [("content-length", "2")])
    await connection.send_body(request.stream_id, b"ok")


class H2Upstream:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.port = 0
        self.seen: list[Received] = []
        self.connections: list[H2Connected] = []


@contextlib.asynccontextmanager
async def h2_upstream(
    answer: Answer = reply_ok, *, extended_connect: bool = False, max_streams: int = 100
) -> AsyncIterator[H2Upstream]:
    """A server that has ``answer`` answer each request."""
    up = H2Upstream(answer)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connected(reader, writer, up)
        up.connections.append(connection)
        from h2.settings import SettingCodes

        connection.h2.local_settings = type(connection.h2.local_settings)(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: int(extended_connect),
                SettingCodes.MAX_HEADER_LIST_SIZE: 65536,
            },
        )
        connection.h2.initiate_connection()
        connection.flush()
        await connection.read()
        writer.close()

    async with server(handle) as port:
        up.port = port
        yield up
