"""Several worker processes on the same addresses, and the one that looks after them.

The supervisor opens the listening sockets, a set for each worker (``SO_REUSEPORT``; the system spreads connections),
and keeps them: when a worker dies, what waits in its sockets' queues waits for the next one. A worker that dies is
started again, at once the first time and then ever more slowly. The supervisor accepts nothing itself and carries no
bytes; it reloads the workers, sums up their statistics, and serves the admin interface for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from l4proxy.admin_host import AdminHost
from l4proxy.all_workers import AllWorkers
from l4proxy.control import Control, ControlError
from l4proxy.errors import ConfigError, ConfigProblem, L4ProxyError
from l4proxy.generation import SocketStore
from l4proxy.handoff import (
    CONFIGURATION,
    SOCKETS,
    Sockets,
    configuration_for_child,
    send_sockets,
    sockets_for_child,
)
from l4proxy.logging_setup import set_all_levels
from l4proxy.process import Launch, log_remarks, own_command, worker_count
from l4proxy.process_stats import collect_process_stats
from l4proxy.server import try_out
from l4proxy.sockets import bound_address
from l4proxy.stats import Stats, counter, gauge
from l4proxy.stats_push import StatsPush
from l4proxy.stats_registry import StatsRegistry
from l4proxy.successor import announce_ready, start_successor
from l4proxy.systemd import feed_watchdog, notify, reloading, silence
from l4proxy.worker import CONTROL

if TYPE_CHECKING:
    from l4proxy.address import Address
    from l4proxy.config.schema import Config

__all__ = ["Supervisor", "SupervisorStats"]

log = logging.getLogger("l4proxy.supervisor")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
"""Seconds between the death of a worker and its restart; doubled each time."""
STEADY = 30.0
"""Seconds after which a worker that lives has proven itself, and the pause is short again."""
RELOAD_TIMEOUT = 60.0
"""Seconds that a worker has to take over a configuration."""
KILL_AFTER = 10.0
"""Seconds beyond the drain time after which a worker that does not end is killed."""


class SupervisorStats(Stats, subsystem="supervisor"):
    """The worker processes."""

    workers = gauge("Workers that run now.")
    worker_restarts_total = counter("Workers that died and were started again.")


class Slot:
    """A worker's place: its sockets stay while processes come and go."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.store = SocketStore()
        self.process: asyncio.subprocess.Process | None = None
        self.control: Control | None = None
        self.channel: socket.socket | None = None
        self.ready = asyncio.Event()
        self.pause = FIRST_PAUSE
        self.text = ""
        """The configuration that the process has."""


class Supervisor:
    """Runs ``workers`` processes until it is told to stop. The counterpart of ``Worker`` for several processes."""

    def __init__(self, launch: Launch, text: str, config: Config, inherited: Sockets) -> None:
        self._launch = launch
        self._text = text
        """The configuration at work. Workers are given it, also those that are started later: they never read a file
        that has changed, or is being written."""
        self._config = config
        self._stats = StatsRegistry()
        self._own = self._stats.group(SupervisorStats)
        self._slots = [Slot(number) for number in range(worker_count(config))]
        collect_process_stats(self._stats)
        self._workers = AllWorkers(self._slots, self._stats, reload=self._reload_and_say, stop=self.stop)
        self._sinks = StatsPush(self._workers.snapshot, self._stats)
        self._admin = AdminHost(lambda: self._workers)
        self._stop = asyncio.Event()
        self._signal = signal.SIGTERM
        self._has_successor = False
        self._reloading = asyncio.Lock()
        self._keepers: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._admin.inherit(config, inherited)
        self._deal(inherited)

    def _deal(self, inherited: Sockets) -> None:
        """Spread sockets of a predecessor over the workers: of each address that they are bound to (``:port`` is
        several) in turn. None may be left out: its queue would never be served."""
        for address, sockets in inherited.items():
            turns: defaultdict[str, Iterator[Slot]] = defaultdict(lambda: itertools.cycle(self._slots))
            for sock in sockets:
                slot = next(turns[str(bound_address(sock))])
                slot.store.inherited.setdefault(address, []).append(sock)

    async def run(self) -> int:
        await try_out(self._config, self._launch.plugins)
        self._open_sockets(self._config)
        self._close_unused(self._config)
        self._sinks.switch(self._sinks.prepare(self._config.stats_sinks))
        self._listen_to_signals()
        self._spawn(feed_watchdog())
        self._keepers = [asyncio.get_running_loop().create_task(self._keep(slot)) for slot in self._slots]
        await self._all_ready()
        if not self._stop.is_set():
            await self._admin.apply(self._config.admin)
            self._sinks.start()
            self._launch.announce(self._addresses(), len(self._slots))
            log_remarks(self._config)
            announce_ready()
        await self._stop.wait()
        notify("STOPPING=1")
        await self._end()
        return 0

    async def _all_ready(self) -> None:
        """Wait until every worker serves, or we are told to stop."""
        tasks = [asyncio.get_running_loop().create_task(slot.ready.wait()) for slot in self._slots]
        stopped = asyncio.get_running_loop().create_task(self._stop.wait())
        while not all(task.done() for task in tasks) and not stopped.done():
            pending = [task for task in (*tasks, stopped) if not task.done()]
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, stopped):
            task.cancel()

    def _open_sockets(self, config: Config) -> None:
        """Open what is not open yet, for each worker. Raises ConfigError."""
        first: SocketStore | None = None
        for slot in self._slots:
            for at, listener in enumerate(config.listeners):
                shared = replace(listener, reuse_port=True)
                for address in listener.addresses:
                    try:
                        slot.store.take(address, shared, owner=listener.name, beside=first)
                    except OSError as error:
                        problem = ConfigProblem(f"listeners[{at}].address", str(error.strerror or error))
                        raise ConfigError([problem]) from error
            first = first or slot.store

    def _addresses(self) -> dict[str, list[Address]]:
        """What each listener is bound to; the workers' sockets all share their ports."""
        store = self._slots[0].store
        return {
            one.name: [
                bound_address(sock) for address in one.addresses for sock in store.take(address, one, owner=one.name)
            ]
            for one in self._config.listeners
        }

    def _close_unused(self, config: Config) -> None:
        for slot in self._slots:
            wanted = [
                slot.store.take(address, one, owner=one.name) for one in config.listeners for address in one.addresses
            ]
            slot.store.keep_only({sock.fileno() for sockets in wanted for sock in sockets})

    # Keeping workers alive

    async def _keep(self, slot: Slot) -> None:
        """Start the worker of a slot, again and again until we stop."""
        while not self._stop.is_set():
            began = time.monotonic()
            process = await self._start(slot)
            self._own.workers += 1
            status = await process.wait()
            self._own.workers -= 1
            slot.ready.clear()
            slot.process = slot.control = None
            self._workers.died(slot)
            if self._stop.is_set() or self._workers.draining:
                return
            if time.monotonic() - began > STEADY:
                slot.pause = FIRST_PAUSE
            log.error(
                "worker %d (process %d) %s; it is started again in %.1f s",
                slot.number,
                process.pid,
                _ended(status),
                slot.pause,
            )
            self._own.worker_restarts_total += 1
            await asyncio.sleep(slot.pause)
            slot.pause = min(slot.pause * 2, LONGEST_PAUSE)

    async def _start(self, slot: Slot) -> asyncio.subprocess.Process:
        control, theirs = socket.socketpair()
        channel, their_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        text, numbers = sockets_for_child(slot.store.all())
        ends = (theirs.fileno(), their_channel.fileno())
        memory = configuration_for_child(self._text)
        environment = {
            **os.environ,
            SOCKETS: text,
            CONTROL: f"{slot.number},{ends[0]},{ends[1]}",
            CONFIGURATION: str(memory),
        }
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):  # the service manager hears of one process
            environment.pop(name, None)
        slot.text = self._text
        process = await asyncio.create_subprocess_exec(
            *own_command(), env=environment, pass_fds=(*numbers, *ends, memory)
        )
        os.close(memory)
        theirs.close()
        their_channel.close()
        control.setblocking(False)
        channel.settimeout(RELOAD_TIMEOUT)
        slot.process, slot.channel = process, channel
        slot.control = Control({"ready": lambda: self._ready(slot)})
        self._spawn(self._talk(slot.control, control, channel))
        return process

    async def _ready(self, slot: Slot) -> None:
        """A worker serves. One that was being started during a reload is told of it now."""
        async with self._reloading:
            if slot.text != self._text and (problem := await self._reload_worker(slot, self._text)):
                log.error("the configuration was not reloaded everywhere:\n%s", problem)
        slot.ready.set()
        self._workers.ready(slot)

    async def _talk(self, control: Control, sock: socket.socket, channel: socket.socket) -> None:
        await control.run(sock)
        channel.close()

    async def _end(self) -> None:
        """Drain the workers. A second signal is passed on: it ends their drain."""
        self._tell_workers(self._signal)
        if self._config.drain_listeners == "close":
            for slot in self._slots:
                slot.store.keep_only(set())
        limit = self._config.drain_time + KILL_AFTER
        _done, left = await asyncio.wait(self._keepers, timeout=limit)
        if left:
            log.error("%d workers did not end within %.0f s and are killed", len(left), limit)
            self._tell_workers(signal.SIGKILL)
            await asyncio.wait(left)
        await self._sinks.close()
        await self._admin.close()

    def _tell_workers(self, number: int) -> None:
        for slot in self._slots:
            if slot.process is not None and slot.process.returncode is None:
                slot.process.send_signal(number)

    # Signals

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, number)
        loop.add_signal_handler(signal.SIGUSR1, self._tell_workers, signal.SIGUSR1)
        if self._launch.ends_with_terminal:
            loop.add_signal_handler(signal.SIGHUP, self._told_to_stop, signal.SIGTERM)
        else:
            loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_on_signal()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._spawn(self._hand_over()))

    def _told_to_stop(self, number: int) -> None:
        if self._stop.is_set():
            self._tell_workers(signal.SIGTERM)
            return
        self._signal = signal.Signals(number)
        self.stop()

    def stop(self, drain_time: float | None = None) -> None:
        if drain_time == 0.0:
            self._signal = signal.SIGINT
        self._workers.draining = True
        self._stop.set()

    def _spawn(self, coro: Any) -> None:
        task = asyncio.get_running_loop().create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> None:
        """Check the configuration here, open its new sockets, then have each worker take it over. Raises ConfigError,
        with the old one at work everywhere."""
        async with self._reloading:  # two at a time would close each other's sockets
            with reloading():
                await self._reload()

    async def _reload(self) -> None:
        if self._workers.draining:
            raise ConfigError([ConfigProblem("", "the workers are draining, they take over no other configuration")])
        text = self._launch.read()
        config = self._launch.load(text)
        sinks = self._sinks.prepare(config.stats_sinks)
        try:
            with self._launch.locating(text):
                await try_out(config, self._launch.plugins)
                self._open_sockets(config)
            await self._reload_workers(text)
        except ConfigError:
            self._close_unused(self._config)
            raise
        if config.log_level != self._config.log_level:
            set_all_levels(config.log_level)
        if worker_count(config) != len(self._slots):
            log.warning("workers: there are still %d; SIGUSR2 starts a successor with other ones", len(self._slots))
        self._text, self._config = text, config
        self._close_unused(config)
        self._sinks.switch(sinks)
        await self._admin.apply(config.admin)

    async def _reload_workers(self, text: str) -> None:
        """Raises ConfigError, with the old configuration at work in all of them."""
        slots = [slot for slot in self._slots if slot.ready.is_set()]
        problems = await asyncio.gather(*(self._reload_worker(slot, text) for slot in slots))
        if any(problems):
            back = await asyncio.gather(*(self._reload_worker(slot, self._text) for slot in slots if slot.text == text))
            for problem in filter(None, back):
                log.error("the old configuration could not be restored: %s", problem)
            raise ConfigError([ConfigProblem("", problem) for problem in problems if problem])

    async def _reload_worker(self, slot: Slot, text: str) -> str:
        """Returns what is wrong. A worker that is gone is none of it: the next one begins with what is right then."""
        control, channel = slot.control, slot.channel
        if control is None or channel is None:
            return ""
        sending = asyncio.get_running_loop().create_task(asyncio.to_thread(send_sockets, channel, slot.store.all()))
        try:
            answer: str = await control.call("reload", timeout=RELOAD_TIMEOUT, text=text)
            await sending
        except (ControlError, OSError) as error:
            answer = str(error)
        finally:
            await asyncio.wait([sending])
        if slot.control is not control:
            return ""
        if not answer:
            slot.text = text
        return answer and f"worker {slot.number}: {answer}"

    async def _reload_and_say(self) -> None:
        try:
            await self.reload()
        except L4ProxyError as error:
            log.error("the configuration was not reloaded, the old one stays:\n%s", error)
            raise
        log.info("the configuration was reloaded")
        log_remarks(self._config)

    async def _reload_on_signal(self) -> None:
        with contextlib.suppress(L4ProxyError):
            await self._reload_and_say()

    async def _hand_over(self) -> None:
        if self._has_successor or self._workers.draining:
            log.warning("no further successor is started: there is one, or this process ends anyway")
            return
        self._has_successor = True
        everything = self._admin.sockets()
        for slot in self._slots:
            for address, sockets in slot.store.all().items():
                everything.setdefault(address, []).extend(sockets)
        self._has_successor = await start_successor(everything)
        if self._has_successor:
            silence()
            await self._admin.close()
            self.stop()


def _ended(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
