"""Base of the observer filters: an inspector, put into a filter chain.

That is all of such a filter::

    class Lines(Observer[LinesConfig]):
        '''Watch conversations in lines. Never changes or delays a byte.'''

        name = "lines"
        inspector = LinesInspector
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from l4proxy.exchange import Exchange
from l4proxy.filter import Filter, Passed, Side
from l4proxy.inspector import Inspector, Link
from l4proxy.passed import now
from l4proxy.plugins.watch import Watch, Watched

if TYPE_CHECKING:
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server
    from l4proxy.table import Table

__all__ = ["Observer", "now"]

C = TypeVar("C")


class Observer(Filter[C]):
    """A filter that shows an inspector what passes: bytes first, understanding after. Its options are the inspector's.

    Whatever the inspector does, the traffic goes on. A connection of which it understands nothing more is no longer
    watched, and costs nothing any more.
    """

    observer = True
    inspector: ClassVar[type[Inspector[Any]]]
    shared: Watch
    watched: Watched

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
        self.watched = self.shared.begin(self._link)

    @classmethod
    def on_passed(cls, passed: Sequence[Passed]) -> None:
        for observer, side, data, at in passed:
            observer.look(side, data, at)

    def look(self, side: Side, data: bytes, at: float) -> None:
        """At a chunk that has passed. Raises nothing."""
        watched = self.watched
        try:
            if side is Side.CLIENT:
                spare = watched.client_data(data, at)
            else:
                if self._link.server is None:
                    self._link.server = self.conn.upstream
                spare = watched.server_data(data, at)
        except Exception as error:
            self._stop(error)
        else:
            if spare and self.conn.skip(side, spare):
                watched.skipped(side, spare)

    def on_client_eof(self) -> None:
        self.watched.client_eof(now())
        self._leave_if_stopped()

    def on_upstream_eof(self) -> None:
        self.watched.server_eof(now())
        self._leave_if_stopped()

    def on_close(self, reason: CloseReason) -> None:
        self.watched.close(now())

    def _stop(self, error: Exception) -> None:
        self.watched.failed(error, now())
        error.__traceback__ = None  # whoever keeps the error would keep us, by its frames
        self._leave_if_stopped()

    def _leave_if_stopped(self) -> None:
        if self.watched.stopped:
            self.conn.detach()


def _logger(watch: Watch, chosen: Callable[[Exchange], bool]) -> Callable[[Exchange], None]:
    def log(exchange: Exchange) -> None:
        if chosen(exchange):
            say = watch.log.warning if exchange.error else watch.log.info
            say("[%d] %s", exchange.link.id, exchange.line())

    return log
