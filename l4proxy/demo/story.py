"""The scenes of the demo, in order. What each one says is checked while it is shown."""

from __future__ import annotations

import asyncio
import inspect
import time
import tomllib
from http.client import HTTPConnection
from pathlib import Path

from l4proxy import Address, L4ProxyError, PluginManager, Server, serve
from l4proxy.cluster import ClusterStats
from l4proxy.config import load_mapping
from l4proxy.demo import plugin
from l4proxy.demo.orders import Client, Orders, exchange_many
from l4proxy.demo.stage import Stage
from l4proxy.listener import ListenerStats

__all__ = ["tell"]

CLIENTS, EXCHANGES = 20, 100
BULK = 128 << 20
STATISTICS = "/stats/prometheus"
SHOWN = (
    "l4proxy_listener_connections_total",
    "l4proxy_listener_received_bytes_total",
    "l4proxy_listener_sent_bytes_total",
    "l4proxy_endpoint_connections_total",
    "l4proxy_filter_errors_total",
)
CONFIGURATION = """\
[[listeners]]
name = "orders"
address = "127.0.0.1:0"                     # any free port
filters = ["mask", {{ use = "tcp_proxy", cluster = "orders", max_connect_attempts = 2 }}]

[[listeners]]
name = "bulk"
address = "127.0.0.1:0"
filters = [{{ use = "tcp_proxy", cluster = "orders" }}]

[[clusters]]
name = "orders"
endpoints = ["{alpha}", "{beta}"]

[[access_log]]
use = "file"
path = "{log}"

[admin]
address = "127.0.0.1:0"
"""


async def tell(stage: Stage, directory: Path, *, keep: bool = False) -> None:
    """Show everything; with ``keep``, leave the proxy running until this is cancelled. Temporary files go into
    ``directory``. Raises L4ProxyError when something is not as the story says."""
    stage.title("l4proxy demo: a real proxy, with two servers behind it and many clients, in this one process")
    _show_plugin(stage)
    async with Orders("alpha") as alpha, Orders("beta") as beta:
        log = directory / "access.log"
        text = CONFIGURATION.format(alpha=alpha.address, beta=beta.address, log=log)
        plugins = PluginManager()
        plugins.register(plugin, "mask")
        stage.scene("A configuration")
        stage.quote(text)
        begin = time.perf_counter()
        async with serve(tomllib.loads(text), plugins=plugins) as server:
            stage.fact("serving after", f"{(time.perf_counter() - begin) * 1e3:.1f} ms")
            orders, bulk = (server.addresses[name][0] for name in ("orders", "bulk"))
            stage.fact("orders listens on", str(orders))
            stage.fact("bulk listens on", str(bulk))
            await _traffic(stage, orders, alpha, beta)
            await _load(stage, orders)
            await _download(stage, bulk)
            await _watch(stage, server, log)
            await _lose_a_server(stage, server, orders, beta)
            await _reload(stage, server, text, orders)
            if keep:
                stage.scene("It stays")
                stage.say(f"Try it: nc {orders.host} {orders.port}, then type: order ada. Ctrl-C ends it.")
                stage.say(f"The admin interface: http://{server.admin_addresses[0]}/")
                await asyncio.Event().wait()
            asked = asyncio.Event()
            late = asyncio.create_task(_late_clients(server, orders, asked))
            await asked.wait()
            begin = time.perf_counter()
        await _drained(stage, server, late, time.perf_counter() - begin)


def _show_plugin(stage: Stage) -> None:
    stage.scene("A plugin")
    stage.say("A filter sees the bytes of a connection. This one hides card numbers from clients (all of it is in "
              "l4proxy/demo/plugin.py):")  # fmt: skip
    stage.quote(inspect.getsource(plugin.Mask))


async def _traffic(stage: Stage, orders: Address, alpha: Orders, beta: Orders) -> None:
    stage.scene("Traffic")
    stage.say("The servers send each answer in two pieces, cut inside the card number. The filter does not mind.")
    for name in ("ada", "grace", "alan"):
        async with Client(orders) as client:
            received = await client.ask(f"order {name}")
        sent = next(server.said for server in (alpha, beta) if f" {name}," in server.said)
        _expect(received == sent.replace("4111 1111 1111", "**** **** ****"), f"{received!r} was received")
        print()
        stage.fact("a server sends", sent)
        stage.fact("the client receives", received)
    _expect(alpha.orders > 0 and beta.orders > 0, "both servers had their turn")


async def _load(stage: Stage, orders: Address) -> None:
    stage.scene("Many at once")
    times, seconds = await exchange_many(orders, CLIENTS, EXCHANGES)
    stage.fact("exchanges", f"{len(times)} over {CLIENTS} connections, through the filter")
    stage.fact("rate", f"{len(times) / seconds:,.0f} per second")
    stage.fact(
        "median, 99th percentile",
        f"{times[len(times) // 2] * 1e3:.2f} ms, {times[len(times) * 99 // 100] * 1e3:.2f} ms",
    )
    stage.say("Clients, proxy and servers share one core here; contrib/bench measures the proxy alone.")


async def _download(stage: Stage, bulk: Address) -> None:
    stage.scene("A large download")
    stage.say("Nobody reads bytes in the chain of the listener bulk, so the kernel moves them (splice).")
    async with Client(bulk) as client:
        begin = time.perf_counter()
        right = await client.download(BULK)
        seconds = time.perf_counter() - begin
    _expect(right == BULK, "every byte came")
    stage.fact(
        "downloaded", f"{BULK >> 20} MiB in {seconds:.2f} s ({BULK / seconds / 1e9:.1f} GB/s), each byte as sent"
    )


async def _watch(stage: Stage, server: Server, log: Path) -> None:
    stage.scene("What it says of itself")
    lines = await _lines_of(log, 3 + CLIENTS + 1)
    stage.say("The access log, a line per connection; the first and the last of them:")
    stage.quote("\n".join([*lines[:3], "...", lines[-1]]))
    (admin,) = server.admin_addresses
    stage.say(f"The statistics, as Prometheus scrapes them from http://{admin}{STATISTICS}; a few of them:")
    text = await asyncio.to_thread(_get, admin, STATISTICS)
    stage.quote("\n".join(line for line in text.splitlines() if line.startswith(SHOWN)))


async def _lose_a_server(stage: Stage, server: Server, orders: Address, beta: Orders) -> None:
    stage.scene("A server dies")
    beta.stop()
    answers = []
    for name in ("ada", "grace", "alan", "edsger"):
        async with Client(orders) as client:
            answers.append(await client.ask(f"order {name}"))
    _expect(all(answer.startswith("alpha:") for answer in answers), "alpha answered all of them")
    stats = server.stats.group(ClusterStats, cluster="orders")
    stage.say("beta is gone. Four more clients have their orders, for a refused connection is tried elsewhere "
              "(max_connect_attempts).")  # fmt: skip
    stage.fact("refused by beta", str(stats.connect_failed_total["connect_refused"]))
    stage.fact("tried again elsewhere", str(stats.retries_total))
    stage.fact("seen by a client", "nothing")


async def _reload(stage: Stage, server: Server, text: str, orders: Address) -> None:
    stage.scene("A reload")
    stage.say(
        "An option of the filter is changed while a connection is open. It goes on as it began; new ones are new."
    )
    new = text.replace('"mask"', '{ use = "mask", character = "#" }')
    async with Client(orders) as old:
        before = await old.ask("order ada")
        server.reload(load_mapping(tomllib.loads(new), server.plugins.registry))
        after = await old.ask("order ada")
        async with Client(orders) as young:
            changed = await young.ask("order grace")
    _expect("****" in before and "****" in after and "####" in changed, "each connection has its own configuration")
    stage.fact("before", before)
    stage.fact("after, same connection", after)
    stage.fact("after, new connection", changed)


async def _late_clients(server: Server, orders: Address, asked: asyncio.Event) -> tuple[str, bool]:
    """One client has ``asked`` when the drain begins, another one comes after that."""
    async with Client(orders) as client:
        answer = asyncio.create_task(client.ask("wait ada"))
        asked.set()
        while not server.draining:
            await asyncio.sleep(0.01)
        try:
            async with Client(orders):
                refused = False
        except ConnectionRefusedError:
            refused = True
        return await answer, refused


async def _drained(stage: Stage, server: Server, late: asyncio.Task[tuple[str, bool]], seconds: float) -> None:
    answer, refused = await late
    _expect(bool(answer) and refused, "the open connection got its answer, the new one was refused")
    stage.scene("A drain")
    stage.say("The proxy stops while a client waits for its answer. It gets it; who comes now is refused.")
    stage.fact("the client receives", answer)
    stage.fact(
        "connections cut", str(server.stats.group(ListenerStats, listener="orders").closed_total["drain_timeout"])
    )
    stage.fact("drained in", f"{seconds:.2f} s")


def _get(address: Address, path: str) -> str:
    connection = HTTPConnection(address.host, address.port)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


async def _lines_of(log: Path, count: int) -> list[str]:
    """The access log, once it has ``count`` lines; they are written a moment after the connections end."""
    while len(lines := log.read_text().splitlines()) < count:
        await asyncio.sleep(0.02)
    return lines


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise L4ProxyError(f"the demo fails: it is not true that {what}")
