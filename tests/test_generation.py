"""Generations: made whole or not at all, and cleaned up when their last connection is gone; sockets outlive them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy import (
    Address,
    ConfigError,
    Filter,
    NoConfig,
    PluginManager,
    Register,
    Server,
    hookimpl,
    load_plugins,
    serve,
)
from l4proxy.config import load_mapping
from l4proxy.config.schema import Keepalive, Listener
from l4proxy.config.types import Use
from l4proxy.generation import SocketStore
from l4proxy.server import try_out
from l4proxy.sockets import bound_address

said: list[str] = []


class Told(Filter[NoConfig]):
    """Writes down what becomes of it."""

    name = "told"

    @classmethod
    def provision(cls, config: NoConfig, server: Server) -> int:
        said.append("provision")
        return len(said)

    @classmethod
    def cleanup(cls, shared: int) -> None:
        said.append(f"cleanup {shared}")


class Refuses(Filter[NoConfig]):
    """Refuses to be configured."""

    name = "refuses"

    @classmethod
    def provision(cls, config: NoConfig, server: Server) -> None:
        raise ValueError("not today")


class Plugin:
    @hookimpl
    def register_filters(self, register: Register[Any]) -> None:
        register(Told)
        register(Refuses)


@pytest.fixture
def plugins() -> PluginManager:
    said.clear()
    manager = load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""})
    manager.register(Plugin(), "test")
    return manager


def listening(*filters: str, address: str = "127.0.0.1:0") -> dict[str, Any]:
    return {"listeners": [{"name": "l", "address": address, "filters": [*filters, "echo"]}]}


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    (address,) = server.addresses["l"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    return reader, writer


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_the_old_one_is_cleaned_up_behind_its_last_connection(plugins: PluginManager) -> None:
    async def main() -> None:
        async with serve(listening("told"), plugins=plugins) as server:
            old = [await connect(server) for _ in range(2)]
            server.reload(load_mapping(listening("told"), plugins.registry))
            assert said == ["provision", "provision"]
            assert len(server.generations) == 2
            new = await connect(server)
            for _, writer in old:
                assert "cleanup 1" not in said
                writer.close()
                await writer.wait_closed()
                await until(lambda: server.active < 3)
            await until(lambda: len(server.generations) == 1)
            assert said == ["provision", "provision", "cleanup 1"]
            new[1].close()
        assert said[3:] == ["cleanup 2"]

    asyncio.run(asyncio.wait_for(main(), 30))


def test_one_without_connections_is_cleaned_up_at_once(plugins: PluginManager) -> None:
    async def main() -> None:
        async with serve(listening("told"), plugins=plugins) as server:
            server.reload(load_mapping(listening("told"), plugins.registry))
            assert said == ["provision", "provision", "cleanup 1"]

    asyncio.run(main())


def test_one_that_is_refused_gives_back_what_it_had_made(plugins: PluginManager) -> None:
    async def main() -> None:
        async with serve(listening(), plugins=plugins) as server:
            with pytest.raises(ConfigError, match=r"listeners\[0\]\.filters\[1\]: not today"):
                server.reload(load_mapping(listening("told", "refuses"), plugins.registry))
            assert said == ["provision", "cleanup 1"]
            assert len(server.generations) == 1

    asyncio.run(main())


def test_all_that_is_wrong_is_said(plugins: PluginManager) -> None:
    async def main() -> None:
        async with serve(listening(), plugins=plugins) as server:
            with pytest.raises(ConfigError) as caught:
                server.reload(load_mapping(listening("refuses", "told", "refuses"), plugins.registry))
            assert [one.path for one in caught.value.problems] == ["listeners[0].filters[0]", "listeners[0].filters[2]"]
            assert said == ["provision", "cleanup 1"]

    asyncio.run(main())


def test_an_address_that_is_taken_is_a_problem_of_its_listener(plugins: PluginManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = listening(address=f"127.0.0.1:{taken.getsockname()[1]}")

        async def main() -> None:
            async with serve(config, plugins=plugins):
                pass

        with pytest.raises(ConfigError, match=r"listeners\[0\]\.address: cannot listen on .* in use"):
            asyncio.run(main())


def test_a_trial_makes_everything_and_gives_it_back(plugins: PluginManager, tmp_path: Path) -> None:
    log = {"access_log": [{"use": "file", "path": str(tmp_path / "a.log")}]}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = load_mapping({**listening("told", address=address), **log}, plugins.registry)
        asyncio.run(try_out(config, plugins))
    assert said == ["provision", "cleanup 1"]
    assert not list(tmp_path.iterdir())
    refused = load_mapping(listening("refuses"), plugins.registry)
    with pytest.raises(ConfigError, match=r"listeners\[0\]\.filters\[0\]: not today"):
        asyncio.run(try_out(refused, plugins))


# Sockets

ANYWHERE = Address("127.0.0.1", 0)
LISTENER = Listener(ANYWHERE, filters=(Use("echo"),))


@pytest.fixture
def store() -> Iterator[SocketStore]:
    store = SocketStore()
    yield store
    store.keep_only(set())


def numbers(*groups: list[socket.socket]) -> set[int]:
    return {sock.fileno() for group in groups for sock in group}


def test_an_address_is_opened_once(store: SocketStore) -> None:
    any_port = store.take(ANYWHERE, LISTENER, owner="a")
    assert store.take(ANYWHERE, LISTENER, owner="a") is any_port
    assert store.take(ANYWHERE, LISTENER, owner="b") is not any_port
    fixed = bound_address(any_port[0])
    store.keep_only(set())
    opened = store.take(fixed, LISTENER)
    assert store.all() == {str(fixed): opened}
    assert bound_address(opened[0]) == fixed


def test_what_is_not_used_is_closed(store: SocketStore) -> None:
    one, other = (store.take(ANYWHERE, LISTENER, owner=owner) for owner in "ab")
    store.keep_only(numbers(one))
    assert one[0].fileno() >= 0
    assert other[0].fileno() == -1
    assert list(store.all().values()) == [one]


def test_what_was_inherited_is_used_before_anything_is_opened(store: SocketStore) -> None:
    wanted, unwanted = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    address = bound_address(wanted)
    store.inherited = {str(address): [wanted], "127.0.0.1:1": [unwanted]}
    assert store.take(address, LISTENER) == [wanted]
    store.close_unused()
    assert (wanted.fileno() >= 0, unwanted.fileno()) == (True, -1)
    assert store.inherited == {}


def test_one_socket_under_two_names_stays_open_while_one_of_them_is_used(store: SocketStore) -> None:
    """A socket of the service manager's that is bound to every interface can be meant by either."""
    sock = socket.create_server(("0.0.0.0", 0))
    port = sock.getsockname()[1]
    store.inherited = {f"0.0.0.0:{port}": [sock], f":{port}": [sock]}
    assert store.take(Address("", port), LISTENER) == [sock]
    store.close_unused()
    assert sock.fileno() >= 0


def test_another_worker_has_the_same_port_and_shares_unix_sockets(store: SocketStore, tmp_path: Path) -> None:
    options: Any = SimpleNamespace(
        reuse_port=True, transparent=False, original_destination="off", nodelay=True, keepalive=Keepalive(), backlog=9,
        unix_mode="0600",
    )  # fmt: skip
    second, unix = SocketStore(), Address(path=str(tmp_path / "s"))
    (one,) = store.take(ANYWHERE, options, owner="a")
    (other,) = second.take(ANYWHERE, options, owner="a", beside=store)
    assert one.fileno() != other.fileno()
    assert one.getsockname() == other.getsockname()
    (shared,) = second.take(unix, options, beside=store)
    store.keep_only(set())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        shared.accept()[0].close()
    second.keep_only(set())
