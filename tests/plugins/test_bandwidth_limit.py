from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters import run
from l4proxy import ConfigError
from l4proxy.plugins.bandwidth_limit import BandwidthLimit, BandwidthLimitStats
from l4proxy.testing import Harness, check_filter, harness, use
from proxying import exchange, proxy, server

KIB = 1024


def stats(h: Harness, direction: str) -> BandwidthLimitStats:
    return h.stats.group(BandwidthLimitStats, name="", direction=direction)


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    h = harness(BandwidthLimit, upload="100KiB/s", upload_burst="50KiB")
    data = pattern(450 * KIB)
    h.client.send(*[data[at : at + 10 * KIB] for at in range(0, len(data), 10 * KIB)])
    assert len(h.upstream.received) == 50 * KIB
    for second in range(1, 4):
        h.advance(1)
        assert 145 * KIB <= len(h.upstream.received) - (second - 1) * 100 * KIB <= 150 * KIB
    h.advance(1.5)
    assert h.upstream.received == data


def test_each_direction_has_its_own_rate() -> None:
    h = harness(BandwidthLimit, upload="10KiB/s", download="100KiB/s")
    h.client.send(bytes(200 * KIB))
    h.upstream.send(bytes(200 * KIB))
    h.advance(1)
    assert len(h.upstream.received) == pytest.approx(12.5 * KIB, rel=0.1)
    assert len(h.client.received) == pytest.approx(125 * KIB, rel=0.1)


def test_a_direction_without_a_rate_is_not_limited() -> None:
    h = harness(BandwidthLimit, upload="10KiB/s")
    h.upstream.send(bytes(1000 * KIB))
    assert len(h.client.received) == 1000 * KIB


def test_who_sends_too_fast_is_not_read() -> None:
    h = harness(BandwidthLimit, upload="10KiB/s", buffer_limit=16 * KIB)
    h.client.send(*[bytes(8 * KIB)] * 1000)
    h.advance(10)
    assert h.connection.client.received <= 102.5 * KIB + 8 * KIB + 16 * KIB
    assert h.connection.upstream.buffered == 0


def test_the_end_of_stream_waits_behind_what_is_held() -> None:
    h = harness(BandwidthLimit, upload="10KiB/s")
    data = pattern(15 * KIB)
    h.client.send(data)
    h.client.eof()
    h.advance(1.1)
    assert not h.upstream.got_eof
    h.advance(0.5)
    assert (h.upstream.received, h.upstream.got_eof) == (data, True)
    h.upstream.send(b"answer")
    h.upstream.eof()
    assert h.client.received == b"answer"
    assert h.closed is not None
    assert h.closed.detail == "eof"


def test_connections_share_the_rate_evenly_whatever_their_chunks() -> None:
    first = harness(BandwidthLimit, download="100KiB/s")
    others = [first.another() for _ in range(3)]
    sizes = (100 * KIB, 10 * KIB, 1 * KIB, 100)
    for h, size in zip((first, *others), sizes, strict=True):
        h.upstream.send(*[bytes(size)] * (600 * KIB // size))
    before = [len(h.client.received) for h in (first, *others)]
    first.advance(10)
    shares = [len(h.client.received) - had for h, had in zip((first, *others), before, strict=True)]
    assert sum(shares) == pytest.approx(1000 * KIB, rel=0.03)
    assert max(shares) - min(shares) <= 5 * KIB


def test_what_a_connection_does_not_use_goes_to_the_others() -> None:
    first = harness(BandwidthLimit, download="100KiB/s")
    other = first.another()
    first.upstream.send(bytes(2000 * KIB))
    other.upstream.send(bytes(2000 * KIB))
    first.advance(1)
    other.client.reset()
    had = len(first.client.received)
    first.advance(5)
    assert len(first.client.received) - had == pytest.approx(500 * KIB, rel=0.03)


def test_each_connection_may_have_the_rate_to_itself() -> None:
    first = harness(BandwidthLimit, upload="100KiB/s", per="connection")
    other = first.another()
    for h in (first, other):
        h.client.send(bytes(1000 * KIB))
    first.advance(5)
    for h in (first, other):
        assert len(h.upstream.received) == pytest.approx(525 * KIB, rel=0.03)


def test_a_client_that_reads_nothing_costs_bounded_memory() -> None:
    h = harness(BandwidthLimit, download="1MiB/s", buffer_limit=16 * KIB)
    h.client.stop_reading()
    h.upstream.send(*[bytes(16 * KIB)] * 1000)
    h.advance(60)
    assert h.connection.upstream.received <= 320 * KIB
    h.client.read_again()
    h.advance(20)
    assert len(h.client.received) == 16_000 * KIB


def test_two_in_one_chain() -> None:
    h = harness(use(BandwidthLimit, upload="100KiB/s"), use(BandwidthLimit, upload="10KiB/s", name="narrow"))
    data = pattern(100 * KIB)
    h.client.send(data)
    h.client.eof()
    h.advance(5)
    assert len(h.upstream.received) == pytest.approx(52.5 * KIB, rel=0.05)
    h.advance(5)
    assert h.upstream.received == data
    assert h.upstream.got_eof


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_reset_while_bytes_are_held(side: str) -> None:
    h = harness(BandwidthLimit, upload="10KiB/s", download="10KiB/s")
    h.client.send(bytes(100 * KIB))
    h.upstream.send(bytes(100 * KIB))
    h.advance(0.5)
    getattr(h, side).reset()
    h.advance(2)
    assert h.finished
    assert h.server.uses[0].shared.upload._bucket.waiting == 0
    assert h.server.uses[0].shared.download._bucket.waiting == 0
    assert (stats(h, "upload").held, stats(h, "download").held) == (0, 0)


def test_it_counts() -> None:
    h = harness(BandwidthLimit, upload="10KiB/s")
    h.client.send(bytes(4 * KIB))
    assert (stats(h, "upload").held_total, stats(h, "upload").held) == (1, 1)
    h.advance(1)
    counted = stats(h, "upload")
    assert (counted.passed_bytes_total, counted.held_total, counted.held) == (4 * KIB, 1, 0)


@given(st.lists(st.integers(1, 5000), max_size=20), st.sampled_from(["1KiB/s", "20KiB/s", "1MB/s"]), st.booleans())
def test_nothing_is_lost_or_reordered(sizes: list[int], rate: str, ends: bool) -> None:
    h = harness(BandwidthLimit, upload=rate, download=rate)
    data = pattern(sum(sizes))
    at = 0
    for size in sizes:
        h.client.send(data[at : at + size])
        h.upstream.send(data[at : at + size])
        at += size
        h.advance(0.1)
    if ends:
        h.client.eof()
    h.advance(sum(sizes) / 1000 + 1)
    assert h.upstream.received == h.client.received == data
    assert h.upstream.got_eof is ends


@pytest.mark.parametrize(
    "options", [{"upload": "100B/s", "download": "50B/s"}, {"upload": "30B/s", "per": "connection"}]
)
def test_keeps_the_contract(options: dict[str, Any]) -> None:
    check_filter(BandwidthLimit, client=[b"question" * 3, b"!"], upstream=[b"answer" * 3], seconds=3, **options)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "upload: write upload, download, or both"),
        ({"upload": "0B/s"}, "upload: must be more than 0"),
        ({"upload": "1MB"}, "upload: .*not a rate"),
        ({"upload": "1MiB/s", "download_burst": "1MiB"}, "download_burst: has no effect without download"),
        ({"download": "1MB/s", "download_burst": "10kB"}, "download_burst: must be at least 200kB"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        harness(BandwidthLimit, **options)


def test_real_connections_get_everything() -> None:
    data = pattern(3_000_000)

    async def main() -> None:
        limit = {"use": "bandwidth_limit", "upload": "20MB/s", "download": "20MB/s"}
        tcp_proxy = {"use": "tcp_proxy", "cluster": "up"}
        async with server() as port, proxy(limit, tcp_proxy, upstreams=[port]) as running:
            assert await exchange(running.port, data) == data
            assert running.value("l4proxy_bandwidth_limit_held_total", name="", direction="upload") == 0

    run(main)
