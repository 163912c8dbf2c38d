"""The server: one process's configuration at work, in any asyncio program.

``async with serve(config) as server`` starts it and, at the end of the block, drains it. It takes over nothing of the
program around it: no signal handlers, no logging set-up, no event loop policy. ``l4proxy run`` is this plus a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from l4proxy import __version__
from l4proxy.access_log.recent import RecentRecords
from l4proxy.access_log.writer import wait_for_last_lines
from l4proxy.address import Address
from l4proxy.cluster_manager import ClusterManager
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.generation import Generation, SocketStore
from l4proxy.poller import poller_of
from l4proxy.sockets import bound_address
from l4proxy.splice import close_spare_pipes
from l4proxy.stats import Stats, counter, gauge
from l4proxy.stats_push import Feed, StatsPush
from l4proxy.stats_registry import StatsRegistry
from l4proxy.timers import Timers

if TYPE_CHECKING:
    from l4proxy.admin import AdminTarget
    from l4proxy.config.schema import Config
    from l4proxy.listener import Listener
    from l4proxy.plugin_manager import PluginManager
    from l4proxy.snapshot import Snapshot
    from l4proxy.tls import Certificate, Expiry

__all__ = ["Server", "ServerStats", "serve", "try_out"]

log = logging.getLogger("l4proxy.server")

RESERVED_DESCRIPTORS = 64
"""File descriptors that are not for connections: listeners, logs, pipes, the admin interface."""


class ServerStats(Stats, subsystem="server"):
    """The process as a whole."""

    connections_active = gauge("Downstream connections open now, over all listeners.")
    draining = gauge("1 while the server drains.")
    start_time_seconds = gauge("When the server started, in seconds since the epoch.", merge="min")
    uptime_seconds = gauge("For how long the server has been running.", merge="max")


class ReloadStats(Stats, subsystem="config", labels=("result",)):
    """Reloads of the configuration."""

    reload_total = counter("Reloads, by result (success, failure).")


class BuildStats(Stats, subsystem="build", labels=("version", "python")):
    """Which program this is."""

    info = gauge("Always 1; the labels say which version of l4proxy runs on which Python.", merge="max")


class Server:
    """Made by ``serve``. What plugins get in ``provision``, ``startup`` and ``shutdown``."""

    def __init__(
        self,
        config: Config,
        plugins: PluginManager,
        *,
        sockets: SocketStore | None = None,
        supervised: bool = False,
        trial: bool = False,
    ) -> None:
        """``supervised``: a supervisor pushes the statistics of all its workers to ``stats_sinks``. ``trial``: made to
        see whether it can be made."""
        self.plugins = plugins
        self.loop = asyncio.get_running_loop()
        self.poller = poller_of(self.loop)
        self.timers = Timers(self.loop)
        self.stats = StatsRegistry(label_budget=config.label_budget)
        self.own_stats = self.stats.group(ServerStats)
        self.stats.group(BuildStats, version=__version__, python=sys.version.split()[0]).info = 1
        self.started = time.monotonic()
        self.sockets = sockets or SocketStore()
        self.active = 0
        """Downstream connections, those included whose chain is not chosen yet."""
        self.max_connections = 0
        self.draining = False
        self.withdrawn = False
        """Connections are taken, but ``/ready`` says no: an operator wants them to go elsewhere."""
        self.recent = RecentRecords()
        self.admin_addresses: list[Address] = []
        """Where the admin interface listens, then the metrics. Set by ``serve``."""
        self.clusters = ClusterManager(self)
        self._old: list[Generation] = []
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stats.on_collect(self._collect)
        self._pushes = not supervised and not trial
        self._sinks = StatsPush(self._snapshot, self.stats)
        self._stopped = False
        self._expiry: Expiry | None = None
        try:
            change = self.clusters.prepare(config.clusters)
            sinks = self._prepare_sinks(config)
            self._generation = Generation(config, self, trial=trial)
        except BaseException:
            self._release()
            raise
        change.apply()
        self._sinks.switch(sinks)
        self._show_expiry()

    @property
    def config(self) -> Config:
        return self._generation.config

    @property
    def generations(self) -> tuple[Generation, ...]:
        """The configuration at work, behind earlier ones that still have connections."""
        return (*self._old, self._generation)

    @property
    def state(self) -> str:
        """What ``/ready`` says: ``LIVE``, or ``DRAINING`` when connections shall go elsewhere."""
        return "DRAINING" if self.draining or self.withdrawn else "LIVE"

    @property
    def listeners(self) -> list[Listener]:
        return self._generation.listeners

    @property
    def addresses(self) -> dict[str, list[Address]]:
        """What each listener is bound to, by its name: the real ports where the configuration says 0. Nothing, once it
        is closed."""
        return {one.name: [bound_address(sock) for sock in one.sockets if sock.fileno() >= 0] for one in self.listeners}

    async def start(self) -> None:
        self.own_stats.start_time_seconds = int(time.time())
        self.max_connections = self.config.max_connections or _connections_for_descriptors()
        self.clusters.start()
        self.plugins.startup(self)
        self._generation.start()
        self._sinks.start()

    def reload(self, config: Config) -> None:
        """Replace the configuration. Connections go on with the old one; when the new one is refused (ConfigError)
        nothing has changed."""
        if self.draining:
            raise ConfigError([ConfigProblem("", "the server is draining, it takes over no other configuration")])
        try:
            change = self.clusters.prepare(config.clusters)
            sinks = self._prepare_sinks(config)
            new = Generation(config, self)
        except BaseException:
            self.sockets.keep_only(self._descriptors())
            raise
        change.apply()
        self._sinks.switch(sinks)
        old, self._generation = self._generation, new
        self.max_connections = config.max_connections or _connections_for_descriptors()
        if config.label_budget != self.stats.label_budget:
            self.stats.change_label_budget(config.label_budget)
        self._old.append(old)
        old.retire()
        new.start()
        self._show_expiry()
        self.sockets.keep_only(self._descriptors())
        self.stats.group(ReloadStats, result="success").reload_total += 1

    async def stop(self, drain_time: float | None = None) -> None:
        """Drain: stop accepting, tell the filters, wait up to ``drain_time`` seconds (None: the configuration's), then
        close what is left; at once when this is cancelled. A server that was stopped before has nothing left to do."""
        if self._stopped:
            return
        self._stopped = True
        try:
            await self.drain(self.config.drain_time if drain_time is None else drain_time)
        finally:
            for generation in self.generations:
                for listener in generation.listeners:
                    listener.close_connections("drain_timeout")
            await self._idle.wait()
            self._generation.retire()
            await wait_for_last_lines()
            await self._sinks.close()
            await self.clusters.stop()
            self.plugins.shutdown(self)
            self._release()

    def discard(self) -> None:
        """Give back what was made for a server that is never started."""
        self._generation.retire()
        self._release()

    def _release(self) -> None:
        """Give back what the server has taken from the process and the loop."""
        self.sockets.keep_only(set())
        self.timers.close()
        close_spare_pipes()
        if self.poller is not getattr(self.loop, "l4proxy_poller", None):
            self.poller.close()

    def _descriptors(self) -> set[int]:
        return {sock.fileno() for listener in self.listeners for sock in listener.sockets}

    def certificates(self) -> Iterator[tuple[str, Certificate]]:
        """Those that are presented, to clients and then to endpoints, and by whom: ``listener web``."""
        for listener in self.listeners:
            for chain in listener.chains:
                for one in chain.tls.certificates() if chain.tls is not None else ():
                    yield f"listener {listener.name}", one
        for cluster in self.clusters:
            for one in cluster.tls.certificates() if cluster.tls is not None else ():
                yield f"cluster {cluster.name}", one

    def _show_expiry(self) -> None:
        presented = [certificate for _, certificate in self.certificates()]
        if presented and self._expiry is None:
            from l4proxy.tls import Expiry

            self._expiry = Expiry(self.stats)
        if self._expiry is not None:
            self._expiry.show(presented)

    def hurry(self) -> None:
        """End a drain that is under way."""
        self._hurry.set()

    def reload_failed(self) -> None:
        """Count a reload that ended before the new configuration was read."""
        self.stats.group(ReloadStats, result="failure").reload_total += 1

    def reopen_logs(self) -> None:
        """Open access logs again under their names (SIGUSR1, after they were rotated)."""
        for generation in self.generations:
            generation.reopen_logs()

    async def drain(self, drain_time: float) -> None:
        """Tell the filters, close the listeners (or not, as configured), and wait until no connection is left."""
        self.begin_drain(close_listeners=self.config.drain_listeners == "close")
        if self.active and drain_time > 0:
            waits = [self.loop.create_task(event.wait()) for event in (self._idle, self._hurry)]
            try:
                await asyncio.wait(waits, timeout=drain_time, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def begin_drain(self, *, close_listeners: bool) -> None:
        """Say no in ``/ready``, close the listeners or not, and tell the filters, once, that connections shall end
        soon."""
        told, self.draining = self.draining, True
        self.own_stats.draining = 1
        if close_listeners:
            for listener in self.listeners:
                listener.accept_waiting()
                listener.retire()
            self.sockets.keep_only(set())
        if told:
            return
        for generation in self.generations:
            for listener in generation.listeners:
                listener.drain()

    # What listeners and generations tell

    def admit(self) -> bool:
        """Count one more connection, unless the limit is reached."""
        if self.active >= self.max_connections:
            return False
        self.active += 1
        if self.active == 1:
            self._idle.clear()
        return True

    def released(self, listener: Listener) -> None:
        self.active -= 1
        if not self.active:
            self._idle.set()
        if listener.retired:
            for generation in list(self._old):
                generation.connection_released()

    def generation_gone(self, generation: Generation) -> None:
        if generation in self._old:
            self._old.remove(generation)

    def _prepare_sinks(self, config: Config) -> list[Feed]:
        return self._sinks.prepare(config.stats_sinks if self._pushes else ())

    async def _snapshot(self) -> Snapshot:
        return self.stats.snapshot()

    def _collect(self) -> None:
        self.own_stats.connections_active = self.active
        self.own_stats.uptime_seconds = int(time.monotonic() - self.started)
        for generation in self.generations:
            for listener in generation.listeners:
                listener.collect()


def _connections_for_descriptors() -> int:
    """A connection takes two descriptors, and two more while a pipe holds its bytes; what is left is a reserve."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    return max(16, (soft - RESERVED_DESCRIPTORS) * 9 // 20)


async def try_out(config: Config, plugins: PluginManager) -> None:
    """Make everything of a loaded configuration that has no effect on anything outside, and give it back: no socket is
    opened, no log file, nobody is connected to. Raises ConfigError with all that cannot be made."""
    Server(config, plugins, trial=True).discard()


@contextlib.asynccontextmanager
async def serve(config: Config | Mapping[str, Any], *, plugins: PluginManager | None = None) -> AsyncIterator[Server]:
    """Run a proxy inside this program. When the block ends, however that is, the proxy drains.

    ``config`` is a ``Config`` or the same as a mapping. Ports given as 0 are in ``server.addresses``, that of the admin
    interface in ``server.admin_addresses``. ``plugins`` are those that may be named; without, all that are installed.

    Runs in any event loop, several at a time; in the one that ``l4proxy run`` uses (``l4proxy.poller.new_event_loop``)
    it is faster.

    Raises ConfigError, before anything is served, and PluginError. Signals and the set-up of logging are left to the
    program.
    """
    from l4proxy.admin_host import AdminHost
    from l4proxy.config import load_mapping
    from l4proxy.plugin_manager import load_plugins

    manager = plugins or load_plugins()
    server = Server(load_mapping(config, manager.registry), manager)
    admin = AdminHost(lambda: _admin_target(server))
    try:
        await server.start()
        await admin.apply(server.config.admin)
        server.admin_addresses = admin.addresses
        yield server
    finally:
        try:
            await server.stop()
        finally:
            await admin.close()


def _admin_target(server: Server) -> AdminTarget:
    from l4proxy.admin import ServerTarget

    return ServerTarget(server)
