"""Connecting to a cluster: one attempt, from the choice of an endpoint to a stream that is ready for use.

An `Attempt` is a small state machine driven by the poller and the timers; it exists only while a connection is being
made, and there is no task behind it. In order: the cluster's limits; an endpoint from the balancer (or from discovery,
where each connection names its own); a socket to its first address and, where it has several, one more every 250 ms or
as soon as one fails, until one is connected (RFC 8305, "happy eyeballs"); TLS; done. When all that fails or takes
longer than the connect timeout, the next endpoint is tried, as often as the request allows.

Every failure has a name (`UpstreamError.detail`), which logs, counters and close reasons show.
"""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINPROGRESS
from functools import partial
from typing import TYPE_CHECKING

from l4proxy.balancer import stable_hash
from l4proxy.dial import connect_failure, dial, dialled
from l4proxy.errors import UpstreamError
from l4proxy.logging_setup import once_per
from l4proxy.poller import WRITE
from l4proxy.stream import Stream
from l4proxy.timers import TICK

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint, Target
    from l4proxy.timers import Timer
    from l4proxy.tls import Handshake

__all__ = ["ATTEMPT_DELAY", "Attempt", "ConnectRequest"]

log = logging.getLogger("l4proxy.connect")

ATTEMPT_DELAY = 0.25
"""Seconds until the next address of an endpoint is tried beside the one under way (RFC 8305, section 5)."""
BACKOFF_LIMIT = 10
"""The longest pause between attempts, as a multiple of ``backoff``."""
FAILURES_PAUSE = 10.0
"""Seconds between two lines of the log about one cluster's failures of one kind."""


@dataclass(slots=True)
class ConnectRequest:
    """What a connection to a cluster is wanted for. One that says nothing of its own may be shared by all of them."""

    hash_key: int | None = None
    """64 bits (``l4proxy.balancer.stable_hash``) that decide the endpoint, for policies that hash."""
    original_destination: tuple[str, int] | None = None
    """Where the client wanted to go (``Conn.destination``), for clusters with ``original_dst``."""
    server_name: str = ""
    """The name the client asked for, for clusters whose endpoints are found by it."""
    attempts: int = 1
    """How many endpoints may be tried."""
    backoff: float = 0.0
    """Seconds. The pause before attempt n + 1 is random, up to 2^n - 1 times this and at most ten times; 0: none."""
    endpoint: Endpoint | None = None
    """This one and no other."""
    reports: bool = False
    """Who asks carries requests, and says of each how it went (``Endpoint.report``): that a connection was made proves
    nothing yet."""


class Attempt:
    """A connection being made. ``Cluster.connect`` makes and starts one.

    Whoever wants to ask it something in its callbacks makes it himself, for they may come before ``start`` returns.
    """

    __slots__ = (
        "_backup",
        "_begun",
        "_cluster",
        "_error",
        "_handshake",
        "_next",
        "_on_connected",
        "_on_failed",
        "_request",
        "_sockets",
        "_started",
        "_timer",
        "_tried",
        "done",
        "endpoint",
    )

    def __init__(
        self,
        cluster: Cluster,
        request: ConnectRequest,
        on_connected: Callable[[Stream, Endpoint], object],
        on_failed: Callable[[UpstreamError], object],
    ) -> None:
        self._cluster = cluster
        self._request = request
        self._on_connected = on_connected
        self._on_failed = on_failed
        self.done = False
        """It has connected, failed or been cancelled; nothing more will be called."""
        self.endpoint: Endpoint | None = None
        """The one being tried."""
        self._begun = False
        self._tried: list[Endpoint] = []
        self._error: UpstreamError | None = None
        self._sockets: list[socket.socket] = []
        self._next = 0
        self._started = 0.0
        self._timer: Timer | None = None
        self._backup: Timer | None = None
        self._handshake: Handshake | None = None

    @property
    def number(self) -> int:
        """How many endpoints were tried, the present one included."""
        return len(self._tried)

    def start(self) -> None:
        """Begin, or wait until the cluster has room. To be called once."""
        self._cluster.admit(self)

    def cancel(self) -> None:
        """Stop; neither callback will be called. Harmless when it is done."""
        if not self.done:
            self._abandon()
            self._finish()

    # The cluster's limits

    def begin(self) -> None:
        """There is room: connect. Called by the cluster, once."""
        self._stop_timers()
        self._begun = True
        self._cluster.connecting += 1
        self._choose()

    def wait(self) -> None:
        """There is no room, or no endpoint is known yet. Either the cluster calls ``begin``, or the time is over."""
        cluster = self._cluster
        self._timer = cluster.timers.call_later(
            cluster.config.connect_timeout, lambda: self.refuse(cluster.waited_in_vain())
        )

    def refuse(self, error: UpstreamError) -> None:
        """End without having begun."""
        self._fail(error)

    # Choosing

    def _choose(self) -> None:
        cluster, request = self._cluster, self._request
        if request.endpoint is not None:
            self._try(request.endpoint)
        elif cluster.on_demand is not None:
            cluster.on_demand.find(request, self._try)
        elif self._tried:
            self._try(self._choose_another())
        else:
            self._try(cluster.balancer.choose(request.hash_key))

    def _choose_another(self) -> Endpoint | None:
        """An endpoint that was not tried yet, as the balancer likes them; any, when all were."""
        key = self._request.hash_key
        endpoint = None
        for _ in range(2 * len(self._tried)):
            if key is not None:
                key = stable_hash(key.to_bytes(8, "big"))
            endpoint = self._cluster.balancer.choose(key)
            if endpoint not in self._tried:
                return endpoint
        others = (other for other in self._cluster.endpoints.choosable() if other not in self._tried)
        return next(others, endpoint)

    # One endpoint

    def _try(self, endpoint: Endpoint | None) -> None:
        if self.done:
            return
        if endpoint is None:
            self._fail(self._cluster.no_endpoint())
            return
        self.endpoint = endpoint
        self._tried.append(endpoint)
        self._cluster.endpoints.attempted(endpoint)
        self._started = time.monotonic()
        self._error = None
        self._next = 0
        self._dial_next()

    def _dial_next(self) -> None:
        """Begin with the next address; give the endpoint up when there is none left and none under way."""
        assert self.endpoint is not None
        targets = self.endpoint.targets
        self._stop_backup()
        while self._next < len(targets):
            target = targets[self._next]
            self._next += 1
            try:
                sock, connected = dial(target, self._cluster.source)
            except UpstreamError as error:
                self._note(error)
            except BlockingIOError:
                self._next -= 1
                self._wait(TICK)
                return
            else:
                if connected:
                    self._connected(sock, target)
                else:
                    self._sockets.append(sock)
                    self._cluster.poller.register(sock.fileno(), WRITE, partial(self._progress, sock, target))
                    self._wait(ATTEMPT_DELAY if self._next < len(targets) else 0)
                return
        if not self._sockets:
            self._give_up_endpoint(self._error or connect_failure(0))

    def _wait(self, next_after: float) -> None:
        """Limit the time that this endpoint gets, and (unless 0) the time until its next address is tried."""
        timers = self._cluster.timers
        if self._timer is None:
            self._timer = timers.call_later(self._cluster.config.connect_timeout, self._timed_out)
        if next_after:
            self._backup = timers.call_later(next_after, self._dial_next)

    def _progress(self, sock: socket.socket, target: Target, _mask: int) -> None:
        code = dialled(sock, target)
        if code == EINPROGRESS:
            return
        self._cluster.poller.unregister(sock.fileno())
        self._sockets.remove(sock)
        if code == 0:
            self._connected(sock, target)
        else:
            sock.close()
            self._note(connect_failure(code))
            self._dial_next()

    def _note(self, error: UpstreamError) -> None:
        """Remember the failure to report: of several addresses the last one's that got further than routing."""
        if self._error is None or error.detail != "unreachable":
            self._error = error.with_traceback(None)  # its frames know this attempt

    def _connected(self, sock: socket.socket, target: Target) -> None:
        cluster, endpoint = self._cluster, self.endpoint
        assert endpoint is not None
        self._stop_timers()
        self._close_sockets()
        if target.family != socket.AF_UNIX:
            cluster.tune(sock)
        if cluster.tls is None:
            self._ready(Stream(sock, cluster.poller, cluster.config.buffer_limit))
            return
        handshake = cluster.tls.connect(
            sock,
            endpoint.hostname,
            cluster.poller,
            cluster.timers,
            lambda stream, _info, _seconds: self._ready(stream),
            lambda why, message: self._give_up_endpoint(UpstreamError("UF", why, message)),
            cluster.config.buffer_limit,
        )
        if handshake.pending:
            self._handshake = handshake

    def _ready(self, stream: Stream) -> None:
        endpoint = self.endpoint
        assert endpoint is not None
        self._handshake = None
        if endpoint.failures and not self._request.reports:
            endpoint.report(ok=True)
        self._cluster.endpoints.opened(endpoint, stream, time.monotonic() - self._started)
        self._finish()
        self._on_connected(stream, endpoint)

    # Failing

    def _timed_out(self) -> None:
        self._timer = None
        limit = self._cluster.config.connect_timeout
        self._give_up_endpoint(UpstreamError("UF", "connect_timeout", f"no answer within {limit:g} s"))

    def _give_up_endpoint(self, error: UpstreamError) -> None:
        cluster, endpoint = self._cluster, self.endpoint
        assert endpoint is not None
        endpoint.stats.connect_failed_total.add(error.detail)
        if error.flag != "UO":  # a limit of ours is none of its doing
            endpoint.report(ok=False)
        self._abandon()
        if len(self._tried) >= self._request.attempts or error.flag == "UO":
            text = f"cluster {cluster.name}: endpoint {endpoint.name}: {error}"
            self._fail(UpstreamError(error.flag, error.detail, text, error.errno))
            return
        cluster.stats.connect_failed_total.add(error.detail)
        cluster.stats.retries_total += 1
        pause = self._request.backoff * min(2 ** len(self._tried) - 1, BACKOFF_LIMIT) * random.random()
        if pause:
            self._timer = cluster.timers.call_later(pause, self._choose)
        else:
            self._choose()

    def _fail(self, error: UpstreamError) -> None:
        error.attempts = len(self._tried)
        if self._tried:
            error.endpoint = self._tried[-1].name
        self._cluster.stats.connect_failed_total.add(error.detail)
        if times := once_per(FAILURES_PAUSE, f"{self._cluster.name} {error.detail}"):
            log.warning("%s (%d times)", error, times)
        self._finish()
        self._on_failed(error)

    # Clearing up

    def _abandon(self) -> None:
        """Undo what was begun with the endpoint under way, if any."""
        self._stop_timers()
        self._close_sockets()
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None
        if self.endpoint is not None:
            self._cluster.endpoints.released(self.endpoint)
            self.endpoint = None

    def _finish(self) -> None:
        self.done = True
        self._stop_timers()
        if self._begun:
            self._cluster.finished()
        else:
            self._cluster.leave_queue(self)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            self._cluster.poller.unregister(sock.fileno())
            sock.close()
        self._sockets.clear()

    def _stop_timers(self) -> None:
        self._stop_backup()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_backup(self) -> None:
        if self._backup is not None:
            self._backup.cancel()
            self._backup = None
