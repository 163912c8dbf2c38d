"""Accepting: so many a turn, none without descriptors; and connections over a limit, which are refused, counted, in the
access log, and not a line of the log each."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any, ClassVar, cast

import pytest

import l4proxy.listener
import l4proxy.logging_setup
from clusters import run
from l4proxy import Register, hookimpl
from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.record import AccessRecord
from l4proxy.filter import Filter, NoConfig
from l4proxy.listener import ListenerStats
from l4proxy.plugin_manager import PluginManager, load_plugins
from l4proxy.poller import READ
from l4proxy.server import Server, serve
from services.process import neighbouring_ports
from streams import reset


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


def echoing(**options: Any) -> dict[str, Any]:
    return {"listeners": [{"name": "web", "address": "127.0.0.1:0", "filters": ["echo"], **options}]}


def stats_of(server: Server) -> ListenerStats:
    return server.stats.group(ListenerStats, listener="web")


def test_not_more_than_so_many_are_accepted_in_a_turn() -> None:
    async def main() -> None:
        async with serve(echoing(accepts_per_turn=3)) as server:
            address = server.addresses["web"][0]
            clients = [socket.create_connection((address.host, address.port)) for _ in range(8)]
            (listener,) = server.listeners
            for expected in (3, 6, 8, 8):
                listener._acceptors[0](READ)
                assert stats_of(server).connections_total == expected
            for client in clients:
                client.close()

    asyncio.run(main())


def test_without_descriptors_accepting_pauses_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(l4proxy.listener, "PAUSE_WITHOUT_DESCRIPTORS", 0.05)

    async def main() -> None:
        async with serve(echoing()) as server:
            (listener,) = server.listeners
            failures = iter([OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENFILE, "Too many")])

            class Exhausted:
                """The listening socket while descriptors are short."""

                family = socket.AF_INET

                def __init__(self, sock: socket.socket) -> None:
                    self.sock = sock

                def __getattr__(self, name: str) -> Any:
                    return getattr(self.sock, name)

                def accept(self) -> Any:
                    for failure in failures:
                        raise failure
                    return self.sock.accept()

            listener._pause()
            listener._acceptors = [listener._acceptor(cast(Any, Exhausted(listener.sockets[0])))]
            listener.start()
            reader, writer = await connect(server)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert stats_of(server).accept_paused_total == 2
            writer.close()

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once in ten seconds"
    assert "listener web accepts nothing for 0.05 s: [Errno 24] Too many open files" in caplog.text


def test_one_that_is_retired_meanwhile_does_not_accept_again() -> None:
    async def main() -> None:
        async with serve(echoing()) as server:
            (listener,) = server.listeners
            listener._accept_failed(OSError(errno.EMFILE, "Too many open files"))
            listener.retire()
            listener._accept_again()
            assert not listener._accepting

    asyncio.run(main())


def test_a_client_that_has_gone_already_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serve(echoing(address="0.0.0.0:0")) as server:
            (listener,) = server.listeners
            address = server.addresses["web"][0]
            client = socket.create_connection(("127.0.0.1", address.port))
            accepted, _ = listener.sockets[0].accept()
            reset(client)

            class Gone:
                """Accepts what was reset meanwhile; systems differ in what they tell of such a socket."""

                family = socket.AF_INET
                pending: ClassVar = [accepted]

                def getsockname(self) -> tuple[str, int]:
                    return "0.0.0.0", address.port

                def accept(self) -> Any:
                    if not self.pending:
                        raise BlockingIOError
                    self.pending.pop().close()
                    return accepted, ("127.0.0.1", 1)

            listener._acceptor(cast(Any, Gone()))(READ)
            assert stats_of(server).refused_total.values == {"gone": 1}
            assert stats_of(server).connections_active == 0

    asyncio.run(main())


class TellPorts(Filter[NoConfig]):
    """Tell the client which ports its listener has, and which of them it has connected to."""

    name = "tell_ports"
    terminal = True

    def on_connect(self) -> None:
        text = f"{self.conn.client.local_port} of {','.join(map(str, self.conn.listener_ports))}"
        self.conn.send_client(text.encode())
        self.conn.finish("told")


class TellPortsPlugin:
    @hookimpl
    def register_filters(self, register: Register[Any]) -> None:
        register(TellPorts)


def test_a_range_of_ports_is_one_listener(plugins: PluginManager) -> None:
    plugins.register(TellPortsPlugin(), "tell_ports")
    first = neighbouring_ports(3)
    address = f"127.0.0.1:{first}-{first + 2}"

    async def main() -> None:
        async with serve({"listeners": [{"address": address, "filters": ["tell_ports"]}]}, plugins=plugins) as server:
            assert [one.port for one in server.addresses[address]] == [first, first + 1, first + 2]
            for port in (first + 2, first):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await reader.read() == f"{port} of {first},{first + 1},{first + 2}".encode()
                writer.close()

    run(main)
