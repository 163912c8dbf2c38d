"""HTTP/1 clients that people use, through the proxy to servers that people use."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import requests
import websockets

from clusters import run
from http_peers import http_proxy
from proxying import HOST
from services.needs import needs, program
from services.nginx import NginxServer

Port = Callable[[str], int]
SERVER = "uvicorn with httptools"


async def output_of(*argv: str, stdin: bytes | None = None, check: bool = True) -> str:
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await process.communicate(stdin or b"")
    assert not check or process.returncode == 0, err.decode()[-2000:] + out.decode()[-2000:]
    return out.decode()


def with_proxy(use: Callable[[str], Awaitable[None]], port: int) -> None:
    """``use`` the URL of a proxy in front of a server."""

    async def conversation() -> None:
        async with http_proxy(str(port)) as proxy:
            await use(f"http://{HOST}:{proxy.port}")

    run(conversation, 60)


@needs("curl")
def test_curl_with_every_verb(python_http: Port) -> None:
    async def use(url: str) -> None:
        curl = (program("curl"), "-sS", "--fail")
        for verb in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
            assert json.loads(await output_of(*curl, "-X", verb, f"{url}/a?b=c")) == [verb, "/a?b=c", ""]
        assert "200 OK" in await output_of(*curl, "-I", url)
        assert json.loads(await output_of(*curl, "-d", "x=y", url)) == ["POST", "/", "x=y"]
        assert json.loads(await output_of(*curl, "--http1.0", "-d", "x=y", url)) == ["POST", "/", "x=y"]

    with_proxy(use, python_http(SERVER))


@needs("curl")
@pytest.mark.parametrize("options", [["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"], []])
def test_curl_uploads(python_http: Port, options: list[str]) -> None:
    """A body of unknown length from a pipe, a known one, and one that waits to be asked for."""

    async def use(url: str) -> None:
        body = os.urandom(3_000_000)
        for source in ("-T-", "--data-binary=@-"):
            argv = [program("curl"), "-sS", "--fail", *options, *source.split("="), f"{url}/up"]
            method, target, told = json.loads(await output_of(*argv, stdin=body))
            assert (method, target, told) == ("PUT" if source == "-T-" else "POST", "/up", f"{len(body)} bytes")

    with_proxy(use, python_http(SERVER))


@needs("curl")
def test_curl_with_ranges_and_conditions(nginx: NginxServer) -> None:
    data = bytes(range(256)) * 40
    (nginx.root / "ranges").write_bytes(data)

    async def use(url: str) -> None:
        curl = (program("curl"), "-sS", "-w", "\n%{http_code} %{size_download} %header{content-range}")
        told = await output_of(*curl, "-o", os.devnull, "-r", "100-199", f"{url}/ranges")
        assert told.strip() == f"206 100 bytes 100-199/{len(data)}"
        told = await output_of(*curl, "-o", os.devnull, "-r", "999999-", f"{url}/ranges")
        assert told.strip().startswith("416 ")
        tag = await output_of(program("curl"), "-sS", "-o", os.devnull, "-w", "%header{etag}", url)
        told = await output_of(*curl, "-o", os.devnull, "-H", f"If-None-Match: {tag}", url)
        assert told.strip() == "304 0"

    with_proxy(use, nginx.port)


@needs("wrk", "ab")
def test_load_of_wrk_and_ab(nginx: NginxServer) -> None:
    async def use(url: str) -> None:
        told = await output_of(program("wrk"), "-t1", "-c16", "-d1s", f"{url}/index.html")
        assert "requests in" in told
        assert "Socket errors" not in told
        assert "Non-2xx" not in told
        for options in (["-k"], []):
            told = await output_of(program("ab"), "-q", *options, "-n500", "-c10", f"{url}/index.html")
            assert "Failed requests:        0" in told
            assert "Complete requests:      500" in told

    with_proxy(use, nginx.port)


def test_requests(python_http: Port) -> None:
    def talk(url: str) -> None:
        with requests.Session() as session:
            for at in range(20):
                reply = session.post(f"{url}/{at}", json={"at": at}, timeout=20)
                assert reply.json() == ["POST", f"/{at}", json.dumps({"at": at})]
            files = {"file": ("name", bytes(200_000))}
            assert session.post(f"{url}/form", files=files, timeout=20).json()[2].endswith(" bytes")
            pieces = (b"piece" for _ in range(10))
            assert session.put(f"{url}/pieces", data=pieces, timeout=20).json() == ["PUT", "/pieces", "piece" * 10]

    async def use(url: str) -> None:
        await asyncio.to_thread(talk, url)

    with_proxy(use, python_http(SERVER))


def test_aiohttp(python_http: Port) -> None:
    async def use(url: str) -> None:
        async def pieces() -> object:
            for _ in range(10):
                yield b"piece"

        async with aiohttp.ClientSession() as session:
            for at in range(20):
                async with session.post(f"{url}/{at}", data=str(at).encode()) as reply:
                    assert await reply.json() == ["POST", f"/{at}", str(at)]
            async with session.put(f"{url}/pieces", data=pieces(), expect100=True) as reply:
                assert await reply.json() == ["PUT", "/pieces", "piece" * 10]

    with_proxy(use, python_http("aiohttp"))


@pytest.mark.parametrize("server", [SERVER, "aiohttp"])
def test_websockets_of_aiohttp_and_of_websockets(python_http: Port, server: str) -> None:
    large = os.urandom(500_000)

    async def use(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws", compress=15) as ws:
            for text in ("a", "b" * 70_000):
                await ws.send_str(text)
                assert await ws.receive_str() == text
            await ws.send_bytes(large)
            assert await ws.receive_bytes() == large
            await ws.ping()
        async with websockets.connect(url.replace("http", "ws") + "/ws") as ws2:
            for message in ("a", large, "c"):
                await ws2.send(message)
                assert await ws2.recv() == message
            await (await ws2.ping())

    with_proxy(use, python_http(server))


TYPES = {"index.html": "text/html", "style.css": "text/css", "module.js": "text/javascript", "dot.svg": "image/svg+xml"}
"""What nginx says without a file of types."""
PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="style.css"><title>loading</title>
<img src="dot.svg"><script type="module">
import { hello } from "./module.js";
const posted = await (await fetch("/echo/post", { method: "POST", body: "x".repeat(100000) })).json();
const many = await Promise.all([...Array(40).keys()].map(async at => (await (await fetch("/echo/" + at)).json())[1]));
const socket = new WebSocket("ws://" + location.host + "/echo/ws");
socket.onopen = () => socket.send("over");
socket.onmessage = event => {
  const color = getComputedStyle(document.body).color;
  fetch("/done/" + [hello, posted[2], many.length, many[39], event.data, color].join("|"));
};
</script>"""


@needs("chromium")
def test_chromium_on_a_page_with_all_that_pages_have(nginx: NginxServer, python_http: Port, tmp_path: Path) -> None:
    root = nginx.root / "page"
    root.mkdir()
    (root / "index.html").write_text(PAGE)
    (root / "style.css").write_text("body { color: rgb(1, 2, 3) }")
    (root / "module.js").write_text('export const hello = "hello";')
    (root / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>')

    async def conversation() -> None:
        clusters = [
            {"name": "app", "endpoints": [f"{HOST}:{python_http(SERVER)}"]},
            {"name": "files", "endpoints": [f"{HOST}:{nginx.port}"]},
        ]
        routes = [
            {"prefix": "/echo", "cluster": "app"},
            {"name": "done", "pattern": "/done/{what...}", "respond": {"text": "done"}},
            *(
                {"path": f"/page/{name}", "cluster": "files", "response_headers": {"set": {"Content-Type": kind}}}
                for name, kind in TYPES.items()
            ),
            {"prefix": "/", "cluster": "files"},
        ]
        log, _count = tmp_path / "log", "l4proxy_http_route_responses_total"
        access_log = [{"use": "file", "path": str(log), "format": "%REQ(:PATH)% %RESPONSE_CODE%", "flush_interval": 0}]
        async with http_proxy(routes=routes, config={"clusters": clusters, "access_log": access_log}) as proxy:
            browser = [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser += [f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"]
            process = await asyncio.create_subprocess_exec(
                *browser, f"http://{HOST}:{proxy.port}/page/index.html", stdin=quiet, stdout=quiet, stderr=quiet
            )
            try:
                while not proxy.value(
                    "l4proxy_http_route_responses_total", http="http", route="done", **{"class": "2xx"}
                ):
                    await asyncio.sleep(0.05)
            finally:
                process.kill()
                await process.wait()
            assert proxy.value("l4proxy_http_responses_total", http="http", **{"class": "5xx"}) == 0
        expected = "/done/hello%7C100000%20bytes%7C40%7C/echo/39%7Cover%7Crgb(1,%202,%203)"
        assert f"{expected} 200" in log.read_text().splitlines()

    quiet = subprocess.DEVNULL
    run(conversation, 100)
