"""Base of the observer filters: an inspector, put into a filter chain.

That is all of such a filter::

    class Lines(Observer[LinesConfig]):
        '''Watch conversations in lines. Never changes or delays a byte.'''

        name = "lines"
        inspector = LinesInspector
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from l4proxy.exchange import Exchange
from l4proxy.filter import Filter, Side
from l4proxy.inspector import Inspector, Link
from l4proxy.plugins.watch import Watch

if TYPE_CHECKING:
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server
    from l4proxy.table import Table

__all__ = ["Observer", "now"]

C = TypeVar("C")

_perf_counter = time.perf_counter
EPOCH = time.time() - _perf_counter()


def now() -> float:
    """Seconds since the epoch, by a clock that does not jump when the system's is set."""
    return _perf_counter() + EPOCH


class Observer(Filter[C]):
    """A filter that shows an inspector what passes: bytes first, understanding after. Its options are the inspector's.

    Whatever the inspector does, the traffic goes on. A connection of which it understands nothing more is no longer
    watched, and costs nothing any more.
    """

    observer = True
    inspector: ClassVar[type[Inspector[Any]]]
    shared: Watch

    @classmethod
    def provision(cls, config: C, server: Server) -> Watch:
        inspector = cls.inspector(config, server.stats)
        watch = Watch(inspector, server.stats)
        chosen = cls.logs(config)
        if chosen is not None:
            inspector.on_exchange = _logger(watch, chosen)
        return watch

    @classmethod
    def tables(cls, shared: Watch) -> Sequence[Table]:
        return shared.inspector.tables()

    @classmethod
    def logs(cls, config: C) -> Callable[[Exchange], bool] | None:
        """Which exchanges the log gets a line of, at level info, or warning where they have an error. None: none, and
        then none are built."""
        return None

    def on_connect(self) -> None:
        conn = self.conn
        self._link = Link(conn.id, conn.client, state=conn.state)
        self._watched = self.shared.begin(self._link)

    def on_client_data(self, data: bytes) -> None:
        feed = self._watched.client_data  # taken first: it is an attribute, as those of `Stream`
        try:
            spare = feed(data, _perf_counter() + EPOCH)
        except Exception as error:
            self._stop(error)
        else:
            if spare and self.conn.skip(Side.CLIENT, spare):
                self._watched.skipped(Side.CLIENT, spare)

    def on_upstream_data(self, data: bytes) -> None:
        if self._link.server is None:
            self._link.server = self.conn.upstream
        feed = self._watched.server_data
        try:
            spare = feed(data, _perf_counter() + EPOCH)
        except Exception as error:
            self._stop(error)
        else:
            if spare and self.conn.skip(Side.UPSTREAM, spare):
                self._watched.skipped(Side.UPSTREAM, spare)

    def on_client_eof(self) -> None:
        self._watched.client_eof(now())
        self._leave_if_stopped()

    def on_upstream_eof(self) -> None:
        self._watched.server_eof(now())
        self._leave_if_stopped()

    def on_close(self, reason: CloseReason) -> None:
        self._watched.close(now())

    def _stop(self, error: Exception) -> None:
        self._watched.failed(error, now())
        error.__traceback__ = None  # whoever keeps the error would keep us, by its frames
        self._leave_if_stopped()

    def _leave_if_stopped(self) -> None:
        if self._watched.stopped:
            self.conn.detach()


def _logger(watch: Watch, chosen: Callable[[Exchange], bool]) -> Callable[[Exchange], None]:
    def log(exchange: Exchange) -> None:
        if chosen(exchange):
            say = watch.log.warning if exchange.error else watch.log.info
            say("[%d] %s", exchange.link.id, exchange.line())

    return log
