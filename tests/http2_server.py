"""A small HTTP/2 server on nothing but the codec, in this process: it answers each request with what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Iterator

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.http2 import (
    DataReceived,
    Event,
    Http2Connection,
    Http2Stream,
    Limits,
    RequestReceived,
    TrailersReceived,
)
from l4proxy.protocols.http_fields import FieldBlock

__all__ = ["http2_server"]

_HELLO = FieldBlock([("content-type", "text/plain"), ("content-length", "5")])
_ECHO = FieldBlock([("content-type", "application/octet-stream")])


class _Server(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, limits: Limits | None) -> None:
        self.http2 = Http2Connection(limits=limits)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            self.http2.at(time.monotonic())
            for event in self.http2.receive_data(data):
                self._on_event(event)
        except RemoteProtocolError as error:
            self.transport.write(error.reply)
            self.transport.close()
            return
        self._flush()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, RequestReceived | DataReceived | TrailersReceived) and event.stream.closed:
            return  # reset in the same read, or answered
        if isinstance(event, RequestReceived):
            if event.end:
                self._answer(event.stream)
            else:
                self.http2.respond(event.stream, 200, _ECHO)
        elif isinstance(event, DataReceived):
            self.http2.consumed(event.stream, event.size)
            self.http2.send_data(event.stream, event.data, event.end)
        elif isinstance(event, TrailersReceived):
            self.http2.send_trailers(event.stream, event.trailers)

    def _answer(self, stream: Http2Stream) -> None:
        if not stream.closed:
            self.http2.respond(stream, 200, _HELLO)
            self.http2.send_data(stream, b"hello", True)

    def _flush(self) -> None:
        while data := self.http2.data_to_send():
            self.transport.write(data)


@contextlib.contextmanager
def http2_server(limits: Limits | None = None, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port on 127.0.0.1; with ``context`` it speaks TLS."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: _Server(limits), "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
