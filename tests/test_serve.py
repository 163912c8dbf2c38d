"""The proxy as a library: ``async with l4proxy.serve(config)`` in other people's programs and event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

import l4proxy
from l4proxy.config import load_mapping
from l4proxy.config.schema import Cluster, EndpointConfig, Listener
from l4proxy.config.types import Use
from l4proxy.listener import ListenerStats
from l4proxy.plugin_manager import PluginManager
from l4proxy.poller import NestedPoller, new_event_loop
from services.certs import Certs

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "l4proxy": new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Runs a coroutine in each kind of event loop."""

    def run(main: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            await asyncio.wait_for(main(), 60)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(limited())

    return run


def echo(name: str = "l", **options: Any) -> dict[str, Any]:
    return {"listeners": [{"name": name, "address": "127.0.0.1:0", "filters": ["echo"]}], **options}


def forward(*upstreams: l4proxy.Address, **options: Any) -> dict[str, Any]:
    filters = [{"use": "tcp_proxy", "cluster": "c"}]
    return {
        "listeners": [{"name": "l", "address": "127.0.0.1:0", "filters": filters}],
        "clusters": [{"name": "c", "endpoints": [str(upstream) for upstream in upstreams]}],
        **options,
    }


@contextlib.asynccontextmanager
async def connection(server: l4proxy.Server, name: str = "l") -> AsyncIterator[tuple[Reader, Writer]]:
    address = server.addresses[name][0]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(server: l4proxy.Server, data: bytes = b"hello", name: str = "l") -> bytes:
    async with connection(server, name) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        return await reader.read()


def descriptors() -> set[str]:
    """Open descriptors with what they are, but for the one that libuv keeps in reserve."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listed them
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return {one for one in found if not one.endswith(" /dev/null")}


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """What the block opened is closed when it ends: tasks and file descriptors."""
    await asyncio.sleep(0)
    gc.collect()  # what earlier tests have left
    open_before, tasks_before = descriptors(), others()
    yield
    for _ in range(3):  # a cancelled task, or a transport that was closed, ends in the next turn
        await asyncio.sleep(0)
    assert others() == tasks_before
    assert descriptors() - open_before == set()


def test_it_runs_in_every_event_loop_and_leaves_nothing_behind(run: Any) -> None:
    async def main() -> None:
        async with (
            nothing_left(),
            l4proxy.serve(echo()) as upstream,
            l4proxy.serve(forward(*upstream.addresses["l"])) as server,
        ):
            assert await exchange(server, b"x" * 1_000_000) == b"x" * 1_000_000
            answers = await asyncio.gather(*(exchange(server, b"%d" % number) for number in range(20)))
            assert answers == [b"%d" % number for number in range(20)]

    run(main)


def test_another_loop_is_watched_through_one_descriptor(run: Any) -> None:
    async def main() -> None:
        ours = hasattr(asyncio.get_running_loop(), "l4proxy_poller")
        async with l4proxy.serve(echo()) as server:
            assert isinstance(server.poller, NestedPoller) is not ours

    run(main)


def test_a_configuration_of_objects() -> None:
    async def main() -> None:
        async with l4proxy.serve(echo()) as upstream:
            (address,) = upstream.addresses["l"]
            config = l4proxy.Config(
                listeners=(
                    Listener(
                        address=l4proxy.Address("127.0.0.1", 0),
                        name="l",
                        filters=(Use("tcp_proxy", {"cluster": "c"}),),
                    ),
                ),
                clusters=(Cluster(name="c", endpoints=(EndpointConfig(address),)),),
            )
            async with l4proxy.serve(config) as server:
                assert await exchange(server) == b"hello"

    asyncio.run(main())


def test_ports_are_known_while_it_listens() -> None:
    async def main() -> None:
        config = {"listeners": [{"name": "both", "address": ["127.0.0.1:0", "127.0.0.2:0"], "filters": ["echo"]}]}
        async with l4proxy.serve(config) as server:
            one, two = server.addresses["both"]
            assert (one.host, two.host) == ("127.0.0.1", "127.0.0.2")
            assert one.port
            assert two.port
        assert server.addresses == {"both": []}

    asyncio.run(main())


def test_statistics_are_objects() -> None:
    async def main() -> None:
        async with l4proxy.serve(echo()) as server:
            await exchange(server, b"12345")
            stats = server.stats.group(ListenerStats, listener="l")
            assert stats.connections_total == 1
            server.stats.snapshot()
            assert stats.received_bytes_total == 5

    asyncio.run(main())


def test_several_servers_in_one_loop_know_nothing_of_each_other(run: Any) -> None:
    async def main() -> None:
        async with l4proxy.serve(echo("a")) as one, l4proxy.serve(echo("b")) as two, l4proxy.serve(echo("c")) as three:
            await one.stop()
            got = await asyncio.gather(exchange(two, b"2", "b"), exchange(three, b"3", "c"))
            assert [*got] == [b"2", b"3"]
            assert two.stats.group(ListenerStats, listener="b").connections_total == 1
            assert "b" not in three.addresses

    run(main)


def test_plugins_of_the_program_itself() -> None:
    class Shout(l4proxy.Filter[l4proxy.NoConfig]):
        name = "shout"

        def on_client_data(self, data: bytes) -> bytes:
            return data.upper()

    class Plugin:
        @l4proxy.hookimpl
        def register_filters(self, register: l4proxy.Register[Any]) -> None:
            register(Shout)

    async def main() -> None:
        plugins = PluginManager()
        plugins.register(Plugin(), "mine")
        config = {"listeners": [{"name": "l", "address": "127.0.0.1:0", "filters": ["shout", "echo"]}]}
        async with l4proxy.serve(config, plugins=plugins) as server:
            assert await exchange(server) == b"HELLO"

    asyncio.run(main())


def test_signals_and_logging_are_the_programs_own() -> None:
    async def main() -> None:
        signals = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)]
        root, ours = logging.getLogger(), logging.getLogger("l4proxy")
        before = (list(root.handlers), root.level, list(ours.handlers), ours.level, ours.propagate)
        async with l4proxy.serve(echo()) as server:
            await exchange(server)
            now = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)]
            assert now == signals
            assert before == (list(root.handlers), root.level, list(ours.handlers), ours.level, ours.propagate)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("config", "path", "cause"),
    [
        ({}, "listeners", "is missing"),
        ({"listeners": []}, "listeners", "at least one listener is needed"),
        (forward(), "clusters[0].endpoints", "a cluster needs endpoints"),
        (echo(max_conections=1), "max_conections", "did you mean 'max_connections'?"),
        ({"listeners": [{"address": "192.0.2.1:0", "filters": ["echo"]}]}, "listeners[0].address", "no such address"),
        (
            {
                "listeners": [
                    {"address": "127.0.0.1:0", "filters": ["echo"], "access_log": [{"use": "file", "path": "/"}]}
                ]
            },
            "listeners[0].access_log[0].path",
            "cannot open /",
        ),
    ],
)
def test_errors_come_before_anything_is_served(run: Any, config: Mapping[str, Any], path: str, cause: str) -> None:
    async def main() -> None:
        async with nothing_left():
            with pytest.raises(l4proxy.ConfigError) as caught:
                async with l4proxy.serve(config):
                    raise AssertionError("the block was entered")
        (problem,) = caught.value.problems
        assert problem.path == path
        assert cause in problem.cause

    run(main)


def test_a_plugin_that_refuses_to_start() -> None:
    class Refuses:
        @l4proxy.hookimpl
        def startup(self, server: l4proxy.Server) -> None:
            raise RuntimeError("not today")

    async def main() -> None:
        plugins = PluginManager()
        plugins.register(Refuses(), "refuses")
        async with nothing_left():
            with pytest.raises(l4proxy.PluginError, match="'refuses': startup failed: RuntimeError: not today"):
                async with l4proxy.serve(echo(), plugins=plugins):
                    raise AssertionError("the block was entered")

    asyncio.run(main())


def test_an_exception_in_the_block_drains(run: Any) -> None:
    async def main() -> None:
        async with nothing_left(), contextlib.AsyncExitStack() as clients:
            with contextlib.suppress(ZeroDivisionError):
                async with l4proxy.serve(echo()) as server:
                    reader, writer = await clients.enter_async_context(connection(server))
                    writer.write(b"half of it")
                    assert await reader.readexactly(10) == b"half of it"
                    talk = asyncio.create_task(finish(reader, writer))
                    raise ZeroDivisionError
            assert await talk == b"the rest"

    async def finish(reader: Reader, writer: Writer) -> bytes:
        await asyncio.sleep(0)  # the drain has begun
        writer.write(b"the rest")
        writer.write_eof()
        return await reader.read()

    run(main)


def test_connections_get_the_drain_time_and_no_more(run: Any) -> None:
    async def main() -> None:
        async with nothing_left(), contextlib.AsyncExitStack() as clients:
            async with l4proxy.serve(echo(drain_time="50ms")) as server:
                reader, writer = await clients.enter_async_context(connection(server))
                writer.write(b"x")
                await reader.readexactly(1)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert server.stats.group(ListenerStats, listener="l").closed_total["drain_timeout"] == 1

    run(main)


def test_cancelling_ends_the_drain(run: Any) -> None:
    async def serve_for_ever(started: asyncio.Future[l4proxy.Server]) -> None:
        async with l4proxy.serve(echo(drain_time="1h")) as server:
            started.set_result(server)
            await asyncio.Event().wait()

    async def main() -> None:
        async with nothing_left():
            started = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(serve_for_ever(started))
            async with connection(await started) as (reader, writer):
                writer.write(b"x")
                await reader.readexactly(1)
                task.cancel()
                for _ in range(20):
                    await asyncio.sleep(0)
                assert not task.done()  # it drains
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(main)


def test_stopping_early_and_twice(run: Any) -> None:
    async def main() -> None:
        async with nothing_left(), l4proxy.serve(echo()) as server:
            await server.stop()
            await server.stop()

    run(main)


def test_any_free_port_is_another_one_for_each_listener_and_stays_over_a_reload() -> None:
    listeners = [{"name": name, "address": "127.0.0.1:0", "filters": ["echo"]} for name in ("a", "b")]

    async def main() -> None:
        async with l4proxy.serve({"listeners": listeners}) as server:
            before = server.addresses
            assert before["a"] != before["b"]
            assert await exchange(server, b"a", "a") + await exchange(server, b"b", "b") == b"ab"
            server.reload(load_mapping({"listeners": listeners[::-1]}, server.plugins.registry))
            assert server.addresses == before

    asyncio.run(main())


def test_a_reload_changes_the_options_of_sockets_that_stay() -> None:
    def config(nodelay: bool) -> dict[str, Any]:
        return {"listeners": [{"address": "127.0.0.1:0", "nodelay": nodelay, "filters": ["echo"]}], "label_budget": 7}

    async def main() -> None:
        async with l4proxy.serve(config(True)) as server:
            (sock,) = server.listeners[0].sockets
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            server.reload(load_mapping({**config(False), "label_budget": 8}, server.plugins.registry))
            assert server.listeners[0].sockets == [sock]
            assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert server.stats.label_budget == 8

    asyncio.run(main())


def test_tls_is_counted_by_listener_and_cluster_and_certificates_by_file(certs: Certs, tmp_path: Path) -> None:
    files = {"cert": str(certs.server.cert), "key": str(certs.server.key)}
    inner = f"unix:{tmp_path}/inner"
    listeners = [
        {"name": "outer", "address": "127.0.0.1:0", "tls": files, "filters": [{"use": "tcp_proxy", "cluster": "c"}]},
        {"name": "inner", "address": inner, "tls": {**files, "max_handshakes": 1}, "filters": ["echo"]},
    ]
    towards = {"ca": str(certs.ca), "server_name": "localhost"}
    clusters = [{"name": "c", "endpoints": [inner], "tls": towards, "connect_timeout": "2s"}]

    async def main() -> None:
        async with nothing_left(), l4proxy.serve({"listeners": listeners, "clusters": clusters}) as server:
            (address,) = server.addresses["outer"]
            trust = ssl.create_default_context(cafile=certs.ca)
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=trust, server_hostname="localhost"
            )
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            stats = server.stats.snapshot()
            counted = {tuple(one["labels"]): one["value"] for one in stats["l4proxy_tls_handshakes_total"]["samples"]}
            assert counted == {("outer", ""): 1, ("inner", ""): 1, ("", "c"): 1}
            (expiry,) = stats["l4proxy_certificate_expiration_seconds"]["samples"]
            assert expiry["labels"][0] == str(certs.server.cert)

            idle = [await asyncio.open_unix_connection(f"{tmp_path}/inner") for _ in range(2)]
            assert await idle[1][0].read() == b"", "one handshake is under way"
            assert server.stats.group(ListenerStats, listener="inner").refused_total["tls_handshake_limit"] == 1
            for _, one in idle:
                one.close()
            writer.close()

    asyncio.run(main())


def test_the_admin_interface_that_the_configuration_asks_for() -> None:
    async def main() -> None:
        async with nothing_left(), l4proxy.serve(echo(admin={"address": "127.0.0.1:0"})) as server:
            (address,) = server.admin_addresses
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            await reader.read()
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_no_admin_interface_unless_it_is_asked_for() -> None:
    async def main() -> None:
        async with l4proxy.serve(echo()) as server:
            assert server.admin_addresses == []

    asyncio.run(main())
