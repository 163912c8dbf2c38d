"""Connections over a limit: refused, counted, in the access log, and not a line of the log each."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import l4proxy.logging_setup
from clusters import run
from l4proxy import Register, hookimpl
from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.record import AccessRecord
from l4proxy.filter import NoConfig
from l4proxy.plugin_manager import PluginManager, load_plugins
from l4proxy.server import Server, serve


class Remember(AccessLogger[NoConfig]):
    name = "remember"
    records: list[AccessRecord]

    def __init__(self, config: NoConfig) -> None:
        super().__init__(config)
        type(self).records = []

    def log(self, record: AccessRecord) -> None:
        self.records.append(record)


class Plugin:
    @hookimpl
    def register_access_loggers(self, register: Register[Any]) -> None:
        register(Remember)


@pytest.fixture
def plugins() -> PluginManager:
    manager = load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""})
    manager.register(Plugin(), "remember")
    return manager


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l4proxy.logging_setup, "_last_said", {})


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = server.addresses["web"][0]
    return await asyncio.open_connection(address.host, address.port)


@pytest.mark.parametrize(
    ("limit", "why"), [("listener", "listener_limit"), ("server", "server_limit")], ids=["listener", "server"]
)
def test_a_connection_over_the_limit(
    limit: str, why: str, plugins: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    listener: dict[str, Any] = {"name": "web", "address": "127.0.0.1:0", "filters": [{"use": "echo"}]}
    config: dict[str, Any] = {"listeners": [listener], "access_log": [{"use": "remember"}]}
    (listener if limit == "listener" else config)["max_connections"] = 1

    async def main() -> None:
        async with serve(config, plugins=plugins) as server:
            reader, writer = await connect(server)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            for _ in range(5):
                refused, refused_writer = await connect(server)
                assert await refused.read() == b""
                refused_writer.close()
            stats = server.listeners[0].stats
            assert (stats.connections_total, stats.connections_active, stats.refused_total[why]) == (6, 1, 5)
            writer.close()

    with caplog.at_level(logging.INFO, logger="l4proxy.refusals"):
        run(main)
    refusals = [record for record in Remember.records if record.reason.detail == why]
    assert len(refusals) == 5
    assert {(one.reason.who, one.reason.phase, one.client.host, one.failed) for one in refusals} == {
        ("proxy", "accept", "127.0.0.1", True)
    }
    assert [record.message.endswith("has its 1 connections (1 times)") for record in caplog.records] == [True]


def test_a_connection_that_was_not_redirected_is_given_back(plugins: PluginManager) -> None:
    listener = {"name": "web", "address": "127.0.0.1:0", "original_destination": "redirect", "filters": ["echo"]}

    async def main() -> None:
        async with serve({"listeners": [listener], "access_log": ["remember"]}, plugins=plugins) as server:
            reader, writer = await connect(server)
            assert await reader.read() == b""
            writer.close()
            stats = server.listeners[0].stats
            assert (stats.connections_active, stats.refused_total["not_redirected"], server.active) == (0, 1, 0)

    run(main)
