"""What becomes of a request is told to outlier detection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clusters import run
from http_peers import Answer, Seen, connect, http_proxy, ok, send, upstream
from l4proxy.endpoint import Endpoint


async def silence(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("answer", "options", "failures"),
    [
        (ok(), {}, 0),
        (ok(status="404 Not Found"), {}, 0),
        (ok(status="500 Broken"), {}, 1),
        (ok(status="503 Busy"), {}, 1),
        (send(b"", close=True), {}, 1),
        (send(b"nonsense\r\n\r\n"), {}, 1),
        (silence, {"routes": [{"cluster": "up", "timeout": "50ms"}]}, 1),
        (silence, {"routes": [{"cluster": "up", "retry": {"on": ["reset"], "per_try_timeout": "50ms"}}]}, 2),
    ],
)
def test_what_counts_as_a_failure(answer: Answer, options: dict[str, Any], failures: int) -> None:
    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up, **options) as proxy, connect(proxy) as client:
            await client.get()
            (endpoint,) = endpoints(proxy)
            assert endpoint.failures == failures

    run(conversation)


def call(*pieces: bytes, fields: str = "", kind: str = "application/grpc") -> Answer:
    """A call's answer in chunks, each piece a read of its own."""

    async def answer(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
        for piece in (head.encode() + pieces[0], *pieces[1:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


MESSAGE = b"6\r\n\0\0\0\0\1x\r\n"
UNAVAILABLE = b"0\r\nGrpc-Status: 14\r\n\r\n"
OK = b"0\r\nGrpc-Status: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        (call(MESSAGE + UNAVAILABLE), 3),
        (call(MESSAGE, UNAVAILABLE), 3),
        (call(b"", MESSAGE + UNAVAILABLE), 3),
        (call(UNAVAILABLE), 3),
        (call(MESSAGE + OK), 0),
        (call(b"", MESSAGE, OK), 0),
        (call(MESSAGE, b"0\r\nGrpc-Status: ?\r\n\r\n"), 3),
        (call(MESSAGE, b"0\r\n\r\n"), 2),
        (call(MESSAGE, b"0\r\nX-Sum: 1\r\n\r\n"), 2),
        (call(b"0\r\n\r\n", fields="Grpc-Status: 13\r\n"), 3),
        (call(b"0\r\n\r\n", fields="Grpc-Status: 5\r\n"), 0),
        (call(MESSAGE, b"0\r\nX-Sum: 1\r\n\r\n", kind="text/plain"), 0),
    ],
)
def test_calls_say_at_their_end_how_they_went(answer: Answer, failures: int) -> None:
    """Behind two that have failed; a call under way has not gone well yet."""

    async def conversation() -> None:
        broken = ok(status="500 Broken")
        async with upstream(broken, broken, answer) as up, http_proxy(up) as proxy, connect(proxy) as client:
            for _ in range(3):
                await client.get()
            (endpoint,) = endpoints(proxy)
            assert endpoint.failures == failures

    run(conversation)


def endpoints(proxy: Any) -> list[Endpoint]:
    (cluster,) = proxy.server.clusters
    return list(cluster.endpoints.current.values())


def test_failures_in_a_row_eject_and_a_success_between_them_does_not() -> None:
    async def conversation() -> None:
        broken = ok(status="500 Broken")
        config = {"cluster": {"outlier_detection": {"consecutive_failures": 2}}}
        async with (
            upstream(broken, ok(), broken, broken, ok()) as up,
            http_proxy(up, config=config) as proxy,
            connect(proxy) as client,
        ):
            (endpoint,) = endpoints(proxy)
            for ejected in (False, False, False, True, True):
                await client.get()
                assert endpoint.ejected is ejected
            assert len(up.seen) == 5, "there is no other one"

    run(conversation)
