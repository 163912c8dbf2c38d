"""Bodies that filters see, change, gather, pause and pace, in both directions, through a real proxy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from clusters import run
from http2_peers import h2_connect, h2_upstream, reply_ok
from http_peers import Client, Pour, Seen, connect, http_proxy, ok, read_head, upstream
from l4proxy import NoConfig, Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from proxying import HOST

TEXT = bytes(range(256)) * 1000
Treat = Callable[["Treats", HttpRequest | HttpResponse], object]


class Treats(HttpFilter[NoConfig]):
    """Does what a test says to bodies of one direction."""

    name = "treats"
    treat: Treat
    direction = "request"

    def on_request(self, request: HttpRequest) -> HttpRequest:
        if self.direction == "request":
            type(self).treat(self, request)
        return request

    def on_response(self, response: HttpResponse) -> HttpResponse:
        if self.direction == "response":
            type(self).treat(self, response)
        return response


def plugin(treat: Treat, direction: str, on_error: str = "close") -> Any:
    cls = type("Made", (Treats,), {"treat": treat, "direction": direction})

    class Plugin:
        @hookimpl
        def register_message_filters(self, register: Register[Any]) -> None:
            register(cls)

    return {"filters": [{"use": "treats", "on_error": on_error}], "config": {"plugins": [Plugin()]}}


def upper(_filter: Treats, message: HttpRequest | HttpResponse) -> None:
    message.body.change(bytes.swapcase, lambda: b"end")


def paused(treats: Treats, message: HttpRequest | HttpResponse) -> None:
    message.body.pause()
    message.body.pause()
    treats.conn.call_later(0.01, message.body.resume)
    treats.conn.call_later(0.15, message.body.resume)


class Paces:
    """Lets a few bytes pass, then nothing, until the timer."""

    def __init__(self, treats: Treats, message: HttpRequest | HttpResponse, *, at_once: int) -> None:
        self.treats, self.message, self.left, self.at_once = treats, message, at_once, at_once
        self.armed = False
        message.body.pace(self)

    def take(self, size: int) -> int:
        taken = min(size, self.left)
        self.left -= taken
        if taken < size and not self.armed:
            self.armed = True
            self.treats.conn.call_later(0.01, self.more)
        return taken

    def put_back(self, size: int) -> None:
        self.left += size

    def more(self) -> None:
        self.armed = False
        self.left = self.at_once
        self.message.body.flow()


def paced(treats: Treats, message: HttpRequest | HttpResponse) -> None:
    Paces(treats, message, at_once=100_000)
    Paces(treats, message, at_once=70_000)


def in_chunks(_treats: Treats, message: HttpRequest | HttpResponse) -> None:
    def look(data: bytes) -> bytes:
        assert len(data) <= 1000
        return data

    message.body.in_chunks(1000)
    message.body.in_chunks(5000)
    message.body.change(look)


def watched(treats: Treats, message: HttpRequest | HttpResponse) -> None:
    pieces: list[bytes] = []
    message.body.watch(pieces.append, lambda: treats.conn.state.update(seen=b"".join(pieces)))


TREATMENTS: list[tuple[Treat, bytes]] = [
    (upper, TEXT.swapcase() + b"end"),
    (paused, TEXT),
    (paced, TEXT),
    (in_chunks, TEXT),
    (watched, TEXT),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("treat", "expected"), TREATMENTS, ids=lambda one: getattr(one, "__name__", ""))
def test_requests(treat: Treat, expected: bytes, version: int) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, **plugin(treat, "request")) as proxy:
            if version == 1:
                async with connect(proxy) as client:
                    assert (await client.get("/", method="POST", body=TEXT)).status == 200
            else:
                async with h2_connect(proxy) as h2:
                    stream = h2.open(method="POST", end=False)
                    await h2.send_body(stream, TEXT)
                    assert (await h2.reply(stream)).status == 200
            assert up.seen[0].body == expected

    run(conversation)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("treat", "expected"), TREATMENTS, ids=lambda one: getattr(one, "__name__", ""))
def test_responses(treat: Treat, expected: bytes, version: int) -> None:
    async def conversation() -> None:
        async with upstream(ok(TEXT)) as up, http_proxy(up, **plugin(treat, "response")) as proxy:
            if version == 1:
                async with connect(proxy) as client:
                    assert (await client.get()).body == expected
                    assert (await client.get("/", method="HEAD")).status == 200
            else:
                async with h2_connect(proxy) as h2:
                    assert (await h2.reply(h2.open())).body == expected

    run(conversation)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("treat", [upper, in_chunks])
def test_a_slow_reader_holds_its_upstream_whoever_reads_in_between(treat: Treat, version: int) -> None:
    async def conversation() -> None:
        pour = Pour()
        async with upstream(pour) as up, http_proxy(up, **plugin(treat, "response")) as proxy:
            if version == 1:
                async with connect(proxy) as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await read_head(client.reader)
                    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await pour.standstill()
                    (connection,) = proxy.server.listeners[0].connections.values()
                    assert connection.client.buffered < 1_000_000
                    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                    size = 0
                    while size < 100_000_000:
                        size += len(await client.reader.read(1 << 20))
            else:
                async with h2_connect(proxy) as h2:
                    h2.opens_windows = False
                    h2.open()
                    await pour.standstill()

    run(conversation)


@pytest.mark.parametrize("treat", [upper, in_chunks])
def test_an_upstream_that_does_not_read_holds_the_client(treat: Treat) -> None:
    async def conversation() -> None:
        sent = 0
        over = asyncio.Event()

        async def wait(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()

        async def pour(client: Client) -> None:
            nonlocal sent
            for _ in range(1000):
                client.send(bytes(100_000))
                await client.writer.drain()
                sent += 100_000

        async with (
            upstream(wait, body=False) as up,
            http_proxy(up, **plugin(treat, "request")) as proxy,
            connect(proxy) as client,
        ):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            task = asyncio.create_task(pour(client))
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.3)
            task.cancel()
            client.writer.transport.abort()
            over.set()
            assert sent < 50_000_000

    run(conversation)


@pytest.mark.parametrize("treat", [upper, watched, paced])
@pytest.mark.parametrize("whole", [True, False])
def test_a_body_is_changed_once_however_often_it_is_sent(treat: Treat, whole: bool) -> None:
    again = asyncio.Event()

    async def close(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not whole:
            assert await reader.read(100) == (b"3\r\nONE\r\n" if treat is upper else b"3\r\none\r\n")
        writer.close()

    async def echo(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(8)
        again.set()
        body += await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def conversation() -> None:
        routes = [{"cluster": "up", "retry": {"on": ["reset"], "methods": ["POST"], "backoff": "1ms"}}]
        async with (
            upstream(close, echo, body=False) as up,
            http_proxy(up, routes=routes, **plugin(treat, "request")) as proxy,
            connect(proxy) as client,
        ):
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
            rest = b"3\r\ntwo\r\n0\r\n\r\n"
            client.send(head + (rest if whole else b""))
            await again.wait()
            client.send(b"" if whole else rest)
            body = re.sub(rb"\w+\r\n(\w*)\r\n", rb"\1", (await client.reply()).body)
            assert body == (b"ONETWOend" if treat is upper else b"onetwo")

    run(conversation)


def test_bodies_over_http2_to_the_upstream() -> None:
    async def conversation() -> None:
        async with (
            h2_upstream(reply_ok) as up,
            http_proxy(f"{HOST}:{up.port}", upstream={"protocol": "http2"}, **plugin(paced, "request")) as proxy,
            connect(proxy) as client,
        ):
            assert (await client.get("/", method="POST", body=TEXT)).status == 200

    run(conversation)


@pytest.mark.parametrize("how", ["change", "end", "watch"])
@pytest.mark.parametrize("direction", ["request", "response"])
def test_a_filter_that_fails_at_a_body_ends_its_connection(direction: str, how: str) -> None:
    def fails(_treats: Treats, message: HttpRequest | HttpResponse) -> None:
        def fail(*_: bytes) -> bytes:
            raise RuntimeError("on purpose")

        if how == "change":
            message.body.change(fail)
        elif how == "end":
            message.body.change(bytes.upper, fail)
        else:
            message.body.watch(fail)

    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, **plugin(fails, direction)) as proxy:
            async with connect(proxy) as client:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await client.get("/", method="POST", body=b"body")
            assert proxy.value("l4proxy_filter_errors_total", filter="http.treats") == 1
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0

    run(conversation)


@pytest.mark.parametrize("direction", ["request", "response"])
def test_a_filter_that_only_watches_may_fail_open(direction: str) -> None:
    def fails(_treats: Treats, message: HttpRequest | HttpResponse) -> None:
        def fail(_data: bytes) -> None:
            raise RuntimeError("on purpose")

        message.body.watch(fail)

    async def conversation() -> None:
        async with (
            upstream(ok(b"answer")) as up,
            http_proxy(up, **plugin(fails, direction, "bypass")) as proxy,
            connect(proxy) as client,
        ):
            for _ in range(2):
                assert (await client.get("/", method="POST", body=b"body")).body == b"answer"
            assert [seen.body for seen in up.seen] == [b"body"] * 2
            assert proxy.value("l4proxy_filter_errors_total", filter="http.treats") == 1

    run(conversation)
