"""What a run of ``l4proxy sniff`` sees: an inspector at work, and those who look at what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from l4proxy.exchange import Exchange
from l4proxy.inspector import Inspector, Link
from l4proxy.plugins.sniff.choice import Choice
from l4proxy.plugins.watch import Watch, Watched
from l4proxy.stats_registry import StatsRegistry

__all__ = ["LABEL_BUDGET", "Recorded", "Sight", "Tap"]

LABEL_BUDGET = 5000
"""Values of a label that are told apart: more than in a proxy, for here somebody wants to see them."""


class View(Protocol):
    """Who is shown the exchanges that were chosen."""

    def exchange(self, exchange: Exchange) -> None: ...


class Tap(Protocol):
    """Who is given all that conversations are given, before them."""

    def opened(self, link: Link, at: float) -> None: ...
    def data(self, link: Link, from_client: bool, data: bytes, at: float) -> None: ...
    def eof(self, link: Link, from_client: bool, at: float) -> None: ...
    def lost(self, link: Link, from_client: bool, size: int | None, at: float) -> None: ...
    def stopped(self, link: Link, at: float) -> None:
        """Nothing more is understood of it; what passes is told all the same."""

    def closed(self, link: Link, at: float) -> None: ...


class Sight:
    """Made with what the command line says; ``begin`` makes the inspector, once it is known what it counts in."""

    def __init__(self, inspector: type[Inspector[Any]], config: Any, choice: Choice) -> None:
        self.protocol = inspector
        self.choice = choice
        self.views: list[View] = []
        self.on_failure: Callable[[Exception], object] = _raise
        """Called with what a view raised; none is shown anything more then."""
        self.tap: Tap | None = None
        self._config = config
        self.registry: StatsRegistry
        self.watch: Watch

    def begin(self, registry: StatsRegistry | None = None) -> Watch:
        """``registry`` is that of a server; without one there is one of our own."""
        self.registry = registry = registry or StatsRegistry(LABEL_BUDGET)
        inspector = self.protocol(self._config, registry)
        if self.views:
            inspector.on_exchange = self._show if self.choice.is_all else self._show_chosen
        self.watch = Watch(inspector, registry)
        return self.watch

    def connection(self, link: Link, at: float) -> Watched | Recorded:
        """A connection was seen for the first time. Returns who takes its bytes."""
        watched = self.watch.begin(link)
        if self.tap is None:
            return watched
        self.tap.opened(link, at)
        return Recorded(self.tap, watched)

    def _show(self, exchange: Exchange) -> None:
        try:
            for view in self.views:
                view.exchange(exchange)
        except Exception as error:
            self.watch.inspector.on_exchange = None
            self.on_failure(error)

    def _show_chosen(self, exchange: Exchange) -> None:
        if self.choice(exchange):
            self._show(exchange)


def _raise(error: Exception) -> None:
    raise error


class Recorded:
    """A connection of which a tap gets everything first."""

    __slots__ = ("_tap", "_watched", "link")

    def __init__(self, tap: Tap, watched: Watched) -> None:
        self._tap = tap
        self._watched = watched
        self.link = watched.link

    @property
    def stopped(self) -> bool:
        """A recording goes on where nothing is understood any more."""
        return False

    def client_data(self, data: bytes, at: float) -> None:
        self._tap.data(self.link, True, data, at)
        self._watched.client_data(data, at)

    def server_data(self, data: bytes, at: float) -> None:
        self._tap.data(self.link, False, data, at)
        self._watched.server_data(data, at)

    def client_lost(self, size: int | None, at: float) -> None:
        self._tap.lost(self.link, True, size, at)
        self._watched.client_lost(size, at)

    def server_lost(self, size: int | None, at: float) -> None:
        self._tap.lost(self.link, False, size, at)
        self._watched.server_lost(size, at)

    def client_eof(self, at: float) -> None:
        self._tap.eof(self.link, True, at)
        self._watched.client_eof(at)

    def server_eof(self, at: float) -> None:
        self._tap.eof(self.link, False, at)
        self._watched.server_eof(at)

    def failed(self, error: Exception, at: float) -> None:
        self._tap.stopped(self.link, at)
        self._watched.failed(error, at)

    def close(self, at: float) -> None:
        self._tap.closed(self.link, at)
        self._watched.close(at)
