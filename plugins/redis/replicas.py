"""Which replicas may be read from: those that are there, and that have what their primary had not long ago.

Every server is asked for ``INFO replication`` once a second. From the primary's answers it is known how far the stream
of writes was at which time; so a replica's own position says of which time its data are, with no clock of a server
being asked. A replica that has lost its primary counts from then."""

from __future__ import annotations

import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.inquiry import inquire
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.topology import Replication, read_replication
from l4proxy.protocols.redis.values import Failure, Value

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.target import Shard
    from l4proxy.plugins.redis.watched import WatchedTarget
    from l4proxy.timers import Timer

__all__ = ["INFO_REPLICATION", "ReplicaWatch"]

INTERVAL = 1.0
"""Seconds between two questions to the same server."""
MISSED = 3
"""A server that has left so many questions in a row unanswered is not there."""
QUIET = 15
"""Seconds. A primary tells its replicas something every 10 (``repl-ping-replica-period``), if nothing is written."""
SAMPLES = 300
INFO_REPLICATION = encode_command(b"INFO", b"REPLICATION")


class _View:
    """What is known of one server."""

    __slots__ = ("at", "latency", "missed", "told")

    def __init__(self) -> None:
        self.told: Replication | None = None
        self.at = 0.0
        self.missed = 0
        self.latency = 0.0


class ReplicaWatch:
    """Of one cluster."""

    def __init__(self, target: WatchedTarget) -> None:
        self._target = target
        self._hub = target.hub
        self._max_lag = target.config.max_lag
        self._views: dict[Endpoint, _View] = {}
        self._offsets: dict[Shard, deque[tuple[float, int]]] = {}
        """When a primary had written how much."""
        self._missing = 0
        self.begun = False
        """Each server that there was has been asked once."""
        self._timer: Timer = self._hub.timers.call_later(0.0, self._look)

    # What is asked

    def usable(self, shard: Shard) -> list[Endpoint]:
        """The replicas that may be read from."""
        return [endpoint for endpoint in shard.replicas if self._may_be_read(shard, endpoint)]

    def answers(self, endpoint: Endpoint) -> bool:
        """Whether a server is there, as far as is known. One that has stopped keeps its connections."""
        view = self._views.get(endpoint)
        return view is None or view.missed < MISSED

    def latency(self, endpoint: Endpoint) -> float:
        """Seconds until a server answers, as of late."""
        view = self._views.get(endpoint)
        return view.latency if view is not None and view.at else float("inf")

    def _may_be_read(self, shard: Shard, endpoint: Endpoint) -> bool:
        view = self._views.get(endpoint)
        if view is None or view.told is None or view.missed >= MISSED or view.told.syncing or view.told.is_primary:
            return False
        return not self._max_lag or self.lag(shard, view.told, view.at) <= self._max_lag

    def lag(self, shard: Shard, told: Replication, at: float) -> float:
        """For how many seconds its data have been out of date."""
        behind = 0.0
        for when, offset in reversed(self._offsets.get(shard, ())):
            if offset <= told.offset:
                break
            behind = max(0.0, at - when)
        quiet = told.quiet if not told.linked or told.quiet > QUIET else 0
        return max(behind, quiet)

    # Asking

    def _look(self) -> None:
        shards = self._target.shards()
        present = {endpoint: shard for shard in shards for endpoint in (shard.primary, *shard.replicas) if endpoint}
        self._views = {endpoint: view for endpoint, view in self._views.items() if endpoint in present}
        self._offsets = {shard: samples for shard, samples in self._offsets.items() if shard in shards}
        self._missing = len(present)
        for endpoint, shard in present.items():
            view = self._views.setdefault(endpoint, _View())
            view.missed += 1
            try:
                pool = self._target.pool(self._hub.identity, endpoint, replica=endpoint is not shard.primary)
            except UpstreamError:
                continue
            answered = partial(self._told, shard, endpoint, self._hub.clock())
            inquire(pool, self._hub.info, INFO_REPLICATION, answered)
        if not self.begun and not present:
            self._timer = self._hub.timers.call_later(0.1, self._look)
        else:
            self._timer = self._hub.timers.call_later(INTERVAL * random.uniform(0.9, 1.1), self._look)

    def _told(self, shard: Shard, endpoint: Endpoint, asked: float, value: Value, _by: object) -> None:
        self._missing -= 1
        now, view = self._hub.clock(), self._views.get(endpoint)
        told = None if isinstance(value, Failure) or not isinstance(value, bytes) else read_replication(value)
        if view is not None and told is not None:
            view.told, view.at, view.missed = told, now, 0
            took = now - asked
            view.latency = took if not view.latency else 0.7 * view.latency + 0.3 * took
            if told.is_primary and endpoint is shard.primary:
                self._offsets.setdefault(shard, deque(maxlen=SAMPLES)).append((asked, told.offset))
            if told.is_primary != (endpoint is shard.primary):
                self._target.refresh()
        elif view is not None:
            view.missed = MISSED
        if not self.begun and self._missing <= 0:
            self.begun = True
            self._target.settled()

    def close(self) -> None:
        self._timer.cancel()
