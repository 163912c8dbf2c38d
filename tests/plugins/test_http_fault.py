from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from clusters import run
from http_peers import connect, http_proxy, upstream
from l4proxy import ConfigError


def test_aborts_and_delays() -> None:
    async def conversation() -> None:
        use: dict[str, Any] = {"use": "fault", "delay": "200ms", "abort": 418, "headers": ["x-fault"]}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            assert (await client.get()).status == 200
            before = time.monotonic()
            assert (await client.get("/", "X-Fault: 1")).status == 418
            assert time.monotonic() - before >= 0.2
            assert len(up.seen) == 1
            assert proxy.value("l4proxy_http_fault_active") == 0

    run(conversation)


def test_a_client_that_goes_away_meanwhile_is_not_waited_for() -> None:
    async def conversation() -> None:
        use = {"use": "fault", "delay": "1h"}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy:
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                while not proxy.value("l4proxy_http_fault_active"):
                    await asyncio.sleep(0.01)
                proxy.server.listeners[0].close_connections("test")
                await client.rest()
            assert proxy.value("l4proxy_http_requests_active", http="http") == 0
            assert proxy.value("l4proxy_http_fault_active") == 0

    run(conversation)


def test_a_fault_is_a_delay_or_an_error() -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, filters=[{"use": "fault"}]):
            pass

    with pytest.raises(ConfigError, match="write delay, or abort"):
        run(conversation)
