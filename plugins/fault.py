"""``fault``: make connections slow, drip, break off or fail, on purpose."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from l4proxy import CloseReason, Conn, Filter, Register, Side, hookimpl
from l4proxy.config.types import Duration, Percent, Size
from l4proxy.stats import Stats, counter, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Fault", "FaultConfig"]


@dataclass(frozen=True, slots=True)
class FaultConfig:
    percent: Percent = Percent(100.0)
    """Share of connections that are disturbed; the others pass untouched."""
    connect_delay: Duration = Duration(0.0)
    """Wait so long before anything is connected."""
    abort_percent: Percent = Percent(0.0)
    """Share of the disturbed connections that are reset instead of being connected."""
    chunk_delay: Duration = Duration(0.0)
    """Hold every chunk so long, in both directions; the next one is read when it has gone."""
    drip_size: Size = Size(0)
    """Let only so many bytes pass at a time, in both directions."""
    drip_interval: Duration = Duration(0.0)
    """The time from one such portion to the next."""
    reset_after_upload: Size = Size(0)
    """Reset the connection when so many bytes have passed from the client to the upstream; 0: never."""
    reset_after_download: Size = Size(0)
    """Reset it when so many have passed from the upstream to the client; 0: never."""
    seed: int | None = None
    """Begin chance here, so that the same connections are disturbed in every run."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if bool(self.drip_size) != bool(self.drip_interval):
            given, missing = ("drip_size", "drip_interval") if self.drip_size else ("drip_interval", "drip_size")
            raise ValueError(f"{given}: needs {missing} beside it")
        if not (self.connect_delay or self.abort_percent or self.changes_bytes):
            raise ValueError("there is no fault to make (such as connect_delay, drip_size or reset_after_upload)")

    @property
    def changes_bytes(self) -> bool:
        """Whether it does anything to bytes under way."""
        return bool(self.chunk_delay or self.drip_size or self.reset_after_upload or self.reset_after_download)


class FaultStats(Stats, subsystem="fault", labels=("name",)):
    """Faults of one use."""

    disturbed_total = counter("Connections that were disturbed.")
    injected_total = labelled_counter("Faults made: connect_delay, abort, reset.", label="fault")


class Disturbance:
    """One direction of one connection.

    Of the chunk that is held, a portion passes at a time; the direction is paused from when a chunk comes until the
    time after its last portion is over.
    """

    __slots__ = ("_at", "_conn", "_delay", "_interval", "_left", "_on_enough", "_rest", "_send", "_side", "_size")

    def __init__(
        self, conn: Conn, side: Side, config: FaultConfig, reset_after: int, on_enough: Callable[[], None]
    ) -> None:
        self._conn = conn
        self._side = side
        self._send: Callable[[bytes], None] = conn.send_upstream if side is Side.CLIENT else conn.send_client
        self._delay = config.chunk_delay
        self._interval = config.drip_interval
        self._size = config.drip_size
        self._left = reset_after
        self._on_enough = on_enough
        self._rest = b""
        self._at = 0

    def pass_on(self, data: bytes) -> None:
        """A chunk has come."""
        if not self._delay and not self._interval:
            self._pass(data)
            return
        self._rest, self._at = data, 0
        self._conn.pause(self._side)
        if self._delay:
            self._conn.call_later(self._delay, self._next)
        else:
            self._next()

    def _next(self) -> None:
        """It is time for the next portion, or to go on with the next chunk."""
        rest, at = self._rest, self._at
        if at < len(rest):
            self._at = at + (self._size or len(rest))
            self._pass(rest[at : self._at])
            if self._interval:
                self._conn.call_later(self._interval, self._next)
                return
        self._rest = b""
        self._conn.resume(self._side)

    def _pass(self, data: bytes) -> None:
        """Send on, but nothing behind the byte at which it is enough."""
        if not self._left:
            self._send(data)
        elif len(data) < self._left:
            self._left -= len(data)
            self._send(data)
        else:
            self._send(data[: self._left])
            self._on_enough()


class Chance(NamedTuple):
    """What all connections of one use share."""

    random: random.Random
    stats: FaultStats

    def is_one_of(self, percent: float) -> bool:
        return self.random.random() * 100 < percent


class Fault(Filter[FaultConfig]):
    """Make connections slow, drip, break off or fail, to see what becomes of the clients and servers around.

    One connection in ten is reset; the others begin late and are slow:

        { use = "fault", abort_percent = 10, connect_delay = "500ms", drip_size = 100, drip_interval = "200ms" }

    Times may be up to a tenth of a second longer. What the other side sends waits meanwhile, bounded, and is not lost.
    A reset comes behind the bytes that passed. It closes the connection as `fault_reset`, an abort as `fault_abort`.
    """

    name = "fault"
    shared: Chance
    _upload: Disturbance
    _download: Disturbance

    @classmethod
    def provision(cls, config: FaultConfig, server: Server) -> Chance:
        return Chance(random.Random(config.seed), server.stats.group(FaultStats, name=config.name))

    def on_connect(self) -> Awaitable[None] | None:
        config, chance, conn = self.config, self.shared, self.conn
        if not chance.is_one_of(config.percent):
            conn.detach()
            return None
        chance.stats.disturbed_total += 1
        aborts = chance.is_one_of(config.abort_percent)
        if config.changes_bytes:
            self._upload = Disturbance(conn, Side.CLIENT, config, config.reset_after_upload, self._reset)
            self._download = Disturbance(conn, Side.UPSTREAM, config, config.reset_after_download, self._reset)
        else:
            conn.detach()
        if config.connect_delay:
            chance.stats.injected_total.add("connect_delay")
            return self._wait(aborts)
        if aborts:
            self._abort()
        return None

    async def _wait(self, aborts: bool) -> None:
        await asyncio.sleep(self.config.connect_delay)
        if aborts:
            self._abort()

    def _abort(self) -> None:
        self.shared.stats.injected_total.add("abort")
        reason = CloseReason("filter", "on_connect", "fault_abort", self.name, flags=("FI",))
        self.conn.close(reason, flush=False, reset=True)

    def _reset(self) -> None:
        self.shared.stats.injected_total.add("reset")
        self.conn.close(CloseReason("filter", "relay", "fault_reset", self.name, flags=("FI",)), reset=True)

    def on_client_data(self, data: bytes) -> None:
        self._upload.pass_on(data)

    def on_upstream_data(self, data: bytes) -> None:
        self._download.pass_on(data)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(Fault)
