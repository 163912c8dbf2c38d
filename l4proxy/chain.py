"""A filter chain as configured: which classes, with which options, and which of their callbacks anyone wrote.

Made when a configuration is loaded; connections only instantiate. That a filter does not override a callback is found
out here, once, and is why such a callback costs nothing later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.filter import Filter, Passed
from l4proxy.passed import PassedChunks
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.matcher import Matcher
    from l4proxy.server import Server
    from l4proxy.tls import ServerTlsContext

__all__ = ["FilterChain", "FilterStats", "FilterUse"]


class FilterStats(Stats, subsystem="filter", labels=("filter",)):
    """What happened to a filter, over all its places."""

    errors_total = counter("Exceptions raised by the filter's callbacks.")
    blocked_total = counter("Times the filter kept the event loop busy for longer than slow_callback.")
    bypassed_total = counter(
        "Times the filter was taken out of a chain because it raised (on_error = bypass, observers)."
    )


class FilterUse:
    """One place in a chain: a filter class with its options and what its connections share."""

    __slots__ = ("bypass", "client_eof", "closes", "cls", "config", "connects", "drains", "name", "observer",
                 "passed", "reads_client", "reads_upstream", "shared", "stats", "upstream_eof", "writable")  # fmt: skip

    def __init__(self, cls: type[Filter[Any]], config: Any, server: Server, bypass: bool = False) -> None:
        self.cls = cls
        self.config = config
        self.name = cls.name
        self.observer = cls.observer
        self.bypass = bypass or cls.observer
        self.stats = server.stats.group(FilterStats, filter=cls.name)
        self.shared = cls.provision(config, server)
        self.connects = self._overrides(Filter.on_connect)
        self.passed = PassedChunks(self._show, server.poller) if cls.observer and self._shows_passed() else None
        """What its instances have passed and are to be shown together; None: they are shown each chunk."""
        self.reads_client = self.passed is not None or self._overrides(Filter.on_client_data)
        self.reads_upstream = self.passed is not None or self._overrides(Filter.on_upstream_data)
        self.client_eof = self._overrides(Filter.on_client_eof)
        self.upstream_eof = self._overrides(Filter.on_upstream_eof)
        self.writable = self._overrides(Filter.on_writable)
        self.drains = self._overrides(Filter.on_drain)
        self.closes = self._overrides(Filter.on_close)

    def _overrides(self, callback: Callable[..., Any]) -> bool:
        return getattr(self.cls, callback.__name__) is not callback

    def _shows_passed(self) -> bool:
        return self.cls.on_passed.__func__ is not Filter.on_passed.__func__  # type: ignore[attr-defined]

    def _show(self, chunks: list[Passed]) -> None:
        try:
            self.cls.on_passed(chunks)
        except Exception as error:
            for failed in {who for who, *_ in chunks}:
                failed.conn.failed(error)

    def application_protocols(self) -> tuple[str, ...]:
        return self.cls.application_protocols(self.config)

    def cleanup(self) -> None:
        self.cls.cleanup(self.shared)


class FilterChain:
    """One way through a listener: who belongs here (``matchers``), TLS, and the filters, the last of them terminal."""

    __slots__ = ("filters", "matchers", "name", "tls")

    def __init__(
        self,
        name: str,
        filters: Sequence[FilterUse],
        matchers: Sequence[Matcher[Any]] = (),
        tls: ServerTlsContext | None = None,
    ) -> None:
        self.name = name
        self.filters = tuple(filters)
        self.matchers = tuple(matchers)
        self.tls = tls
