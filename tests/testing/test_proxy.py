"""The proxy of tests: the real one around a filter, talked to with blocking calls or from asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from l4proxy import ConfigError, Filter, NoConfig, Register, hookimpl
from l4proxy.plugins.echo import Echo
from l4proxy.plugins.tcp_proxy import TcpProxy
from l4proxy.registry import Kind
from l4proxy.testing import Proxy, SocketEnd, StartProxy, use


class Shout(Filter[NoConfig]):
    name = "shout"

    def on_client_data(self, data: bytes) -> bytes:
        return data.upper()


@dataclass(frozen=True, slots=True)
class MarkConfig:
    text: str = "!"


class Mark(Filter[MarkConfig]):
    name = "mark"

    def on_client_data(self, data: bytes) -> bytes:
        return data + self.config.text.encode()


class Broken(Filter[NoConfig]):
    name = "broken"

    def on_client_data(self, data: bytes) -> bytes:
        raise RuntimeError("boom")


def test_bytes_pass_the_filters_to_an_echo_and_back(proxy: StartProxy) -> None:
    with proxy(Shout, use(Mark, text="?")).connect() as client:
        client.send(b"hello")
        assert client.receive(6) == b"HELLO?"
        client.eof()
        assert client.receive_all() == b""


def test_the_first_filter_has_the_options(proxy: StartProxy) -> None:
    with proxy(Mark, Shout, text="x").connect() as client:
        client.send(b"a")
        assert client.receive(2) == b"AX"


def test_wrong_options_are_refused_before_anything_runs(proxy: StartProxy) -> None:
    threads = threading.active_count()
    with pytest.raises(ConfigError, match=r"mark.txt: unknown key \(did you mean 'text'\?\)"):
        proxy(Mark, txt="x")
    with pytest.raises(ConfigError, match="there is no cluster 'nowhere'"):
        proxy(use(TcpProxy, cluster="nowhere"))
    assert threading.active_count() == threads


def test_a_function_is_the_upstream(proxy: StartProxy) -> None:
    def greets(end: SocketEnd) -> None:
        end.send(b"220 hello\r\n")
        end.send(end.receive(4))

    with proxy(Shout, upstream=greets).connect() as client:
        assert client.receive(11) == b"220 hello\r\n"
        client.send(b"quit")
        assert client.receive_all() == b"QUIT"


def test_the_upstream_is_a_server_somewhere(proxy: StartProxy) -> None:
    behind = proxy(Mark)
    with proxy(Shout, upstream="{}:{}".format(*behind.address)).connect() as client:
        client.send(b"x")
        assert client.receive(2) == b"X!"


def test_a_terminal_filter_needs_no_upstream(proxy: StartProxy) -> None:
    with proxy(Shout, use(Echo)).connect() as client:
        client.send(b"x")
        assert client.receive(1) == b"X"


def test_a_filter_chooses_among_clusters(proxy: StartProxy) -> None:
    class Choose(Filter[NoConfig]):
        name = "choose"

        def on_connect(self) -> None:
            self.conn.choose_upstream("blue")

    blue = "{}:{}".format(*proxy(Mark).address)
    with proxy(Choose, clusters={"blue": blue}).connect() as client:
        client.send(b"x")
        assert client.receive(2) == b"x!"


def test_options_may_name_what_another_plugin_registers(proxy: StartProxy) -> None:
    class Plugin:
        @hookimpl
        def register_filters(self, register: Register[type[Shout]]) -> None:
            register(Shout)

    running = proxy(Mark, plugins=[Plugin()])
    assert "shout" in running.server.plugins.registry.names(Kind.FILTER)


def test_why_connections_ended_and_what_was_counted(proxy: StartProxy) -> None:
    running = proxy(Shout)
    for _ in range(2):
        with running.connect() as client:
            client.eof()
            client.receive_all()
    assert [reason.detail for reason in running.wait_closed(2)] == ["eof", "eof"]
    assert running.records[0].bytes_received == 0
    assert running.stat("l4proxy_listener_connections_total") == 2
    assert running.stat("l4proxy_listener_closed_total", reason="eof") == 2
    assert running.stat("l4proxy_listener_closed_total", reason="reset") == 0
    assert running.stat("l4proxy_listener_connection_seconds") == 2
    with pytest.raises(LookupError, match="did you mean 'l4proxy_listener_closed_total'"):
        running.stat("l4proxy_listener_close_total")


def test_a_filter_that_raises_fails_the_test() -> None:
    running = Proxy(Broken)
    with running.connect() as client:
        client.send(b"x")
        running.wait_closed()
    with pytest.raises(AssertionError, match=r"(?s)filter broken failed on connection .*RuntimeError: boom"):
        running.stop()


def test_a_filter_may_raise_where_that_is_what_is_tested(proxy: StartProxy) -> None:
    running = proxy(Broken, may_fail=True)
    with running.connect() as client:
        client.send(b"x")
        (reason,) = running.wait_closed()
    assert (reason.detail, reason.filter) == ("filter_error", "broken")
    assert len(running.failures) == 1
    assert "RuntimeError: boom" in running.failures[0]


def test_one_proxy_is_not_blamed_for_another() -> None:
    with Proxy(Shout) as innocent, Proxy(Broken, may_fail=True) as guilty:
        with guilty.connect() as client:
            client.send(b"x")
            guilty.wait_closed()
        assert not innocent.failures


def test_an_upstream_that_raises_fails_the_test() -> None:
    def fails(end: SocketEnd) -> None:
        raise LookupError("what now?")

    running = Proxy(Shout, upstream=fails)
    with running.connect() as client:
        assert client.receive_all() == b""
    with pytest.raises(AssertionError, match=r"(?s)the upstream's handler failed:.*what now\?"):
        running.stop()


def test_connections_that_are_left_open_are_closed_at_the_end() -> None:
    with Proxy(Shout) as running:
        client = running.connect()
        client.send(b"x")
        client.receive(1)
    with client, contextlib.suppress(ConnectionResetError):
        assert client.receive_all() == b""


def test_nothing_is_left_behind() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors(), threading.active_count()
    with Proxy(Shout) as running, running.connect() as client:
        client.send(b"x")
        client.receive(1)
    assert (descriptors(), threading.active_count()) == before


def test_what_belongs_to_the_proxy_is_touched_in_its_thread(proxy: StartProxy) -> None:
    running = proxy(Shout)
    assert running.call(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        running.call(lambda: 1 / 0)


def test_a_test_with_a_loop_of_its_own(proxy: StartProxy) -> None:
    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection(*proxy(Shout).address)
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        return answer

    assert asyncio.run(talk()) == b"HELLO"
