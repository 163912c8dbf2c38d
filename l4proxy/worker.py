"""The proxy in one process: a server, the signals that steer it, and a supervisor's questions where there is one.

SIGTERM drains and ends, SIGINT ends at once, SIGHUP reloads, SIGUSR1 reopens logs, SIGUSR2 starts a successor. A second
SIGTERM or SIGINT ends the drain. A worker takes its orders from its supervisor, and drains when that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from l4proxy.admin_host import AdminHost
from l4proxy.control import Control
from l4proxy.errors import ConfigError, L4ProxyError
from l4proxy.generation import SocketStore
from l4proxy.handoff import Sockets, receive_sockets
from l4proxy.logging_setup import set_all_levels
from l4proxy.loop_watch import LoopWatch
from l4proxy.malloc import keep_freed_memory
from l4proxy.process import Launch, log_remarks
from l4proxy.process_stats import collect_process_stats
from l4proxy.server import Server
from l4proxy.successor import announce_ready, start_successor
from l4proxy.systemd import feed_watchdog, notify, reloading, silence

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget
    from l4proxy.config.schema import Config

__all__ = ["CONTROL", "Parent", "Worker", "supervisor_of_this"]

log = logging.getLogger("l4proxy.worker")

COLLECT_AFTER = 10_000
"""Objects made and not freed before the collector looks for cycles. Connections leave none behind; ten thousand may
come at once, and that is no reason to look at all of them ten times."""
CONTROL = "L4PROXY_CONTROL"
"""In a worker's environment: its number, and the descriptors for questions and for sockets, with commas between."""


class Parent:
    """A worker's connection to its supervisor."""

    def __init__(self, number: int, control: socket.socket, channel: socket.socket) -> None:
        self.number = number
        self.control = control
        self.channel = channel


def supervisor_of_this() -> Parent | None:
    """What the environment says of a supervisor. The variable is removed: our own children are not its workers."""
    text = os.environ.pop(CONTROL, "")
    if not text:
        return None
    number, control, channel = map(int, text.split(","))
    pair = [socket.socket(fileno=fd) for fd in (control, channel)]
    for sock in pair:
        sock.setblocking(False)
        sock.set_inheritable(False)
    return Parent(number, *pair)


class Worker:
    """Runs one server until it is told to stop."""

    def __init__(self, launch: Launch, config: Config, inherited: Sockets, parent: Parent | None = None) -> None:
        self._launch = launch
        self._config = config
        self._parent = parent
        self._sockets = SocketStore()
        self._sockets.inherited = inherited
        self._stop = asyncio.Event()
        self._drain_time: float | None = None
        self._has_successor = False
        self._watch: LoopWatch | None = None
        self._admin = AdminHost(self._target)
        if parent is None:
            self._admin.inherit(config, inherited)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        self.server = Server(
            self._config, self._launch.plugins, sockets=self._sockets, supervised=self._parent is not None
        )
        collect_process_stats(self.server.stats)
        await self.server.start()
        self._sockets.close_unused()
        self._listen_to_signals()
        if self._parent is not None:
            self._spawn(self._obey(self._parent))
        else:
            await self._admin.apply(self._config.admin)
            self._launch.announce(self.server.addresses, 1)
            log_remarks(self._config)
            announce_ready()
        self._watch_loop(self._config.slow_callback)
        self._spawn(feed_watchdog())
        gc.collect()
        gc.freeze()  # what is there now stays: later collections need not look at it
        gc.set_threshold(COLLECT_AFTER, 20, 20)
        keep_freed_memory()
        await self._stop.wait()
        notify("STOPPING=1")
        await self._end()
        self._watch_loop(0.0)
        return 0

    def _watch_loop(self, slow: float) -> None:
        """Name plugins that block the loop for longer than ``slow`` seconds; 0: no more."""
        if self._watch is not None:
            self._watch.close()
        self._watch = LoopWatch(self.server.stats, slow) if slow else None
        if self._watch is not None:
            self._watch.start()

    async def _end(self) -> None:
        draining = asyncio.get_running_loop().create_task(self.server.stop(self._drain_time))
        self._stop.clear()
        hurry = asyncio.get_running_loop().create_task(self._stop.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            self.server.hurry()
        await draining
        hurry.cancel()
        await self._admin.close()
        for task in self._tasks:
            task.cancel()

    def _target(self) -> AdminTarget:
        from l4proxy.admin import ServerTarget

        return ServerTarget(self.server, reload=self._reload_and_say, stop=self.stop)

    def _spawn(self, coro: Any) -> None:
        task = asyncio.get_running_loop().create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Signals

    def _listen_to_signals(self) -> None:
        add = asyncio.get_running_loop().add_signal_handler
        add(signal.SIGTERM, self.stop)
        add(signal.SIGUSR1, self.reopen_logs)
        if self._parent is not None:
            for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):  # a terminal sends them to every process
                add(ignored, int)
            return
        add(signal.SIGINT, self.stop, 0.0)
        if self._launch.ends_with_terminal:
            add(signal.SIGHUP, self.stop)
        else:
            add(signal.SIGHUP, lambda: self._spawn(self._reload_on_signal()))
        add(signal.SIGUSR2, lambda: self._spawn(self._hand_over()))

    def stop(self, drain_time: float | None = None) -> None:
        """End, draining for ``drain_time`` seconds (None: as configured). Asked again while draining: end now."""
        self._drain_time = drain_time
        self._stop.set()

    def reopen_logs(self) -> None:
        self.server.reopen_logs()

    def reload(self, text: str) -> None:
        """Take over another configuration. Raises ConfigError, with the old one still at work."""
        config = self._launch.load(text)
        with self._launch.locating(text):
            self.server.reload(config)
        self._sockets.close_unused()
        if config.log_level != self._config.log_level:
            set_all_levels(config.log_level)
        if config.slow_callback != self._config.slow_callback:
            self._watch_loop(config.slow_callback)
        self._config = config

    async def _reload_and_say(self) -> None:
        try:
            with reloading():
                self.reload(self._launch.read())
        except L4ProxyError as error:
            self.server.reload_failed()
            log.error("the configuration was not reloaded, the old one stays:\n%s", error)
            raise
        log.info("the configuration was reloaded")
        log_remarks(self._config)
        try:
            await self._admin.apply(self._config.admin)
        except ConfigError as error:
            log.error("the admin interface stays as it was:\n%s", error)
            raise

    async def _reload_on_signal(self) -> None:
        with contextlib.suppress(L4ProxyError):
            await self._reload_and_say()

    async def _hand_over(self) -> None:
        if self._has_successor or self.server.draining:
            log.warning("no further successor is started: there is one, or this process ends anyway")
            return
        self._has_successor = True
        self._has_successor = await start_successor({**self._sockets.all(), **self._admin.sockets()})
        if self._has_successor:
            silence()
            await self._admin.close()
            self.stop()

    # A supervisor's questions

    async def _obey(self, parent: Parent) -> None:
        control = Control({
            "snapshot": self.server.stats.snapshot,
            "describe": self._describe,
            "reload": self._reload_as_told,
            "change": self._change,
        })  # fmt: skip
        await control.run(parent.control, hello="ready")
        log.warning("the supervisor is gone: worker %d drains", parent.number)
        self.stop()

    async def _reload_as_told(self, text: str) -> str:
        """Returns what is wrong; nothing when nothing is."""
        assert self._parent is not None
        self._sockets.inherited.update(await receive_sockets(self._parent.channel))
        try:
            self.reload(text)
        except L4ProxyError as error:
            self.server.reload_failed()
            self._sockets.close_unused()
            return str(error)
        return ""

    async def _describe(self, what: str, **arguments: Any) -> Any:
        from l4proxy.describe import describe

        return await describe(self.server, what, **arguments)

    async def _change(self, what: str, **arguments: Any) -> Any:
        from l4proxy.describe import change

        return await change(self.server, what, **arguments)
