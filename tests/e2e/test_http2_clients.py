"""HTTP/2 clients that people use, through the proxy to a plain HTTP/1 upstream; each with many requests at once."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from clusters import run
from grpc_peers import grpc_service
from http_peers import Seen, http_proxy, ok, upstream
from l4proxy.plugins.http.http2_shared import accept_key
from proxying import HOST
from services.certs import Certs
from services.go import go_cache, go_program
from services.needs import needs, program
from services.npm import node_modules

CLIENTS = Path(__file__).parent / "clients"


async def output_of(*argv: str, **environment: str) -> str:
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe, env=os.environ | environment)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2000:] + out.decode()[-2000:]
    return out.decode()


async def echo(seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
    """The body, or the path where there is none."""
    body = seen.body or seen.line.split()[1].encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@needs("nghttp")
def test_nghttp() -> None:
    async def conversation() -> None:
        async with upstream(ok(b"x" * 300_000)) as up, http_proxy(up) as proxy:
            url = f"http://{HOST}:{proxy.port}/"
            for options in (["-m50"], ["-m5", "--window-bits=10"], ["-m5", "--expect-continue", f"--data={__file__}"]):
                report = await output_of(program("nghttp"), "-ns", *options, url)
                assert report.count(" 200 ") == int(options[0].removeprefix("-m")), report

    run(conversation)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_httpx(certs: Certs, tls: bool) -> None:
    async def conversation() -> None:
        listener = {"tls": {"cert": str(certs.server.cert), "key": str(certs.server.key)}} if tls else {}
        async with upstream(echo) as up, http_proxy(up, config={"listener": listener}) as proxy:
            url = f"{'https' if tls else 'http'}://localhost:{proxy.port}"
            verify = ssl.create_default_context(cafile=certs.ca) if tls else True
            async with httpx.AsyncClient(http1=tls, http2=True, verify=verify, timeout=20) as client:
                replies = await asyncio.gather(*(client.get(f"{url}/{at}") for at in range(80)))
                assert [reply.text for reply in replies] == [f"/{at}" for at in range(80)]
                assert {reply.http_version for reply in replies} == {"HTTP/2"}
                large = os.urandom(2_000_000)
                assert (await client.post(url, content=large)).content == large

    run(conversation)


@needs("go")
def test_go(certs: Certs, tmp_path: Path) -> None:
    """Go's own client, from its standard library alone."""

    client = str(tmp_path / "client")
    build = [program("go"), "build", "-o", client, str(CLIENTS / "http2.go")]
    subprocess.run(build, env=os.environ | {"GOCACHE": str(go_cache()), "GO111MODULE": "off"}, check=True)

    async def conversation() -> None:
        listener = {"tls": {"cert": str(certs.server.cert), "key": str(certs.server.key)}}
        async with upstream(echo) as up, http_proxy(up, config={"listener": listener}) as proxy:
            report = json.loads(await output_of(client, f"https://localhost:{proxy.port}", str(certs.ca)))
            assert report == {"protocol": "HTTP/2.0", "right": 200, "wrong": 0}

    run(conversation)


@needs("node")
def test_node() -> None:
    """Node's http2 module, which is nghttp2 behind another surface; with trailers and a stream given up."""

    async def answer(seen: Seen, reader: object, writer: asyncio.StreamWriter) -> None:
        if seen.line.split()[1] == "/trailers":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")
        elif seen.line.split()[1] != "/never":
            await echo(seen, reader, writer)

    async def conversation() -> None:
        async with upstream(answer) as up, http_proxy(up) as proxy:
            script = str(CLIENTS / "http2.mjs")
            report = json.loads(await output_of(program("node"), script, f"http://{HOST}:{proxy.port}"))
            assert report == {"right": 100, "wrong": 0, "trailers": "1", "cancelled": True}

    run(conversation)


def test_grpcurl() -> None:
    """A call by its descriptor; the service answers with the bytes that it was sent."""

    async def conversation() -> None:
        async with (
            grpc_service() as (port, service),
            http_proxy(f"{HOST}:{port}", upstream={"protocol": "http2"}) as proxy,
        ):
            argv = ["-plaintext", "-import-path", str(CLIENTS), "-proto", "echo.proto", "-d", '{"text": "hi"}']
            target = f"{HOST}:{proxy.port}"
            assert json.loads(await output_of(grpcurl, *argv, target, "test.v1.Echo/Unary")) == {"text": "hi"}
            assert len(service.seen) == 1

    grpcurl = go_program("grpcurl")
    run(conversation)


@needs("node")
def test_grpc_js() -> None:
    """All kinds of calls, a status and a deadline, with what most gRPC clients in JavaScript are made of."""

    async def conversation() -> None:
        async with grpc_service() as (port, _), http_proxy(f"{HOST}:{port}") as proxy:
            argv = [program("node"), str(CLIENTS / "grpc.cjs"), f"{HOST}:{proxy.port}"]
            report = json.loads(await output_of(*argv, NODE_PATH=str(modules / "node_modules")))
        statuses = {"fail": "FAILED_PRECONDITION", "slow": "DEADLINE_EXCEEDED"}
        assert report == {"right": 200, "repeat": 500, "chat": "ABC", "collect": "x,y", **statuses}

    modules = node_modules("@grpc/grpc-js", "1.14.7")
    run(conversation)


async def socket_or_echo(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A WebSocket that says what it is told; to other requests, ``echo``."""
    key = seen.field("sec-websocket-key")
    if key is None:
        await echo(seen, reader, writer)
        return
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
    writer.write(f"{head}\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
    while True:
        first, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        payload = await reader.readexactly(length & 0x7F)
        text = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
        writer.write(bytes([first, len(text)]) + text)


@needs("chromium")
def test_chromium(certs: Certs, tmp_path: Path) -> None:
    """A page that asks for much at once, talks over a WebSocket and calls a gRPC service, all on one connection."""

    async def conversation() -> None:
        async with (
            grpc_service() as (port, _),
            upstream(socket_or_echo) as up,
            http_proxy(
                routes=[
                    {"path": "/", "respond": page},
                    {"name": "done", "pattern": "/done/{what...}", "respond": {"text": "done"}},
                    {"prefix": "/test.v1.Echo", "cluster": "calls"},
                    {"prefix": "/", "cluster": "app"},
                ],
                filters=[{"use": "grpc_web"}],
                config={
                    "listener": {"tls": {"cert": str(certs.server.cert), "key": str(certs.server.key)}},
                    "clusters": [
                        {"name": "app", "endpoints": [f"{HOST}:{up.port}"]},
                        {"name": "calls", "endpoints": [f"{HOST}:{port}"]},
                    ],
                    "access_log": [
                        {"use": "file", "path": str(log), "format": "%PROTOCOL% %REQ(:PATH)%", "flush_interval": 0}
                    ],
                },
            ) as proxy,
        ):
            browser = [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser += [f"--user-data-dir={tmp_path / 'profile'}", "--ignore-certificate-errors"]
            process = await asyncio.create_subprocess_exec(
                *browser, f"https://localhost:{proxy.port}/", stdin=quiet, stdout=quiet, stderr=quiet
            )
            try:
                done = {"http": "http", "route": "done", "class": "2xx"}
                while not proxy.value("l4proxy_http_route_responses_total", **done):
                    await asyncio.sleep(0.05)
            finally:
                process.kill()
                await process.wait()
        lines = log.read_text().splitlines()
        assert "HTTP/2 /done/60,h2,said,104,105,0" in lines
        assert not [
            line for line in lines if not line.startswith(("HTTP/2 ", "- "))
        ]  # or a connection without a request

    page = {"file": str(CLIENTS / "http2.html"), "headers": {"Content-Type": "text/html"}}
    log, quiet = tmp_path / "log", subprocess.DEVNULL
    run(conversation, 100)
