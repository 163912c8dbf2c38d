"""Filters that do what they must not: each has an outcome that names it, and harms no connection but its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from l4proxy import CloseReason, ConfigError, Filter, NoConfig, PluginError, Side
from l4proxy.path import INJECT_LIMIT
from l4proxy.testing import Harness, Proxy, StartProxy, harness, use


class Good(Filter[NoConfig]):
    """Stands beside the bad ones, and keeps in ``shared`` how it ended."""

    name = "good"

    @classmethod
    def provision(cls, config: NoConfig, server: Any) -> list[CloseReason]:
        return []

    def on_client_data(self, data: bytes) -> bytes:
        return data

    def on_close(self, reason: CloseReason) -> None:
        self.shared.append(reason)


def outcome(h: Harness, name: str = "bad") -> CloseReason:
    """Why the connection ended: for the filter ``name``, which is counted; the good one has heard it."""
    h.run()
    assert h.closed is not None
    assert (h.closed.detail, h.closed.filter) == ("filter_error", name)
    assert next(use.stats.errors_total for use in h.chain.filters if use.name == name) == 1
    assert h.finished
    return h.closed


# Raising


def raiser(callback: str) -> type[Filter[NoConfig]]:
    def fail(self: Filter[NoConfig], *_: object) -> None:
        raise RuntimeError(f"boom in {callback}")

    class Bad(Filter[NoConfig]):
        name = "bad"

    setattr(Bad, callback, fail)
    return Bad


def raiser_later(callback: Callable[[Filter[NoConfig]], object]) -> type[Filter[NoConfig]]:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_connect(self) -> None:
            callback(self)

    return Bad


async def _boom() -> None:
    await asyncio.sleep(0)
    raise RuntimeError("boom")


def _boom_at_once() -> None:
    raise RuntimeError("boom")


class AsyncOnConnect(Filter[NoConfig]):
    name = "bad"

    async def on_connect(self) -> None:
        await _boom()


def provoke(h: Harness) -> None:
    """Make every callback be called that this connection can have."""
    h.client.stop_reading()
    h.upstream.send(b"x" * 200_000)
    h.client.read_again()
    h.client.send(b"x")
    if h.closed is None:
        h.connection.drain()
    h.run()
    h.advance(0.3)
    h.upstream.eof()
    h.client.eof()


RAISERS = {
    **{
        name: raiser(name)
        for name in (
            "on_connect", "on_client_data", "on_upstream_data", "on_client_eof", "on_upstream_eof", "on_writable",
            "on_drain",
        )
    },
    "async on_connect": AsyncOnConnect,
    "spawned": raiser_later(lambda bad: bad.conn.spawn(_boom())),
    "call_later": raiser_later(lambda bad: bad.conn.call_later(0.1, _boom_at_once)),
}  # fmt: skip


@pytest.mark.parametrize("bad", RAISERS.values(), ids=RAISERS)
def test_an_exception_closes_this_connection_with_the_filters_name(
    bad: type[Filter[NoConfig]], caplog: pytest.LogCaptureFixture
) -> None:
    h = harness(Good, bad)
    provoke(h)
    reason = outcome(h)
    assert "boom" in reason.message
    assert h.chain.filters[0].shared == [reason]
    (record,) = caplog.records
    assert "filter bad failed on connection" in record.getMessage()
    assert record.exc_info is not None
    assert h.client.got_reset or h.client.closed


@pytest.mark.parametrize("bad", RAISERS.values(), ids=RAISERS)
def test_bypassed_it_leaves_the_chain_and_the_rest_goes_on(bad: type[Filter[NoConfig]]) -> None:
    h = harness(Good, use(bad, on_error="bypass"))
    chain = h.chain
    provoke(h)
    assert h.closed is not None
    assert h.closed.detail == "eof"
    assert h.client.received == b"x" * 200_000
    assert h.upstream.received == b"x"
    assert chain.filters[1].stats.errors_total == 1
    assert chain.filters[1].stats.bypassed_total == 1


@pytest.mark.parametrize("on_error", ["close", "bypass"])
def test_on_close_that_raises_is_counted_and_the_others_hear_theirs(on_error: str) -> None:
    h = harness(use(raiser("on_close"), on_error=on_error), Good)
    h.client.eof()
    h.upstream.eof()
    assert h.finished
    assert [reason.detail for reason in h.chain.filters[1].shared] == ["eof"]
    assert h.chain.filters[0].stats.errors_total == 1


def test_a_filter_that_cannot_be_made_costs_one_connection(proxy: StartProxy) -> None:
    running = proxy(raiser("__init__"), may_fail=True)
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError), running.connect() as client:
            client.receive_all()
    assert "filter bad could not be made: RuntimeError('boom in __init__')" in running.wait_closed(2)[0].message
    assert running.stat("l4proxy_filter_errors_total", filter="bad") == 2
    assert running.call(lambda: running.server.active) == 0


class BadProvision(Filter[NoConfig]):
    name = "bad"
    error: Exception = ValueError("no")

    @classmethod
    def provision(cls, config: NoConfig, server: Any) -> None:
        raise cls.error


def test_provision_that_refuses_is_a_problem_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"^bad: no$"):
        Proxy(BadProvision)


def test_provision_that_fails_names_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BadProvision, "error", AttributeError("no attribute 'x'"))
    with pytest.raises(PluginError, match="bad: bad could not be made: AttributeError: no attribute 'x'"):
        Proxy(BadProvision)


def test_cleanup_that_fails_does_not_keep_the_others_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    cleaned = []

    class BadCleanup(Filter[NoConfig]):
        name = "bad"

        @classmethod
        def cleanup(cls, shared: object) -> None:
            raise RuntimeError("boom")

    class GoodCleanup(Filter[NoConfig]):
        name = "good"

        @classmethod
        def cleanup(cls, shared: object) -> None:
            cleaned.append(True)

    Proxy(BadCleanup, GoodCleanup, may_fail=True).stop()
    assert cleaned == [True]
    assert "cleanup of filter bad failed" in caplog.text


# Wrong types


class Decodes(Filter[NoConfig]):
    name = "bad"

    def on_client_data(self, data: bytes) -> Any:
        return data.decode()


class Appends(Filter[NoConfig]):
    """Fails when it is given text, and is not to blame for it."""

    name = "appends"

    def on_client_data(self, data: bytes) -> bytes:
        return data + b"!"


def returns(result: Any) -> type[Filter[NoConfig]]:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> Any:
            return result

        def on_upstream_data(self, data: bytes) -> Any:
            return result

    return Bad


@pytest.mark.parametrize("result", ["text", 7, ["x"], True, {"x": 1}], ids=repr)
@pytest.mark.parametrize("side", ["client", "upstream"])
def test_what_is_not_bytes_is_named_with_its_type(result: Any, side: str) -> None:
    h = harness(returns(result))
    getattr(h, side).send(b"x")
    assert outcome(h).message == f"TypeError('on_{side}_data returned {type(result).__name__}, not bytes')"


def test_what_is_like_bytes_is_fine() -> None:
    for result in (bytearray(b"ab"), memoryview(b"ab")):
        h = harness(returns(result))
        h.upstream.stop_reading(1)
        h.client.send(b"x", b"y")
        h.upstream.read_again()
        assert h.upstream.received == b"abab"


def test_it_is_named_when_the_next_filter_fails_because_of_it() -> None:
    h = harness(Good, Decodes, Appends)
    h.client.send(b"x")
    assert outcome(h).message == "TypeError('on_client_data returned str, not bytes')"
    assert h.chain.filters[2].stats.errors_total == 0


def test_it_is_named_when_the_next_peer_reads_nothing_for_now() -> None:
    h = harness(Decodes)
    h.connection.upstream.write(b"")
    h.upstream.stop_reading()
    h.connection.up.inject(0, b"waits")
    h.client.send(b"x")
    outcome(h)


def test_it_is_named_when_what_waited_is_delivered() -> None:
    h = harness(Decodes, Appends)
    h.filters[0].conn.pause(Side.CLIENT)
    h.client.send(b"x")
    h.filters[0].conn.resume()
    assert outcome(h).message == "TypeError('on_client_data returned str, not bytes')"


def test_a_chunk_that_is_lost_cannot_be_bypassed() -> None:
    h = harness(use(Decodes, on_error="bypass"))
    h.client.send(b"x")
    outcome(h)


@pytest.mark.parametrize("method", ["send_client", "send_upstream"])
def test_sending_what_is_not_bytes_raises_where_it_is_done(method: str) -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> bytes:
            getattr(self.conn, method)("text")
            return data

    h = harness(Appends, Bad, Appends)
    h.client.send(b"x")
    assert outcome(h).message == "TypeError('only bytes can be sent, not str')"


def test_on_connect_that_returns_something_else() -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_connect(self) -> Any:
            return True

    assert "can't be used in 'await' expression" in outcome(harness(Bad)).message


# Leaking


def test_one_that_never_resumes_holds_no_more_than_the_limits() -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.pause()
            return data

    h = harness(Good, Bad, buffer_limit=1024)
    h.client.send(*[b"x" * 1024] * 2000)
    assert h.connection.client.received <= 2 * 1024
    h.client.reset()
    assert h.finished


class Flood(Filter[NoConfig]):
    """Answers each chunk with a mebibyte, and does not look whether the client takes it."""

    name = "flood"

    def on_client_data(self, data: bytes) -> None:
        self.conn.send_client(bytes(1 << 20))


def test_one_that_sends_on_to_a_client_that_does_not_read_is_stopped() -> None:
    h = harness(Flood)
    h.client.stop_reading()
    held = 0
    for _ in range(100):
        h.client.send(b"x")
        held = max(held, h.connection.client.buffered)
    assert INJECT_LIMIT < held <= INJECT_LIMIT + (1 << 20)
    assert h.closed is not None
    assert h.closed.detail == "overflow"
    assert "wait for a peer that does not read" in h.closed.message
    h.advance(6)
    assert h.finished


def test_one_large_answer_is_no_flood() -> None:
    class Large(Filter[NoConfig]):
        name = "large"

        def on_client_data(self, data: bytes) -> None:
            self.conn.send_client(bytes(2 * INJECT_LIMIT))

    h = harness(Large)
    h.client.stop_reading()
    h.client.send(b"x")
    assert h.closed is None
    h.client.read_again()
    assert len(h.client.received) == 2 * INJECT_LIMIT


def test_one_that_sends_before_there_is_an_upstream_is_stopped() -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_connect(self) -> None:
            for _ in range(100):
                self.conn.send_upstream(bytes(1 << 16))

    h = harness(Bad, connect=False)
    assert h.closed is not None
    assert h.closed.detail == "overflow"


def test_tasks_that_never_end_are_cancelled_with_the_connection() -> None:
    cancelled = []

    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.spawn(self.wait())
            return data

        async def wait(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(True)

    h = harness(Bad)
    h.client.send(*[b"x"] * 10)
    h.client.reset()
    h.run()
    assert len(cancelled) == 10
    assert not asyncio.all_tasks(h.loop)


def test_a_client_that_resets_ends_an_on_connect_that_never_returns(proxy: StartProxy) -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        async def on_connect(self) -> None:
            await asyncio.Event().wait()

    running = proxy(Bad)
    running.connect().reset()
    (reason,) = running.wait_closed()
    assert (reason.detail, reason.phase) == ("reset", "on_connect")
    assert running.call(lambda: len(asyncio.all_tasks())) == 2


def test_the_end_of_the_server_ends_an_on_connect_that_never_returns() -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        async def on_connect(self) -> None:
            await asyncio.Event().wait()

    with Proxy(Bad) as running, running.connect() as client:
        client.eof()
    assert [reason.detail for reason in running.closed] == ["drain_timeout"]


# At the wrong time, in the wrong place


def use_everything(bad: Filter[NoConfig]) -> None:
    conn = bad.conn
    conn.send_client(b"late")
    conn.send_upstream(b"late")
    conn.pause()
    conn.resume()
    conn.detach()
    conn.close("again")
    conn.spawn(_boom())
    conn.call_later(0.1, _boom_at_once).cancel()
    conn.call_later(0.1, _boom_at_once)
    conn.state["bad:late"] = True
    conn.log.info("late")
    assert conn.client.port
    assert conn.id
    assert conn.upstream is None or conn.upstream.port
    assert conn.activity >= 0


def test_after_the_close_everything_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.close("enough")
            use_everything(self)
            return data

        def on_close(self, reason: CloseReason) -> None:
            use_everything(self)

    h = harness(Bad)
    bad = h.filters[0]
    h.client.send(b"x")
    h.client.eof()
    assert h.finished
    use_everything(bad)
    h.advance(1)
    assert h.closed == CloseReason("filter", "relay", "enough", "bad")
    assert h.client.received == b""
    assert not caplog.records


def test_detaching_twice_is_detaching_once() -> None:
    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.detach()
            self.conn.detach()
            return data.upper()

    h = harness(Bad, Good)
    bad = h.filters[0]
    h.client.send(b"x", b"y")
    bad.conn.detach()
    h.client.send(b"z")
    assert h.upstream.received == b"Xyz"


def test_one_that_closes_while_what_waited_for_it_is_delivered_hears_no_more() -> None:
    class Bad(Good):
        name = "bad"
        chunks = 0

        def on_upstream_data(self, data: bytes) -> bytes:
            self.chunks += 1
            self.conn.close("enough")
            return data

    h = harness(Bad)
    bad = h.filters[0]
    bad.conn.pause(Side.UPSTREAM)
    for _ in range(3):
        h.connection.down.inject(-1, b"x")
    h.client.stop_reading()
    bad.conn.resume()
    h.upstream.send(b"late")
    h.client.read_again()
    assert bad.chunks == 1  # type: ignore[attr-defined]
    assert h.client.received == b"x"


def test_another_thread_is_told_so(proxy: StartProxy) -> None:
    raised: list[BaseException] = []
    done = threading.Event()

    class Bad(Filter[NoConfig]):
        name = "bad"

        def on_client_data(self, data: bytes) -> bytes:
            threading.Thread(target=self.send, name="helper").start()
            return data

        def send(self) -> None:
            conn = self.conn
            for call in (
                lambda: conn.send_client(b"x"), lambda: conn.send_upstream(b"x"), conn.pause, conn.resume,
                conn.detach, lambda: conn.close("why"), lambda: conn.call_later(1, print),
            ):  # fmt: skip
                try:
                    call()
                except RuntimeError as error:
                    raised.append(error)
            done.set()

    with proxy(Bad).connect() as client:
        client.send(b"x")
        assert client.receive(1) == b"x"
        assert done.wait(10)
        client.eof()
        assert client.receive_all() == b""
    assert len(raised) == 7
    assert "a connection was touched in the thread 'helper'" in str(raised[0])
