from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters import run, until
from l4proxy import serve
from l4proxy.config.structure import structure
from l4proxy.errors import ConfigError
from l4proxy.plugins.statsd_sink import StatsdConfig, StatsdSink, metric_lines, packets
from l4proxy.registry import Registry
from l4proxy.snapshot import Snapshot
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stats_registry import StatsRegistry

HOST = "127.0.0.1"


class ShopStats(Stats, subsystem="shop", labels=("town",)):
    sales_total = counter("Sales.")
    balance = gauge("Money.", number=float)
    wait_seconds = histogram("Waits.", buckets=SECONDS)
    refused_total = labelled_counter("Refusals.", label="reason")


def shop(town: str = "ulm") -> Snapshot:
    registry = StatsRegistry()
    stats = registry.group(ShopStats, town=town)
    stats.sales_total += 3
    stats.balance = 2.5
    for _ in range(10):
        stats.wait_seconds.record(0.5)
    stats.refused_total.add("no, thanks|#", 2)
    snapshot = registry.snapshot()
    return {name: family for name, family in snapshot.items() if "_shop_" in name}


def lines(snapshot: Snapshot, **options: Any) -> list[str]:
    config = structure(StatsdConfig, options, registry=Registry())
    return [line.decode() for line in metric_lines(snapshot, config)]


def test_statsd_has_the_labels_in_the_name() -> None:
    assert lines(shop("new york:1"), prefix="prod") == [
        "prod.l4proxy_shop_sales_total.new_york_1:3|c",
        "prod.l4proxy_shop_balance.new_york_1:2.5|g",
        "prod.l4proxy_shop_wait_seconds.new_york_1.count:10|c",
        "prod.l4proxy_shop_wait_seconds.new_york_1.sum:5|c",
        "prod.l4proxy_shop_wait_seconds.new_york_1.p50:0.375|g",
        "prod.l4proxy_shop_wait_seconds.new_york_1.p90:0.475|g",
        "prod.l4proxy_shop_wait_seconds.new_york_1.p99:0.4975|g",
        "prod.l4proxy_shop_refused_total.new_york_1.no_thanks_:2|c",
    ]


def test_dogstatsd_has_tags() -> None:
    found = lines(shop("new york:1"), dialect="dogstatsd", tags={"env": "a b"})
    assert found[0] == "l4proxy_shop_sales_total:3|c|#env:a_b,town:new_york:1"
    assert found[-1] == "l4proxy_shop_refused_total:2|c|#env:a_b,town:new_york:1,reason:no_thanks_"
    assert lines(shop(), dialect="dogstatsd")[0] == "l4proxy_shop_sales_total:3|c|#town:ulm"


def test_what_did_not_grow_is_not_sent() -> None:
    snapshot = shop()
    for family in snapshot.values():
        for sample in family["samples"]:
            sample["value"] = {"counts": [0] * 23, "sum": 0.0} if isinstance(sample["value"], dict) else 0
    assert lines(snapshot) == ["l4proxy_shop_balance.ulm:0|g"]


def test_a_gauge_below_zero_is_set_and_not_changed() -> None:
    snapshot = shop()
    snapshot["l4proxy_shop_balance"]["samples"][0]["value"] = -4
    assert lines(snapshot)[1:3] == ["l4proxy_shop_balance.ulm:0|g", "l4proxy_shop_balance.ulm:-4|g"]


@pytest.mark.parametrize("town", ["", "ü", "\n", "a\nb:1|c", "…"])
def test_a_label_cannot_forge_a_metric(town: str) -> None:
    for dialect in ("statsd", "dogstatsd"):
        for line in lines(shop(town), dialect=dialect):
            assert line.splitlines() == [line]
            assert line.count("|") == (1 if dialect == "statsd" else 2)


@given(st.lists(st.binary(min_size=1, max_size=300)), st.integers(200, 1500))
def test_packets_are_bounded_and_lose_only_what_never_fits(given_lines: list[bytes], limit: int) -> None:
    clean = [line.replace(b"\n", b"x") for line in given_lines]
    sent = list(packets(clean, limit))
    assert all(0 < len(packet) <= limit for packet in sent)
    assert b"\n".join(sent).split(b"\n") == ([line for line in clean if len(line) <= limit] or [b""])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": ":8125"}, "address: a statsd server has a host and a port"),
        ({"address": "localhost:0"}, "address: a statsd server has a host and a port"),
        ({"tags": {"a": "b"}}, "tags: only dialect"),
        ({"packet_size": 100}, "packet_size"),
        ({"interval": "1ms"}, "interval"),
        ({"dialect": "dogstats"}, "dialect"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        structure(StatsdConfig, options, registry=Registry())


def receiver(address: Any = (HOST, 0), family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.setblocking(False)
    return sock


async def received(sock: socket.socket) -> list[str]:
    return (await asyncio.get_running_loop().sock_recv(sock, 65536)).decode().split("\n")


def test_a_server_hears_what_grew() -> None:
    async def main() -> None:
        with receiver() as sock:
            address = f"{HOST}:{sock.getsockname()[1]}"
            config = {
                "listeners": [{"name": "web", "address": f"{HOST}:0", "filters": ["echo"]}],
                "stats_sinks": [{"use": "statsd", "address": address, "interval": "100ms", "packet_size": "60KiB"}],
            }
            async with serve(config) as server:
                assert "l4proxy_listener_connections_active.web:0|g" in await received(sock)
                reader, writer = await asyncio.open_connection(HOST, server.addresses["web"][0].port)
                writer.write(b"hello")
                await reader.readexactly(5)
                metrics: list[str] = []
                while "l4proxy_listener_connections_total.web:1|c" not in metrics:
                    metrics = await received(sock)
                assert "l4proxy_listener_connections_active.web:1|g" in metrics
                assert "l4proxy_listener_received_bytes_total.web:5|c" in metrics
                assert not any(line.startswith("l4proxy_listener_connections_total") for line in await received(sock))
                writer.close()

    run(main)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "statsd.sock")

    async def main() -> None:
        with receiver(path, socket.AF_UNIX) as sock:
            sink = StatsdSink(structure(StatsdConfig, {"address": f"unix:{path}"}, registry=Registry()))
            await sink.push(shop(), {})
            assert (await received(sock))[0] == "l4proxy_shop_sales_total.ulm:3|c"
            await sink.push(shop(), shop())
            assert await received(sock) == ["l4proxy_shop_balance.ulm:2.5|g"]
            sink.close()

    run(main)


async def push_until_it_fails(sink: StatsdSink) -> None:
    """The first packet only makes the system say that nobody is there."""
    while True:
        await sink.push(shop(), {})
        await asyncio.sleep(0.001)


def test_a_server_that_is_gone_is_an_error_and_comes_back() -> None:
    async def main() -> None:
        with receiver() as sock:
            address = sock.getsockname()
        sink = StatsdSink(structure(StatsdConfig, {"address": f"{HOST}:{address[1]}"}, registry=Registry()))
        with pytest.raises(ConnectionRefusedError):
            await push_until_it_fails(sink)
        with receiver(address) as sock:
            heard: list[str] = []

            async def listen() -> None:
                heard.extend(await received(sock))

            listening = asyncio.create_task(listen())
            await sink.push(shop(), {})
            await until(lambda: heard)
            assert heard[0] == "l4proxy_shop_sales_total.ulm:3|c"
            await listening
        sink.close()

    run(main)


def test_a_name_that_cannot_be_looked_up_is_an_error() -> None:
    async def main() -> None:
        sink = StatsdSink(structure(StatsdConfig, {"address": "no-such-host.invalid:8125"}, registry=Registry()))
        with pytest.raises(OSError, match=r".+"):
            await sink.push(shop(), {})
        sink.close()

    run(main)
