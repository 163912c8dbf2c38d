"""Servers that people use, frozen and killed at each phase of a request, and with services that lie.

Each phase has a client of its own, and all of them meet the same end at once: waiting for a head, within a response of
a known length and within one of chunks, within an upload, and about to ask over a connection that was idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import listening, run
from http_peers import Client, connect, http_proxy, upstream
from proxying import HOST, Proxy
from services.needs import needs, program
from services.nginx_files import temporary_files
from services.process import accepts, free_port, running
from services.python_http import python_server

NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {temporary}
    client_max_body_size 0;
    types {{ }}
    default_type text/plain;
    server {{
        listen {host}:{port};
        root {directory};
        location /endless/ {{ limit_rate 2k; }}
        location /endless/chunked {{ limit_rate 2k; gzip on; gzip_min_length 1; gzip_proxied any; }}
        location /wait {{ proxy_pass http://{host}:{silent}; }}
        location /upload {{ proxy_pass http://{host}:{silent}; proxy_request_buffering off; }}
        location = / {{ return 200 "ok"; }}
    }}
}}
"""
SERVERS = ["nginx", "http.server", "uvicorn with h11", "uvicorn with httptools", "gunicorn"]
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n"
LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"
FROZEN = {
    "/wait 504 response_timeout UT",
    "/endless/length 200 stream_idle_timeout SI",
    "/endless/chunked 200 stream_idle_timeout SI",
    "/upload 504 stream_idle_timeout SI",
    "/ 504 response_timeout UT",
}
KILLED = {
    "/wait 502 connection_ended UC",
    "/endless/length 200 response_cut_short UC",
    "/endless/chunked 200 response_cut_short UC",
    "/upload 502 connection_ended UC",
    "/ 503 connect_refused UF,URX",
}


@contextlib.contextmanager
def bad_server(name: str, port: int, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One of ``SERVERS``, with the paths of ``services/bad_apps``."""
    if name != "nginx":
        with python_server(name, port, directory, apps="bad_apps") as process:
            yield process
        return
    (directory / "endless").mkdir(exist_ok=True)
    for file in "length", "chunked":
        (directory / "endless" / file).write_bytes(os.urandom(1_000_000))
    config = directory / "nginx.conf"
    argv = [program("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    with listening() as silent:
        silent_port = silent.getsockname()[1]
        temporary = temporary_files(directory)
        config.write_text(
            NGINX.format(directory=directory, temporary=temporary, host=HOST, port=port, silent=silent_port)
        )
        with running(argv, log=directory / "nginx.log", ready=lambda: accepts(port)) as process:
            yield process


class Phases:
    """A client in each phase of a request."""

    def __init__(self, proxy: Proxy, stack: contextlib.AsyncExitStack) -> None:
        self._proxy = proxy
        self._stack = stack

    async def _client(self) -> Client:
        return await self._stack.enter_async_context(connect(self._proxy))

    async def reach(self) -> None:
        self._waiting, self._uploading, *self._loading, self._idle = [await self._client() for _ in range(5)]
        self._waiting.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        self._uploading.send(UPLOAD)
        self._pouring = asyncio.create_task(pour(self._uploading))
        self._stack.callback(self._pouring.cancel)
        for client, path in zip(self._loading, (b"/endless/length", b"/endless/chunked"), strict=True):
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert (await self._idle.get()).body == b"ok"
        while self._counted("requests_pending"):
            await asyncio.sleep(0)

    def _counted(self, name: str) -> int:
        value: int = self._proxy.value(f"l4proxy_http_cluster_{name}", cluster="up")
        return value

    async def end(self) -> None:
        """Ask over the idle one, and wait until everybody knows what has become of them."""
        await asyncio.gather(
            self._idle.get(), self._waiting.reply(), self._upload(), *(self._load(client) for client in self._loading)
        )
        assert self._counted("requests_active") == self._counted("requests_pending") == 0
        assert self._proxy.value("l4proxy_http_requests_active", http="http") == 0

    async def _upload(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # what it was is in the log
            await self._uploading.reply()

    async def _load(self, client: Client) -> None:
        """The connection ends, and what came is no complete response."""
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := await client.reader.read(65536):
                got += piece
        assert len(got) < 1_000_000
        assert not got.endswith(b"\r\n0\r\n\r\n")


async def pour(client: Client) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            client.send(bytes(1 << 18))
            await client.writer.drain()
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def meeting(port: int, log: Path, **options: Any) -> AsyncIterator[tuple[Proxy, Phases]]:
    access_log = [{"use": "file", "path": str(log), "format": LOG, "flush_interval": 0}]
    async with (
        http_proxy(str(port), config={"access_log": access_log}, **options) as proxy,
        contextlib.AsyncExitStack() as stack,
    ):
        phases = Phases(proxy, stack)
        await phases.reach()
        yield proxy, phases


def logged(log: Path) -> set[str]:
    """What went wrong. Whether a connection was ended or reset depends on what it had not read yet."""
    text = (
        log.read_text().replace("connection_closed", "connection_ended").replace("connection_reset", "connection_ended")
    )
    return {line for line in text.splitlines() if not line.endswith(" via_upstream -")}


@needs("nginx")
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_frozen_or_killed(tmp_path: Path, name: str) -> None:
    port = free_port()

    async def frozen(process: subprocess.Popen[bytes]) -> None:
        limits = {"stream_idle_timeout": "300ms"}
        routes = [{"cluster": "up", "timeout": "300ms"}]
        async with meeting(port, tmp_path / "frozen", limits=limits, routes=routes) as (proxy, phases):
            os.killpg(process.pid, signal.SIGSTOP)
            try:
                await phases.end()
            finally:
                os.killpg(process.pid, signal.SIGCONT)
            async with connect(proxy) as client:
                assert (await client.get()).body == b"ok"

    async def killed(process: subprocess.Popen[bytes]) -> None:
        routes = [{"cluster": "up", "timeout": 0}]
        async with meeting(port, tmp_path / "killed", routes=routes) as (proxy, phases):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            while accepts(port):  # one of its workers may live a moment longer
                await asyncio.sleep(0.01)
            await phases.end()
            assert proxy.value("l4proxy_cluster_connections_active", cluster="up") == 0
            with bad_server(name, port, tmp_path):
                async with connect(proxy) as client:
                    assert (await client.get()).body == b"ok"

    with bad_server(name, port, tmp_path) as process:
        run(lambda: frozen(process), 60)
        assert logged(tmp_path / "frozen") == FROZEN
        run(lambda: killed(process), 60)
        assert logged(tmp_path / "killed") == KILLED


@needs("nginx")
@pytest.mark.parametrize("signal_number", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
@pytest.mark.parametrize("hedge", [False, True], ids=["retried", "hedged"])
def test_who_asks_a_server_that_is_gone_is_answered_by_another_one(
    tmp_path: Path, signal_number: signal.Signals, hedge: bool
) -> None:
    """Over connections that were idle and over new ones, within a request and before it."""
    port = free_port()
    retry = {"on": ["reset", "connect-failure"], "attempts": 4, "per_try_timeout": "400ms", "hedge": hedge}

    async def conversation(process: subprocess.Popen[bytes]) -> None:
        routes = [{"cluster": "up", "timeout": "20s", "retry": retry}]
        async with upstream() as up, http_proxy(up, str(port), routes=routes) as proxy:
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connect(proxy)) for _ in range(6)]
                assert [(await client.get()).body for client in clients] == [b"ok"] * 6
                waiting = clients.pop(), clients.pop()  # one of these asks the server that does not answer it
                for client in waiting:
                    client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
                process.send_signal(signal_number)
                try:
                    for client in clients:
                        assert (await client.get()).body == b"ok"
                    for client in waiting:
                        assert (await client.reply()).body == b"ok"
                finally:
                    process.send_signal(signal.SIGCONT)
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    with bad_server("nginx", port, tmp_path) as process:
        run(lambda: conversation(process), 60)


@pytest.mark.parametrize("name", [name for name in SERVERS if name != "nginx"])
def test_a_server_whose_service_lies_about_lengths(tmp_path: Path, name: str) -> None:
    """What these servers make of it differs. No client takes a part for the whole, or gets what was another's."""
    port = free_port()

    async def ask(proxy: Proxy, path: bytes) -> bytes:
        async with connect(proxy) as client:
            client.send(
                b"GET %b HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path
            )
            got = b""
            with contextlib.suppress(ConnectionError):
                while piece := await client.reader.read(65536):
                    got += piece
            return got

    async def conversation() -> None:
        limits = {"stream_idle_timeout": "300ms"}
        async with http_proxy(str(port), limits=limits) as proxy:
            for _ in range(3):
                short = await ask(proxy, b"/short")
                assert short.count(b"HTTP/1.1 ") == 1 or short.startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 504 "))
                body, _, following = (await ask(proxy, b"/long")).partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1 ")
                assert body in (b"long", b"") or body.startswith((b"502 ", b"504 "))
                assert not following or following.endswith(b"\r\n\r\nok")
            assert proxy.value("l4proxy_http_cluster_requests_active", cluster="up") == 0

    with bad_server(name, port, tmp_path):
        run(conversation, 60)
