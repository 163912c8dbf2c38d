"""A proxy of our own as source: clients connect to it, it connects to the server, and nothing is missed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from l4proxy.address import Address, format_host_port, in_ranges
from l4proxy.cli.options import in_words_of_options
from l4proxy.cli.quick import CLUSTER, shared_draft
from l4proxy.errors import ConfigError
from l4proxy.filter import NoConfig
from l4proxy.inspector import Inspector, Link
from l4proxy.plugins.observer import Observer, now
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.watch import Watch
from l4proxy.registry import Kind
from l4proxy.server import Server, serve

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["ProxySource", "with_port"]

PORT_DISTANCE = 10_000
"""Where the proxy listens unless it is told: that much above the server's port, on loopback."""


class ProxySource(Source):
    """Listens at ``args.listen`` and forwards to ``args.upstream``, with the filters of ``args.use`` in between."""

    def __init__(self, args: argparse.Namespace, plugins: PluginManager) -> None:
        self._args = args
        self._plugins = plugins
        self._stack = contextlib.AsyncExitStack()
        self._server: Server | None = None
        self._began = 0.0

    async def open(self, sight: Sight) -> str:
        inspector = sight.protocol
        self._args.upstream = [with_port(text, inspector) for text in self._args.upstream]
        self._plugins.registry.register(Kind.FILTER, _filter_for(sight), "sniff")
        self._server = await self._serve(inspector)
        self._began = self.now()
        listening = ", ".join(text for bound in self._server.addresses.values() for text in in_ranges(bound))
        return f"connect clients to {listening}, which goes on to {', '.join(self._args.upstream)}"

    async def _serve(self, inspector: type[Inspector[Any]]) -> Server:
        tries = [self._args.listen] if self._args.listen else _usual_places(self._args.upstream[0])
        while True:
            self._args.listen = tries.pop(0)
            draft = shared_draft(self._args)
            filters = draft.config["listeners"][0]["filters"]
            draft.options = {_shifted(path): option for path, option in draft.options.items()}
            filters.insert(0, SniffFilter.name)
            filters.append({"use": inspector.terminal, "cluster": CLUSTER})
            draft.options |= {
                "listeners[0].address": "--listen",
                f"listeners[0].filters[{len(filters) - 1}]": "UPSTREAM",
            }
            try:
                return await self._stack.enter_async_context(serve(draft.config, plugins=self._plugins))
            except ConfigError as error:
                taken = any(problem.path == "listeners[0].address" for problem in error.problems)
                if not (tries and taken):
                    raise in_words_of_options(error, draft.options) from error

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0.0)
        await self._stack.aclose()

    def began(self) -> float:
        return self._began

    def now(self) -> float:
        return now()

    def facts(self) -> Iterable[tuple[str, str]]:
        if self._server is not None:
            yield "accepted", f"{sum(listener.stats.connections_total for listener in self._server.listeners):,}"


class SniffFilter(Observer[NoConfig]):
    """Show what passes to `l4proxy sniff`."""

    name = "sniff"
    sight: Sight

    @classmethod
    def provision(cls, config: NoConfig, server: Server) -> Watch:
        return cls.sight.begin(server.stats)

    def on_connect(self) -> None:
        conn = self.conn
        self._link = Link(conn.id, conn.client, state=conn.state)
        self._watched = self.sight.connection(self._link, now())  # type: ignore[assignment]


def _filter_for(sight: Sight) -> type[SniffFilter]:
    return type("SniffFilter", (SniffFilter,), {"sight": sight, "__doc__": SniffFilter.__doc__})


def with_port(upstream: str, inspector: type[Inspector[Any]]) -> str:
    """``broker`` is ``broker:9092`` where the protocol has a usual port."""
    if not inspector.ports:
        return upstream
    try:
        Address.parse(upstream)
    except ValueError:
        host = upstream.strip("[]")
        with contextlib.suppress(ValueError):
            return str(Address.parse(format_host_port(host, inspector.ports[0])))
    return upstream


def _usual_places(upstream: str) -> list[str]:
    """Where to listen when nobody says: predictable, but any port is better than none."""
    with contextlib.suppress(ValueError):
        address = Address.parse(upstream)
        if 0 < address.port <= 65535 - PORT_DISTANCE:
            return [f"127.0.0.1:{address.port + PORT_DISTANCE}", "127.0.0.1:0"]
    return ["127.0.0.1:0"]


def _shifted(path: str) -> str:
    """The sniffer stands in front of the filters that the options name."""
    head, bracket, rest = path.partition("listeners[0].filters[")
    if not bracket or head:
        return path
    number, _, behind = rest.partition("]")
    return f"{bracket}{int(number) + 1}]{behind}"
