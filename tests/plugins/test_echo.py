from __future__ import annotations

import asyncio

from clusters import run
from l4proxy.plugins.bandwidth_limit import BandwidthLimit
from l4proxy.plugins.echo import Echo
from l4proxy.testing import check_filter, harness, use
from proxying import HOST, exchange, proxy


def test_everything_comes_back_in_order() -> None:
    h = harness(Echo)
    h.client.send(b"a", b"bc", b"d")
    assert h.client.received == b"abcd"


def test_the_clients_end_ends_it() -> None:
    h = harness(Echo)
    h.client.send(b"a")
    h.client.eof()
    assert h.client.received == b"a"
    assert h.finished
    assert h.closed is not None
    assert (h.closed.who, h.closed.detail) == ("client", "eof")


def test_a_client_that_does_not_read_is_not_read() -> None:
    h = harness(Echo, buffer_limit=1024)
    h.client.stop_reading()
    h.client.send(*[b"x" * 512] * 100)
    h.client.eof()
    assert h.connection.client.received <= 1024 + 2 * 512
    assert h.closed is None, "its end waits behind its bytes"
    h.client.read_again()
    assert h.client.received == b"x" * 51200
    assert h.finished


def test_a_client_that_resets_while_it_is_held() -> None:
    h = harness(Echo, buffer_limit=1024)
    h.client.stop_reading()
    h.client.send(*[b"x" * 512] * 10)
    h.client.reset()
    assert h.finished


def test_keeps_the_contract() -> None:
    check_filter(Echo, client=[b"hello" * 5, b"!"], expect_client=b"hello" * 5 + b"!")


def test_what_a_filter_before_it_holds_comes_back_too() -> None:
    h = harness(use(BandwidthLimit, download="1KiB/s"), Echo)
    h.client.send(b"x" * 2000)
    h.client.eof()
    h.advance(3)
    assert h.client.received == b"x" * 2000
    assert h.finished


def test_real_clients() -> None:
    data = bytes(range(256)) * 20_000

    async def main() -> None:
        async with proxy("echo") as running:
            reader, writer = await asyncio.open_connection(HOST, running.port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            assert await asyncio.gather(*[exchange(running.port, data) for _ in range(5)]) == [data] * 5

    run(main)
