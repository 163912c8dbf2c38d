"""What terminal filters share that give a client one upstream connection: making it, and its limits in time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from l4proxy import CloseReason, Filter, UpstreamError
from l4proxy.connect import Attempt, ConnectRequest

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.stream import Stream

__all__ = ["Forwarder", "TimeLimits"]


class TimeLimits(Protocol):
    """Options that every forwarder has."""

    @property
    def idle_timeout(self) -> float: ...
    @property
    def max_connection_duration(self) -> float: ...


C = TypeVar("C", bound=TimeLimits)


class Forwarder(Filter[C]):
    """Base of such filters: they choose in ``on_connect`` and call ``forward``."""

    terminal = True

    def __init__(self) -> None:
        self._attempt: Attempt | None = None
        self._preface = b""
        self._started = 0.0
        self._activity = 0
        self._quiet_quarters = 0

    def forward(self, cluster: Cluster, request: ConnectRequest, preface: bytes = b"") -> None:
        """Connect to ``cluster`` and let the bytes run both ways; the upstream gets ``preface`` before all else."""
        self.conn.connecting(cluster.name)
        if self.config.max_connection_duration:
            self.conn.call_later(self.config.max_connection_duration, self._too_old)
        self._preface = preface
        self._started = time.monotonic()
        self._attempt = Attempt(cluster, request, self._connected, self._failed)
        self._attempt.start()

    def _connected(self, stream: Stream, endpoint: Endpoint) -> None:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        self.conn.attach_upstream(
            stream,
            preface=self._preface,
            endpoint=endpoint.name,
            attempts=attempt.number,
            connect_seconds=time.monotonic() - self._started,
        )
        if self.config.idle_timeout:
            self._activity = self.conn.activity
            self.conn.call_later(self.config.idle_timeout / 4, self._watch)

    def _failed(self, error: UpstreamError) -> None:
        self._attempt = None
        self.conn.connect_failed(error)

    def _watch(self) -> None:
        """Look four times per idle timeout whether anything has moved: no clock is read per chunk."""
        activity = self.conn.activity
        self._quiet_quarters = self._quiet_quarters + 1 if activity == self._activity else 0
        self._activity = activity
        if self._quiet_quarters == 4:
            self.conn.close(CloseReason("proxy", "relay", "idle_timeout"))
        else:
            self.conn.call_later(self.config.idle_timeout / 4, self._watch)

    def _too_old(self) -> None:
        phase = "connecting" if self._attempt else "relay"
        reason = CloseReason("proxy", phase, "max_connection_duration", flags=("DT",))
        self.conn.close(reason, reset=phase == "relay")  # what is cut off shall not look complete

    def on_close(self, reason: CloseReason) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
