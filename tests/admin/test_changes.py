"""What an operator can tell the proxy."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from admin_client import HOST, administered, ask
from clusters import run
from l4proxy.admin import ServerTarget
from l4proxy.describe import CHANGES
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.server import Server

CHANGING = ("/reload", "/reopen_logs", "/drain_listeners", "/quitquitquit", "/healthcheck/fail", "/healthcheck/ok")


@pytest.fixture(autouse=True)
def undo_levels() -> Iterator[None]:
    names = ["", *(name for name in logging.root.manager.loggerDict if name.startswith("l4proxy"))]
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name in ["", *(name for name in logging.root.manager.loggerDict if name.startswith("l4proxy"))]:
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


def test_changes_come_by_post_only() -> None:
    async def main() -> None:
        async with administered() as admins:
            for path in CHANGING:
                for method in ("GET", "HEAD", "PUT", "DELETE"):
                    reply = await ask(admins.port, method, path)
                    assert (reply.status, reply.headers["allow"]) == (405, "POST"), (method, path)
            reply = await admins.get("/logging?level=debug")
            assert (reply.status, reply.headers["allow"]) == (405, "POST")
            assert not admins.server.draining
            assert not admins.server.withdrawn

    run(main)


def test_log_levels() -> None:
    def level(name: str) -> str:
        return logging.getLevelName(logging.getLogger(name).getEffectiveLevel())

    async def main() -> None:
        async with administered() as admins:
            reply = await admins.post("/logging?listener=debug&l4proxy.filter.not_yet=error")
            assert reply.status == 200
            assert "l4proxy.listener: debug" in " ".join(reply.text.split())
            assert (level("l4proxy.listener"), level("l4proxy.filter.not_yet")) == ("DEBUG", "ERROR")
            assert level("l4proxy.server") != "DEBUG"
            body = await ask(admins.port, "POST", "/logging", "level=critical&server=info",
                             Content_Type="application/x-www-form-urlencoded")  # fmt: skip
            assert body.status == 200
            assert (level("l4proxy.listener"), level("l4proxy.server"), level("")) == ("CRITICAL", "INFO", "CRITICAL")
            data = (await admins.get("/logging?format=json")).data["loggers"]
            assert (data["root"], data["l4proxy.server"]) == ("critical", "info")

    run(main)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "say a level (?level=debug) or a logger's (?listener=debug)"),
        ("?level=debgu", "there is no log level 'debgu' (did you mean 'debug'?)"),
        ("?level=", "there is no log level '' (known: critical, debug, error, info, warning)"),
        ("?listner=debug", "there is no logger 'listner' (did you mean 'listener'?)"),
        ("?level=debug&listener=loud", "there is no log level 'loud'"),
    ],
)
def test_log_levels_that_there_are_not(query: str, text: str) -> None:
    async def main() -> None:
        async with administered() as admins:
            before = logging.getLogger().level
            reply = await admins.post(f"/logging{query}")
            assert reply.status == 400
            assert reply.text.startswith(text)
            assert logging.getLogger().level == before

    run(main)


def test_health_can_be_withdrawn_and_given_back() -> None:
    async def main() -> None:
        async with administered() as admins:
            assert (await admins.post("/healthcheck/fail")).status == 200
            reply = await admins.get("/ready")
            assert (reply.status, reply.text) == (503, "DRAINING\n")
            with socket.create_connection((HOST, admins.server.addresses["echo"][0].port)):
                pass  # connections are still taken
            assert (await admins.post("/healthcheck/ok")).text == "/ready says LIVE\n"
            assert (await admins.get("/ready")).status == 200

    run(main)


def test_listeners_are_drained_and_the_process_stays() -> None:
    async def main() -> None:
        async with administered() as admins:
            port = admins.server.addresses["echo"][0].port
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"hello")
            await reader.readexactly(5)
            assert (await admins.post("/drain_listeners")).status == 200
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, port))
            assert (await admins.get("/ready")).status == 503
            assert (await admins.post("/healthcheck/ok")).text == "/ready says DRAINING\n"
            assert "echo - closed 1" in " ".join((await admins.get("/listeners")).text.split())
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"
            assert (await admins.post("/drain_listeners")).status == 200
            writer.close()

    run(main)


def test_access_logs_are_opened_again(tmp_path: Any) -> None:
    path = tmp_path / "access.log"

    async def main() -> None:
        async with administered({"access_log": [{"use": "file", "path": str(path)}]}) as admins:
            path.rename(tmp_path / "old.log")
            assert (await admins.post("/reopen_logs")).status == 200
            while not path.exists():
                await asyncio.sleep(0.01)

    run(main)


def test_a_program_around_reloads_and_stops_by_itself() -> None:
    async def main() -> None:
        async with administered() as admins:
            for path in ("/reload", "/quitquitquit"):
                reply = await admins.post(path)
                assert reply.status == 409
                assert "part of a program" in reply.text

    run(main)


class Told:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def reload(self) -> None:
        self.calls.append("reload")
        if len(self.calls) > 1:
            raise ConfigError([ConfigProblem("listeners[0]", "is <wrong>", file="a.toml", line=3)])

    def stop(self, drain_time: float | None) -> None:
        self.calls.append(drain_time)


def test_reload_and_quit() -> None:
    told = Told()

    async def main() -> None:
        async with administered() as admins:
            server: Server = admins.server
            async with administered(target=ServerTarget(server, reload=told.reload, stop=told.stop)) as other:
                assert (await other.post("/reload")).text == "the configuration was reloaded\n"
                reply = await other.post("/reload")
                assert (reply.status, reply.text) == (
                    409,
                    "the configuration was not reloaded, the old one stays:\na.toml:3: listeners[0]: is <wrong>\n",
                )
                assert (await other.post("/quitquitquit")).status == 200
                assert (await other.post("/quitquitquit?now")).status == 200
                assert (await other.post("/quitquitquit?soon")).status == 400

    run(main)
    assert told.calls == ["reload", "reload", None, 0.0]


def test_there_is_a_request_for_all_that_can_be_changed() -> None:
    assert CHANGES.keys() == {"close_connection", "drain_listeners", "reopen_logs", "set_health", "set_log_level"}
