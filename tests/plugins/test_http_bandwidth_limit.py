from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from clusters import run
from http2_peers import h2_connect
from http_peers import Pour, connect, http_proxy, ok, upstream
from l4proxy import ConfigError
from proxying import Proxy

SIZE = 300_000


def value(proxy: Proxy, name: str, direction: str) -> Any:
    return proxy.value(f"l4proxy_http_bandwidth_limit_{name}", name="http", direction=direction)


def test_downloads_take_their_time() -> None:
    """As many bytes as the burst has pass at once, the others by the rate: none of it too early."""

    async def conversation() -> None:
        use = {"use": "bandwidth_limit", "download": "500KB/s", "download_burst": "100KB"}
        async with upstream(ok(bytes(SIZE))) as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            before = time.monotonic()
            assert len((await client.get()).body) == SIZE
            assert time.monotonic() - before >= 0.3
            assert [value(proxy, name, "download") for name in ("passed_bytes_total", "held_total", "held")] == [
                SIZE, 1, 0,
            ]  # fmt: skip

    run(conversation)


@pytest.mark.parametrize("lines", [[], ["Transfer-Encoding: chunked"]])
def test_uploads_take_their_time(lines: list[str]) -> None:
    async def conversation() -> None:
        use = {"use": "bandwidth_limit", "upload": "500KB/s", "upload_burst": "100KB"}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            before = time.monotonic()
            if lines:
                chunks = b"".join(b"%x\r\n%b\r\n" % (50_000, bytes(50_000)) for _ in range(6)) + b"0\r\n\r\n"
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
                reply = await client.reply()
            else:
                reply = await client.get("/", method="POST", body=bytes(SIZE))
            assert reply.status == 200
            assert time.monotonic() - before >= 0.3
            assert len(up.seen[0].body) == SIZE
            assert value(proxy, "passed_bytes_total", "upload") == SIZE

    run(conversation)


@pytest.mark.parametrize(("per", "least"), [("use", 0.6), ("connection", 0.6), ("request", 0.2)])
def test_who_shares_a_rate(per: str, least: float) -> None:
    """Two requests on one connection, over HTTP/2."""

    async def conversation() -> None:
        use = {"use": "bandwidth_limit", "download": "500KB/s", "download_burst": "100KB", "per": per}
        answer = ok(bytes(200_000))
        async with upstream(answer) as up, http_proxy(up, filters=[use]) as proxy, h2_connect(proxy) as client:
            before = time.monotonic()
            streams = [client.open() for _ in range(2)]
            for stream in streams:
                assert len((await client.reply(stream)).body) == 200_000
            assert time.monotonic() - before >= least

    run(conversation)


def test_memory_stays_bounded_and_a_client_that_goes_leaves_nothing() -> None:
    async def conversation() -> None:
        pour = Pour()
        use = {"use": "bandwidth_limit", "download": "10KB/s"}
        async with upstream(pour) as up, http_proxy(up, filters=[use]) as proxy:
            async with connect(proxy) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await client.reader.read(1000)
                await pour.standstill()
                assert value(proxy, "held", "download") == 1
            while value(proxy, "held", "download"):
                await asyncio.sleep(0.01)
            assert value(proxy, "passed_bytes_total", "download") < 100_000

    run(conversation)


def test_what_has_no_body_is_not_touched() -> None:
    async def conversation() -> None:
        use = {"use": "bandwidth_limit", "download": "1KB/s", "upload": "1KB/s"}
        async with upstream(ok(b"")) as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            for method in ("GET", "HEAD", "POST"):
                assert (await client.get("/", method=method)).status == 200
            assert value(proxy, "passed_bytes_total", "download") == 0

    run(conversation)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "write upload, download, or both"),
        ({"upload": "0B/s"}, "must be more than 0"),
        ({"upload": "1MB/s", "download_burst": 1}, "has no effect without download"),
        ({"upload": "1MB/s", "upload_burst": 1}, "must be at least"),
        ({"upload": "1MB/s", "per": "route"}, "per"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], words: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, filters=[{"use": "bandwidth_limit", **options}]):
            pass

    with pytest.raises(ConfigError, match=words):
        run(conversation)
