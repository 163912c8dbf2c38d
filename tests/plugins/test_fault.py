from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters import run
from l4proxy import ConfigError
from l4proxy.plugins.fault import Fault, FaultStats
from l4proxy.testing import Harness, check_filter, harness, use
from proxying import HOST, exchange, proxy, server


def stats(h: Harness) -> FaultStats:
    return h.stats.group(FaultStats, name="")


def detail(h: Harness) -> str:
    return h.closed.detail if h.closed else ""


def test_a_connection_that_begins_late() -> None:
    h = harness(Fault, connect_delay="2s")
    h.client.send(b"hello")
    h.advance(1.9)
    assert h.terminal is None
    assert h.upstream.received == b""
    h.advance(0.2)
    assert h.upstream.received == b"hello"
    assert h.connection.client.on_data == h.connection.upstream.write, "its bytes are left alone"
    assert stats(h).injected_total.values == {"connect_delay": 1}


def test_a_client_that_resets_before_it_begins() -> None:
    h = harness(Fault, connect_delay="2s", chunk_delay="1s")
    h.client.reset()
    assert h.finished
    h.advance(3)
    assert h.terminal is None


def test_an_aborted_connection_is_reset_and_nothing_is_connected() -> None:
    h = harness(Fault, abort_percent=100)
    assert str(h.closed) == "filter:fault_abort:fault phase=on_connect"
    assert h.closed is not None
    assert h.closed.flags == ("FI",)
    assert h.client.got_reset
    assert h.terminal is None
    assert stats(h).injected_total.values == {"abort": 1}


def test_a_connection_that_begins_late_and_is_aborted_then() -> None:
    h = harness(Fault, connect_delay="1s", abort_percent="100%")
    h.advance(0.9)
    assert h.closed is None
    h.advance(0.2)
    assert h.client.got_reset


def test_chunks_come_late_in_both_directions() -> None:
    h = harness(Fault, chunk_delay="1s")
    h.client.send(b"1", b"2")
    h.upstream.send(b"3")
    h.client.eof()
    h.advance(0.9)
    assert (h.upstream.received, h.client.received) == (b"", b"")
    h.advance(0.2)
    assert (h.upstream.received, h.client.received) == (b"1", b"3")
    assert not h.upstream.got_eof
    h.advance(1.2)
    assert h.upstream.received == b"12"
    assert h.upstream.got_eof


def test_bytes_drip() -> None:
    h = harness(Fault, drip_size=3, drip_interval="1s")
    h.client.send(b"abcdefg", b"hi")
    seen = [h.upstream.received]
    for _ in range(4):
        h.advance(1.05)
        seen.append(h.upstream.received)
    assert seen == [b"abc", b"abcdef", b"abcdefg", b"abcdefghi", b"abcdefghi"]
    h.upstream.send(b"12345")
    assert h.client.received == b"123"


def test_drip_with_delay() -> None:
    h = harness(Fault, chunk_delay="3s", drip_size=1, drip_interval="1s")
    h.client.send(b"ab")
    h.advance(2.9)
    assert h.upstream.received == b""
    h.advance(0.2)
    assert h.upstream.received == b"a"
    h.advance(1.1)
    assert h.upstream.received == b"ab"


@pytest.mark.parametrize("chunks", [[b"abcdefgh"], [b"abc", b"de", b"fgh"], [b"a", b"b", b"c", b"d", b"e", b"f"]])
@pytest.mark.parametrize("drips", [{}, {"drip_size": 2, "drip_interval": "1s"}, {"chunk_delay": "1s"}])
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_reset_comes_behind_exactly_so_many_bytes(direction: str, drips: dict[str, Any], chunks: list[bytes]) -> None:
    options: dict[str, Any] = {f"reset_after_{direction}": 5, **drips}
    h = harness(Fault, **options)
    sender, receiver = (h.client, h.upstream) if direction == "upload" else (h.upstream, h.client)
    receiver.send(b"ok")
    h.advance(2)
    sender.send(*chunks)
    h.advance(20)
    assert receiver.received == b"abcde"
    assert sender.received == b"ok"
    assert (detail(h), h.client.got_reset, h.upstream.got_reset) == ("fault_reset", True, True)
    assert h.finished
    assert stats(h).injected_total.values == {"reset": 1}


def test_fewer_bytes_than_that_are_no_reason_to_reset() -> None:
    h = harness(Fault, reset_after_upload=5, reset_after_download=5)
    h.client.send(b"abcd")
    h.upstream.send(b"efgh")
    h.client.eof()
    h.upstream.eof()
    assert (h.upstream.received, h.client.received, detail(h)) == (b"abcd", b"efgh", "eof")


def test_the_same_seed_disturbs_the_same_connections() -> None:
    def disturbed(seed: int) -> list[bool]:
        first = harness(Fault, percent=30, abort_percent=50, chunk_delay="1s", seed=seed)
        return [h.closed is not None for h in (first, *[first.another() for _ in range(200)])]

    assert disturbed(1) == disturbed(1) != disturbed(2)
    assert 15 <= sum(disturbed(1)) <= 45


def test_only_a_share_of_connections_is_disturbed() -> None:
    first = harness(Fault, percent="25%", drip_size=1, drip_interval="1s", seed=7)
    everyone = [first, *[first.another() for _ in range(399)]]
    assert 70 <= stats(first).disturbed_total <= 130
    untouched = [h for h in everyone if h.connection.client.on_data == h.connection.upstream.write]
    assert len(untouched) == 400 - stats(first).disturbed_total, "nobody reads the bytes of the others"


def test_never_and_always() -> None:
    never = harness(Fault, percent=0, abort_percent=100)
    always = harness(Fault, abort_percent=100)
    assert not [h for h in [never.another() for _ in range(100)] if h.closed]
    assert all(h.closed for h in [always.another() for _ in range(100)])


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_reset_while_bytes_are_held(side: str) -> None:
    h = harness(Fault, drip_size=1, drip_interval="1s", chunk_delay="1s")
    h.client.send(b"abc", b"def")
    h.upstream.send(b"ghi")
    h.advance(2)
    getattr(h, side).reset()
    h.advance(10)
    assert h.finished
    assert h.timers._buckets == {}


def test_memory_is_bounded() -> None:
    h = harness(Fault, drip_size=1, drip_interval="1s", buffer_limit=1024)
    h.client.send(*[b"x" * 512] * 1000)
    h.advance(5)
    assert h.connection.client.received <= 3 * 1024


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=6),
    st.sampled_from([{}, {"chunk_delay": "100ms"}]),
    st.sampled_from([{}, {"drip_size": 3, "drip_interval": "100ms"}, {"drip_size": 1000, "drip_interval": "1ms"}]),
)
def test_nothing_is_lost_or_reordered(chunks: list[bytes], delay: dict[str, Any], drip: dict[str, Any]) -> None:
    h = harness(Fault, reset_after_upload=10_000, **delay, **drip)
    h.client.send(*chunks)
    h.upstream.send(*chunks)
    h.client.eof()
    h.upstream.eof()
    h.advance(60)
    assert h.upstream.received == h.client.received == b"".join(chunks)
    assert detail(h) == "eof"


def test_two_in_one_chain() -> None:
    h = harness(use(Fault, chunk_delay="1s"), use(Fault, drip_size=2, drip_interval="1s"))
    h.client.send(b"abcde")
    h.client.eof()
    h.advance(5)
    assert h.upstream.received == b"abcde"
    assert h.upstream.got_eof


@pytest.mark.parametrize(
    "options",
    [
        {"connect_delay": "1s"},
        {"chunk_delay": "100ms"},
        {"drip_size": 3, "drip_interval": "100ms"},
        {"reset_after_upload": 1000},
    ],
)
def test_keeps_the_contract(options: dict[str, Any]) -> None:
    made = use(Fault, **options)
    check_filter(made, client=[b"question" * 2, b"!"], upstream=[b"answer"], seconds=5, rounds=5)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "there is no fault to make"),
        ({"percent": 50}, "there is no fault to make"),
        ({"drip_size": 1}, "drip_size: needs drip_interval beside it"),
        ({"drip_interval": "1s"}, "drip_interval: needs drip_size beside it"),
        ({"abort_percent": 101}, "abort_percent: 101 is not a percentage"),
        ({"delay": "1s"}, "delay: unknown key"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(Fault, **options)


def test_real_connections_are_reset_behind_the_bytes() -> None:
    data = random.Random(1).randbytes(500_000)

    async def main() -> None:
        fault = {"use": "fault", "reset_after_download": 300_000}
        tcp_proxy = {"use": "tcp_proxy", "cluster": "up"}
        async with server() as port, proxy(fault, tcp_proxy, upstreams=[port]) as running:
            assert await exchange(running.port, data[:1000]) == data[:1000]
            reader, writer = await asyncio.open_connection(HOST, running.port)
            writer.write(data)
            received = b""
            try:
                while chunk := await reader.read(65536):
                    received += chunk
            except ConnectionResetError:
                pass
            else:
                pytest.fail("it ended in good order")
            assert data[:300_000].startswith(received)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(main)
