"""The contract of discovery: how a cluster learns which endpoints it has.

One object per cluster, made when a configuration is loaded and kept over reloads that change nothing about it. The life
of one:

1. ``__init__``: no input or output yet. ValueError refuses the configuration.
2. ``initial()``: once, before the cluster is used: what is known without waiting.
3. ``run(update)``: one task until it is cancelled. ``update(specs)`` is called with the *whole* list whenever it
   changes; the cluster finds out what came and went. An exception is logged, and ``run`` begins again after a pause.

Until something is known, connections wait (at most their connect timeout); with an empty list they fail at once.
A look-up that fails is no reason to take working endpoints away: keep them, and say so with ``report``.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from l4proxy.endpoint import EndpointSpec

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster
    from l4proxy.connect import ConnectRequest

__all__ = ["Discovery", "OnDemandDiscovery", "Update"]

C = TypeVar("C")
log = logging.getLogger("l4proxy.discovery")
Update = Callable[[Sequence[EndpointSpec]], None]


class Discovery(ABC, Generic[C]):
    """One way to find endpoints, registered by ``register_discovery``; ``C`` is a frozen dataclass, its options.

    ``discovery = "NAME"`` in a cluster, or ``discovery = { use = "NAME", ... }``.
    """

    name: ClassVar[str]

    def __init__(self, config: C, cluster: Cluster) -> None:
        """``cluster`` is the whole entry of the configuration; ``cluster.endpoints`` are those written there."""
        self.config = config
        self.cluster = cluster
        self.updates = 0
        self.failures = 0
        self._problems: dict[str, str] = {}

    def initial(self) -> Sequence[EndpointSpec] | None:
        """The endpoints that are known without waiting, or None: that has to be found out by ``run``."""
        return None

    @abstractmethod
    async def run(self, update: Update) -> None:
        """Find endpoints and keep the list up to date. May return when nothing will ever change."""

    def report(self, problem: str = "", *, about: str = "") -> None:
        """Say how a look-up or read went: well, or with which problem. It is counted, and logged when it changes.

        ``about`` names what was looked up, where that is more than one thing.
        """
        if problem:
            self.failures += 1
        else:
            self.updates += 1
        if problem == self._problems.get(about, ""):
            return
        self._problems[about] = problem
        what = f"cluster {self.cluster.name}: {self.name}{about and ' '}{about}"
        if problem:
            log.warning("%s: %s", what, problem)
        else:
            log.info("%s: well again", what)

    @property
    def problem(self) -> str:
        """What is wrong now, for people (empty: nothing); shown by ``/clusters`` and in the errors of connections."""
        return "; ".join(f"{about}: {text}" if about else text for about, text in self._problems.items() if text)


class OnDemandDiscovery(Discovery[C]):
    """Endpoints that nobody can know beforehand, because every connection names its own.

    The balancer is not asked. An endpoint that nobody uses any more is forgotten after ``idle_time`` seconds.
    """

    idle_time: float = 5.0

    def initial(self) -> Sequence[EndpointSpec] | None:
        return ()

    async def run(self, update: Update) -> None:
        """Nothing to watch, unless a subclass has something."""

    @abstractmethod
    def find(self, request: ConnectRequest, found: Callable[[EndpointSpec | None], None]) -> None:
        """Call ``found`` once, now or later, with the endpoint this connection is meant for (None: there is none).

        Called for each connection and each further attempt; ``found`` may be called after the connection was given up.
        """
