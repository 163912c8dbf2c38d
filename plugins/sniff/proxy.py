"""A proxy of our own as source: clients connect to it, it connects to the server, and nothing is missed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from l4proxy.address import Address, format_host_port
from l4proxy.cli.options import in_words_of_options
from l4proxy.cli.quick import CLUSTER, shared_draft, widened
from l4proxy.errors import ConfigError
from l4proxy.filter import NoConfig
from l4proxy.inspector import Inspector, Link
from l4proxy.plugins.observer import Observer, now
from l4proxy.plugins.sniff.sight import LABEL_BUDGET, Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.watch import Watch
from l4proxy.registry import Kind
from l4proxy.server import Server, serve

if TYPE_CHECKING:
    from l4proxy.plugin_manager import PluginManager

__all__ = ["ProxySource", "usual_places", "with_port"]

PORT_DISTANCE = 10_000
"""Where the proxy listens unless it is told: that much above the server's port, on loopback; or below it, where ports
end before."""
TRIES = 50
"""Places that are tried where neighbouring ports are needed."""


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
        return f"connect clients to {self._places()}, which goes on to {', '.join(self._args.upstream)}"

    def _places(self) -> str:
        """Where to connect to. Of a range it is the first port: servers name the others."""
        assert self._server is not None
        (bound,) = self._server.addresses.values()
        return ", ".join(str(address) for address in bound if address.is_unix or address.port == bound[0].port)

    async def _serve(self, inspector: type[Inspector[Any]]) -> Server:
        usual = not self._args.listen
        more = inspector.more_ports
        tries = usual_places(self._args.upstream[0], more) if usual else [self._args.listen]
        while True:
            self._args.listen = widened(tries.pop(0), more)
            draft = shared_draft(self._args)
            draft.config["label_budget"] = LABEL_BUDGET
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
        self.watched = self.sight.connection(self._link, now())  # type: ignore[assignment]


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


def usual_places(upstream: str, more: int) -> list[str]:
    """Where to listen when nobody says: predictable, but any port is better than none. Of neighbouring ports some may
    be taken."""
    found = []
    with contextlib.suppress(ValueError):
        port = Address.parse(upstream).port
        first = port + (PORT_DISTANCE if port + PORT_DISTANCE + more <= 65535 else -PORT_DISTANCE)
        for at in range(first, 65535 - more + 1, more + 1) if port else ():
            found.append(f"127.0.0.1:{at}")
            if not more or len(found) == TRIES:
                break
    return found if found and more else [*found, "127.0.0.1:0"]


def _shifted(path: str) -> str:
    """The sniffer stands in front of the filters that the options name."""
    head, bracket, rest = path.partition("listeners[0].filters[")
    if not bracket or head:
        return path
    number, _, behind = rest.partition("]")
    return f"{bracket}{int(number) + 1}]{behind}"
