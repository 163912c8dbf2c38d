"""`l4proxy sniff http` on a capture of what curl and grpcio say, as a command; also where a connection was begun before
it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from captures import Timed, Wire, pcap
from clusters import run
from grpc_peers import SERVICE, Calls, grpc_service, in_thread
from http2_wire import headers
from http_peers import http_proxy
from services.needs import needs, program
from sniffing import sniff_capture

HOST = "127.0.0.1"
Talk = list[tuple[int, bytes]]


@contextlib.asynccontextmanager
async def overheard(port: int) -> AsyncIterator[tuple[int, list[Talk]]]:
    """A port in front of another one, and what is said through it, connection by connection."""
    talks: list[Talk] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk: Talk = []
        talks.append(talk)
        up_reader, up_writer = await asyncio.open_connection(HOST, port)

        async def relay(side: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while chunk := await source.read(65536):
                    talk.append((side, chunk))
                    sink.write(chunk)
                sink.close()

        await asyncio.gather(relay(0, reader, up_writer), relay(1, up_reader, writer))

    server = await asyncio.start_server(handle, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], talks


def calls(port: int) -> None:
    with Calls(port) as client:
        client.unary("Unary")
        assert list(client.channel.unary_stream(f"/{SERVICE}/Repeat")(b"3", timeout=10)) == [b"3"] * 3
        assert client.failure("FailLate") == ("DATA_LOSS", "lost")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls of grpcio, requests of curl over HTTP/2 and HTTP/1, and something of a connection that had begun before."""
    packets: list[Timed] = []

    async def conversation() -> None:
        routes = [
            {"prefix": "/missing", "respond": {"status": 404}},
            {"prefix": "/", "respond": {"status": 200, "text": "hello"}},
        ]
        async with grpc_service() as (port, _), overheard(port) as (front, talks):
            await in_thread(lambda: calls(front))
        async with http_proxy(cluster=None, routes=routes) as proxy, overheard(proxy.port) as (web, web_talks):
            for words in (["--http2-prior-knowledge", "/a?b"], ["--http2-prior-knowledge", "/missing"], ["/one"]):
                *options, path = words
                argv = [program("curl"), "-s", *options, f"http://{HOST}:{web}{path}"]
                assert await (await asyncio.create_subprocess_exec(*argv)).wait() == 0
        for at, talk in enumerate([*talks, *web_talks]):
            packets.extend(Wire(port=8080, client_port=40000 + at).talk(talk))
        packets.extend(Wire(port=8080, client_port=50000).say(0, headers(7)))

    run(conversation)
    path = tmp_path_factory.mktemp("capture") / "http.pcap"
    path.write_bytes(pcap(packets))
    return path


@needs("curl")
def test_real_clients(capture: Path) -> None:
    told, said = sniff_capture("http", capture, "--json")
    lines = [json.loads(line) for line in told]
    exchanges = [line for line in lines if "path" in line]  # others are notices: grpcio may have said GOAWAY
    names = ("path", "status", "version", "grpc_status", "request_messages", "response_messages")
    assert [tuple(exchange.get(name) for name in names) for exchange in exchanges] == [
        (f"/{SERVICE}/Unary", 200, "HTTP/2", "OK", 1, 1),
        (f"/{SERVICE}/Repeat", 200, "HTTP/2", "OK", 1, 3),
        (f"/{SERVICE}/FailLate", 200, "HTTP/2", "DATA_LOSS", 1, 1),
        ("/a?b", 200, "HTTP/2", None, None, None),
        ("/missing", 404, "HTTP/2", None, None, None),
        ("/one", 200, "HTTP/1.1", None, None, None),
    ]
    assert lines[-1]["method"] == "http2_midway"
    assert "begun before    1 connections" in said
    assert "not understood  http2_midway 1" in said
    assert "test.v1.Echo  Repeat" in said


@needs("curl")
def test_only_some(capture: Path) -> None:
    told, _ = sniff_capture("http", capture, "--errors", "--path", "/test.v1.*")
    assert len(told) == 1
    assert "FailLate" in told[0]
