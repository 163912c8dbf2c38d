"""One run: a source, an inspector, and who looks; until the source is at its end or somebody has seen enough."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from l4proxy.address import Address
from l4proxy.errors import ConfigError, L4ProxyError
from l4proxy.plugins.sniff.lines import JsonLines, Lines
from l4proxy.plugins.sniff.live import LiveView
from l4proxy.plugins.sniff.output import Output
from l4proxy.plugins.sniff.recording import Recorder
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.source import Source
from l4proxy.plugins.sniff.summary import facts_of_watch, print_summary

if TYPE_CHECKING:
    from l4proxy.admin import AdminServer
    from l4proxy.admin_target import Answer
    from l4proxy.snapshot import Snapshot
    from l4proxy.stats_registry import StatsRegistry

__all__ = ["Run"]

log = logging.getLogger("l4proxy.sniff")

FLUSH_SECONDS = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Run:
    """What the command line asked for. ``live``, or a view of ``lines``, or neither; ``output`` is what the lines go
    through, if it is not standard output itself; ``metrics`` is where scrapers come to."""

    def __init__(
        self,
        sight: Sight,
        source: Source,
        *,
        live: LiveView | None = None,
        lines: Lines | JsonLines | None = None,
        output: Output | None = None,
        record: str = "",
        metrics: Address | None = None,
        duration: float | None = None,
    ) -> None:
        self._sight = sight
        self._source = source
        self._live = live
        self._lines = lines
        self._output = output
        self._record = record
        self._metrics = metrics
        self._duration = duration
        self._recorder: Recorder | None = None
        self._stop = asyncio.Event()
        self._error: Exception | None = None
        sight.on_failure = self._fail
        sight.views += [view for view in (live, lines) if view is not None]

    async def main(self) -> int:
        """Returns the exit status. Raises L4ProxyError, behind the summary where something was seen."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop.set)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._source.close)
            title = await self._open(stack)
            if self._duration is not None:
                loop.call_later(self._duration, self._stop.set)
            await self._watch(title)
        if self._recorder is not None:
            self._recorder.close()
        if self._output is not None:
            self._output.close()
        for number in _SIGNALS:  # a terminal that is held up may be left to itself
            loop.remove_signal_handler(number)
        print_summary(self._sight, self._facts(), self._source.began(), self._source.now())
        if self._error is not None:
            raise self._error
        if self._lines is not None:
            self._lines.flush()
        return 0

    async def _open(self, stack: contextlib.AsyncExitStack) -> str:
        if self._record:
            self._recorder = self._sight.tap = Recorder(self._record, self._sight.protocol.name, self._fail)
        title = await self._source.open(self._sight)
        if self._recorder is not None:
            self._recorder.cut_as(self._sight.watch.inspector)
        if self._metrics is not None:
            server = _serve_metrics(self._metrics, self._sight.registry)
            stack.push_async_callback(server.close)
            title += f", metrics at {', '.join(map(str, server.addresses))}"
        return title

    async def _watch(self, title: str) -> None:
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[Any]] = {loop.create_task(self._stop.wait())}
        if self._live is None:
            log.info("%s: %s", self._sight.protocol.name, title)
        else:  # before anything is read, for it also shows what the log says
            shown = f"{self._sight.protocol.name}: {title}"
            tasks.add(loop.create_task(self._live.run(self._sight, self._source, shown, self._facts_now)))
        reading = loop.create_task(self._source.run())
        tasks.add(reading)
        flushing = loop.create_task(self._flush())
        try:
            while True:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if reading in done and self._live is not None and not reading.exception() and len(done) == 1:
                    tasks.discard(reading)  # what was read can be looked at for as long as one likes
                    self._live.ended()
                    continue
                break
        finally:
            for task in (*tasks, reading, flushing):
                task.cancel()
            for outcome in await asyncio.gather(*tasks, reading, flushing, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self._fail(outcome)

    async def _flush(self) -> None:
        """What is written to files and pipes is to be seen soon."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                for one in (self._lines, self._recorder):
                    if one is not None:
                        one.flush()
            except OSError as error:  # who read our output has left
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._stop.set()

    def _facts(self) -> Iterable[tuple[str, str]]:
        yield from self._source.facts()
        if self._recorder is not None:
            yield "recorded", f"{self._recorder.lines:,} lines in {self._record}"
        if self._output is not None and self._output.dropped:
            yield "not shown", f"{self._output.dropped:,} lines: standard output was not read fast enough"

    def _facts_now(self) -> Iterable[tuple[str, str]]:
        yield "active", f"{len(self._sight.watch.active):,}"
        yield from facts_of_watch(self._sight)
        yield from self._facts()


def _serve_metrics(address: Address, registry: StatsRegistry) -> AdminServer:
    from l4proxy.admin import AdminServer
    from l4proxy.generation import SocketStore

    server = AdminServer(_Target(registry), SocketStore())
    try:
        server.serve_metrics(address, (socket.gethostname(), socket.getfqdn()))
    except ConfigError as error:
        raise L4ProxyError(f"--prometheus: {error.problems[0].cause}") from error
    return server


class _Target:
    """What scrapers see of a run."""

    state = "LIVE"
    workers = 1

    def __init__(self, registry: StatsRegistry) -> None:
        self._registry = registry

    async def snapshot(self) -> Snapshot:
        return self._registry.snapshot()

    async def describe(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        raise L4ProxyError("there is nothing to be described here")

    async def change(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        raise L4ProxyError("there is nothing to be changed here")

    async def reload(self) -> None:
        raise L4ProxyError("there is no configuration to be read again")

    def stop(self, drain_time: float | None = None) -> None:
        raise L4ProxyError("scrapers do not stop it")
