from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clusters import run
from l4proxy import ConfigError, PeekInfo
from l4proxy.plugins.connection_limit import ConnectionLimit, ConnectionLimitStats
from l4proxy.plugins.direct_response import DirectResponse
from l4proxy.testing import Harness, check_filter, harness, use
from proxying import HOST, exchange, proxy, server


def client(host: str) -> PeekInfo:
    return PeekInfo((host, 40000), ("192.0.2.1", 80))


def refused(h: Harness) -> bool:
    return h.closed is not None and h.closed.detail == "connection_limit"


def stats(h: Harness) -> ConnectionLimitStats:
    return h.stats.group(ConnectionLimitStats, name="")


def test_one_more_than_the_limit_is_refused_until_one_has_gone() -> None:
    first = harness(ConnectionLimit, max_connections=2)
    second, third = first.another(), first.another()
    assert [refused(h) for h in (first, second, third)] == [False, False, True]
    assert third.finished
    assert third.closed is not None
    assert third.closed.message == "max_connections is reached"
    assert third.upstream.sock.fileno() not in third.poller._callbacks, "nothing was connected"
    assert stats(first).connections_active == 2
    first.client.reset()
    assert not refused(first.another())
    assert refused(first.another())
    assert (stats(first).connections_total, stats(first).limited_total.values) == (3, {"max_connections": 2})


def test_a_limit_for_each_source() -> None:
    first = harness(ConnectionLimit, max_connections_per_source=1, info=client("192.0.2.1"))
    assert refused(first.another(info=client("192.0.2.1")))
    assert refused(first.another(info=client("::ffff:192.0.2.1")))
    other = first.another(info=client("192.0.2.2"))
    assert not refused(other)
    assert not refused(first.another(info=client("")))
    assert refused(first.another(info=client("")))
    first.client.reset()
    assert refused(first.another(info=client("192.0.2.2")))
    assert not refused(first.another(info=client("192.0.2.1")))
    assert stats(first).limited_total.values == {"max_connections_per_source": 4}


def test_sources_may_be_networks() -> None:
    first = harness(ConnectionLimit, max_connections_per_source=1, ipv4_prefix=24, info=client("192.0.2.1"))
    assert refused(first.another(info=client("192.0.2.200")))
    assert not refused(first.another(info=client("192.0.3.1")))
    assert not refused(first.another(info=client("2001:db8::1")))
    assert refused(first.another(info=client("2001:db8::ffff")))
    assert not refused(first.another(info=client("2001:db8:0:1::1")))


def test_nothing_is_remembered_of_sources_that_have_gone() -> None:
    first = harness(ConnectionLimit, max_connections_per_source=5)
    others = [first.another(info=client(f"192.0.2.{n}")) for n in range(1, 50)]
    for h in (first, *others):
        h.client.reset()
    assert first.server.uses[0].shared._by_source == {}
    assert stats(first).connections_active == 0


def test_both_limits() -> None:
    first = harness(ConnectionLimit, max_connections=3, max_connections_per_source=2, info=client("192.0.2.1"))
    first.another(info=client("192.0.2.1"))
    assert refused(first.another(info=client("192.0.2.1")))
    assert not refused(first.another(info=client("192.0.2.2")))
    assert refused(first.another(info=client("192.0.2.3")))
    assert stats(first).limited_total.values == {"max_connections_per_source": 1, "max_connections": 1}


def test_a_refusal_with_delay_keeps_the_client_waiting_unread() -> None:
    first = harness(ConnectionLimit, max_connections=1, delay="2s")
    late = first.another()
    late.client.send(b"hello")
    late.advance(1.9)
    assert late.closed is None
    assert late.connection.client.received == 0
    late.advance(0.3)
    assert refused(late)
    assert late.finished


def test_a_client_that_resets_while_it_is_delayed() -> None:
    first = harness(ConnectionLimit, max_connections=1, delay="2s")
    late = first.another()
    late.client.reset()
    assert late.finished
    late.advance(3)
    assert stats(first).connections_active == 1


def test_a_connection_that_a_filter_before_it_has_refused_is_not_counted() -> None:
    h = harness(DirectResponse, use(ConnectionLimit, max_connections=1), text="no")
    assert stats(h).connections_total == 0
    h.client.eof()
    assert stats(h).connections_active == 0


def test_keeps_the_contract() -> None:
    check_filter(ConnectionLimit, client=[b"question", b"!"], upstream=[b"answer"], max_connections=1)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "write max_connections, max_connections_per_source, or both"),
        ({"max_connections": 1, "ipv4_prefix": 33}, "ipv4_prefix: 33 is out of range"),
        ({"max_connection": 1}, "did you mean 'max_connections'"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(ConnectionLimit, **options)


def test_real_connections() -> None:
    async def main() -> None:
        limit = {"use": "connection_limit", "max_connections": 1, "max_connections_per_source": 1}
        async with server() as port, proxy(limit, {"use": "tcp_proxy", "cluster": "up"}, upstreams=[port]) as running:
            reader, writer = await asyncio.open_connection(HOST, running.port)
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            assert await exchange(running.port, ends=False) == b""
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            assert await exchange(running.port, b"b") == b"b"

    run(main)
