"""The admin interface on real sockets: what it does with requests of every kind."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from admin_client import HOST, Reply, administered, ask, talk
from clusters import run, until
from l4proxy.address import Address
from l4proxy.admin import exchange
from l4proxy.admin import server as admin_server
from l4proxy.admin.http import HEAD_LIMIT
from l4proxy.config.schema import Admin
from l4proxy.config.types import Secret
from l4proxy.errors import ConfigError

GET = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"


def status(raw: bytes) -> int:
    assert raw.startswith(b"HTTP/1.1 ")
    return int(raw[9:12])


def test_an_answer_may_be_had_by_anyone_on_this_machine() -> None:
    async def main() -> None:
        async with administered() as admins:
            reply = await admins.get("/ready")
            assert (reply.status, reply.text) == (200, "LIVE\n")
            head = await ask(admins.port, "HEAD", "/ready")
            assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "5")

    run(main)


def test_nothing_of_an_answer_is_let_into_other_pages() -> None:
    async def main() -> None:
        async with administered() as admins:
            for path in ("/", "/stats", "/nothing"):
                headers = (await admins.get(path)).headers
                assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
                assert "frame-ancestors 'none'" in headers["content-security-policy"]
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["cross-origin-resource-policy"] == "same-origin"
                assert headers["cache-control"] == "no-store"

    run(main)


def test_a_connection_is_kept_for_the_next_request() -> None:
    async def main() -> None:
        async with administered() as admins:
            both = await talk(admins.port, GET, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert both.count(b"HTTP/1.1 200 OK") == 2
            assert both.count(b"Connection: keep-alive") == both.count(b"Connection: close") == 1
            pipelined = await talk(admins.port, GET + GET + GET.replace(b"1.1", b"1.0"))
            assert pipelined.count(b"HTTP/1.1 200 OK") == 3

    run(main)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\n\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403),
        (b"POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999, 413),
        (b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 415),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2 * HEAD_LIMIT, 431),
        (b"x" * 4 * HEAD_LIMIT, 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n", 431),
    ],
)  # fmt: skip
def test_bad_input_is_answered_and_ends_the_connection(raw: bytes, expected: int) -> None:
    async def main() -> None:
        async with administered() as admins:
            answer = await talk(admins.port, raw + GET)
            assert status(answer) == expected
            assert answer.count(b"\r\nDate: ") == 1, "nothing behind bad input is read as a request"
            assert b"Connection: close\r\n" in answer

    run(main)


def test_a_request_that_is_cut_off() -> None:
    async def main() -> None:
        async with administered() as admins:
            reader, writer = await asyncio.open_connection(HOST, admins.port)
            writer.write(GET[:20])
            writer.write_eof()
            assert status(await reader.read()) == 400
            writer.close()
            reader, writer = await asyncio.open_connection(HOST, admins.port)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()

    run(main)


def test_a_head_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "REQUEST_TIMEOUT", 0.2)

    async def main() -> None:
        async with administered() as admins:
            reader, writer = await asyncio.open_connection(HOST, admins.port)

            async def drip() -> None:
                for byte in GET * 100:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            assert status(await reader.read()) == 408
            dripping.cancel()
            writer.close()
            body = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nx"
            assert status(await talk(admins.port, body)) == 408

    run(main)


def test_who_says_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "REQUEST_TIMEOUT", 0.1)
    monkeypatch.setattr(exchange, "IDLE_TIMEOUT", 0.1)

    async def main() -> None:
        async with administered() as admins:
            assert await talk(admins.port) == b""
            assert (await talk(admins.port, GET)).count(b"HTTP/1.1") == 1

    run(main)


def test_who_takes_no_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WRITE_TIMEOUT", 0.1)

    async def main() -> None:
        async with administered() as admins:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect((HOST, admins.port))
                sock.setblocking(False)
                handlers = admins.admin._exchanges
                requests = GET.replace(b"/ready", b"/") * 3000  # 18 MB of answers
                sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, requests))
                await until(lambda: handlers)
                await until(lambda: not handlers)
                sending.cancel()

    run(main)


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(admin_server, "MAX_CONNECTIONS", 2)

    async def main() -> None:
        async with administered() as admins:
            kept = [await asyncio.open_connection(HOST, admins.port) for _ in range(2)]
            await until(lambda: len(admins.admin._exchanges) == 2)
            assert await talk(admins.port) == b""
            for _, writer in kept:
                writer.close()
            await until(lambda: not admins.admin._exchanges)
            assert (await admins.get("/ready")).status == 200

    run(main)
    assert "has its 2 connections, one more was closed" in caplog.text


def test_running_out_of_descriptors_is_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin_server, "PAUSE_WITHOUT_DESCRIPTORS", 0.05)

    async def main() -> None:
        async with administered() as admins:
            door = admins.admin._doors[0]

            class Exhausted:
                failed = False

                def accept(self) -> object:
                    if not self.failed:
                        self.failed = True
                        raise OSError(24, "Too many open files")
                    return door.sock.accept()

                def fileno(self) -> int:
                    return door.sock.fileno()

            broken = admin_server.Door(Exhausted(), door.routes, door.guard)  # type: ignore[arg-type]
            admins.admin._doors = [broken]
            admins.admin._accept(broken)
            assert (await ask(door.sock.getsockname()[1], "GET", "/ready")).status == 200
            admins.admin._doors = [door]

    run(main)
    assert "accepts nothing for 0.05 s" in caplog.text


def test_a_page_that_fails_is_an_answer_too(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        state = "LIVE"
        workers = 1

        async def snapshot(self) -> None:
            raise RuntimeError("<secret>")

    async def main() -> Reply:
        async with administered(target=Broken()) as admins:  # type: ignore[arg-type]
            return await admins.get("/stats")

    reply: list[Reply] = []

    async def keep() -> None:
        reply.append(await main())

    run(keep)
    assert (reply[0].status, reply[0].text) == (500, "this failed; the log says how\n")
    assert "RuntimeError: <secret>" in caplog.text


def test_the_token() -> None:
    async def main() -> None:
        async with administered(admin=Admin(Address(HOST, 0), token=Secret("s3cret"))) as admins:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
                reply = await admins.get("/ready", **headers)
                assert (reply.status, reply.headers["www-authenticate"][:6]) == (401, "Bearer")
            assert (await admins.get("/ready", Authorization="Bearer s3cret")).status == 200

    run(main)


@pytest.mark.parametrize(
    ("admin", "warned"),
    [
        (Admin(Address("0.0.0.0", 0)), True),
        (Admin(Address("", 0)), True),
        (Admin(Address("0.0.0.0", 0), token=Secret("x")), False),
        (Admin(Address("127.0.0.1", 0)), False),
        (Admin(Address("127.0.0.1", 0), metrics_address=Address("0.0.0.0", 0)), False),
    ],
)
def test_an_interface_without_a_token_that_others_can_reach(
    admin: Admin, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with administered(admin=admin):
            assert ("can stop the proxy: admin.token is not set" in caplog.text) is warned

    run(main)


def test_a_name_that_was_rebound_to_us() -> None:
    async def main() -> None:
        async with administered(admin=Admin(Address(HOST, 0), hosts=("proxy.internal",))) as admins:
            refused = await admins.get("/config_dump", Host="evil.example")
            assert refused.status == 403
            assert "evil.example" in refused.text
            for name in ("proxy.internal", "localhost", "127.0.0.1:1"):
                assert (await admins.get("/config_dump", Host=name)).status == 200

    run(main)


def test_the_metrics_listener_serves_statistics_and_nothing_else() -> None:
    admin = Admin(Address(HOST, 0), token=Secret("s3cret"), metrics_address=Address(HOST, 0))

    async def main() -> None:
        async with administered(admin=admin) as admins:
            port = admins.admin.addresses[1].port
            for path in ("/metrics", "/stats/prometheus"):
                reply = await ask(port, "GET", path)
                assert reply.status == 200
                assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
                assert "l4proxy_build_info{" in reply.text
            assert (await ask(port, "GET", "/ready")).text == "LIVE\n"
            for path in ("/", "/stats", "/config_dump", "/connections", "/help"):
                assert (await ask(port, "GET", path)).status == 404
            for path in ("/quitquitquit", "/metrics", "/drain_listeners"):
                assert (await ask(port, "POST", path)).status in (404, 405)
            assert (await ask(port, "GET", "/metrics", Host="evil.example")).status == 403

    run(main)


def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def main() -> None:
        async with administered(admin=Admin(Address(path=str(path)))) as admins:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /ready HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\nLIVE\n")
            writer.close()
            assert admins.admin.addresses == [Address(path=str(path))]

    run(main)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    def curl(*arguments: str) -> str:
        return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True).stdout

    async def main() -> None:
        async with administered() as admins, administered(admin=Admin(Address(path=str(path)))):
            base = f"http://127.0.0.1:{admins.port}"
            assert await asyncio.to_thread(curl, f"{base}/ready") == "LIVE\n"
            assert await asyncio.to_thread(curl, "--unix-socket", str(path), "http://any/ready") == "LIVE\n"
            assert (await asyncio.to_thread(curl, "-I", f"{base}/ready")).startswith("HTTP/1.1 200")
            levels = await asyncio.to_thread(curl, "-d", "access_log=debug", f"{base}/logging")
            assert "l4proxy.access_log: debug" in " ".join(levels.split())
            await asyncio.to_thread(curl, "-X", "POST", f"{base}/logging?access_log=info")
            twice = await asyncio.to_thread(curl, "-v", f"{base}/ready", f"{base}/server_info")
            assert twice.startswith("LIVE\nl4proxy ")

    try:
        run(main)
    finally:
        logging.getLogger("l4proxy.access_log").setLevel(logging.NOTSET)


def test_a_changed_configuration_is_taken_over_on_the_same_socket() -> None:
    async def main() -> None:
        async with administered() as admins:
            port = admins.port
            admins.admin.sockets.inherited[f"{HOST}:{port}"] = []
            admins.admin.apply(Admin(Address(HOST, 0), token=Secret("new"), metrics_address=Address("::1", 0)))
            assert admins.port == port
            assert (await admins.get("/ready")).status == 401
            assert (await admins.get("/ready", Authorization="Bearer new")).status == 200
            metrics = admins.admin.addresses[1]
            assert metrics.host == "::1"
            admins.admin.apply(Admin(Address(HOST, 0)))
            assert len(admins.admin.addresses) == 1
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("::1", metrics.port))

    run(main)


def test_an_address_that_is_taken_changes_nothing() -> None:
    async def main() -> None:
        async with administered() as admins:
            with socket.create_server((HOST, 0)) as taken:
                busy = Address(HOST, taken.getsockname()[1])
                with pytest.raises(ConfigError, match=r"admin\.metrics_address: cannot listen on .* in use"):
                    admins.admin.apply(Admin(Address("::1", 0), metrics_address=busy))
            assert [address.host for address in admins.admin.addresses] == [HOST]
            assert (await admins.get("/ready")).status == 200

    run(main)


def test_closing_lets_an_answer_out_and_ends_the_rest() -> None:
    async def main() -> None:
        async with administered() as admins:
            idle, writer = await asyncio.open_connection(HOST, admins.port)
            writer.write(GET)
            await idle.readuntil(b"LIVE\n")
            _, begun = await asyncio.open_connection(HOST, admins.port)
            begun.write(GET[:10])
            await until(lambda: len(admins.admin._exchanges) == 2)
            await admins.admin.close()
            assert await idle.read() == b""
            assert not admins.admin._exchanges
            writer.close()
            begun.close()

    run(main)


def test_closing_answers_who_has_connected_and_not_asked_yet() -> None:
    async def main() -> None:
        async with administered() as admins:
            reader, writer = await asyncio.open_connection(HOST, admins.port)
            await until(lambda: len(admins.admin._exchanges) == 1)
            closing = asyncio.create_task(admins.admin.close())
            await until(lambda: not admins.admin.addresses)
            writer.write(GET)
            assert (await reader.readuntil(b"LIVE\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.read() == b""
            writer.close()
            await closing

    run(main)
