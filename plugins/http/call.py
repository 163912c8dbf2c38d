"""Requests of the proxy's own: what filters ask a cluster beside the request that passes (may this one pass?), or tell
it of (a copy).

A call has the pools, limits and statistics of its cluster like any request, under every version of HTTP, and is bounded
in every way: how long it takes, how much of the response is kept, how much of its body waits to be sent. It has no
route and no filters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.errors import UpstreamError
from l4proxy.plugins.http.connection import StreamError
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.plugins.http.stats import CLASSES

if TYPE_CHECKING:
    from l4proxy.plugins.http.connection import ClientConnection, ClientStream
    from l4proxy.plugins.http.pool import ClusterPool, Wait
    from l4proxy.protocols.http_fields import FieldBlock

__all__ = ["Call"]

_monotonic = time.monotonic


class Call:
    """One request and its response. ``done(call)`` is called once, unless ``cancel`` was: ``response`` with its
    ``body``, or else ``error``, the snake-case name of what went wrong, and ``message``.

    It is sent a second time only where the endpoint has certainly not acted on it, or where it is ``repeatable`` and a
    kept connection turned out to be closed.
    """

    __slots__ = (
        "_body", "_connection", "_counted", "_done", "_ended", "_keep", "_max_body", "_pool", "_repeatable", "_sent_at",
        "_size", "_timer", "_tries", "_upstream", "_wait", "_waited", "_waiting", "_writable", "buffered", "error",
        "finished", "message", "request", "response",
    )  # fmt: skip

    def __init__(
        self,
        pool: ClusterPool,
        request: HttpRequest,
        done: Callable[[Call], object],
        *,
        timeout: float,
        max_body: int | None = 64 * 1024,
        repeatable: bool = False,
    ) -> None:
        """``timeout`` in seconds, for all of it (coarse: a tenth of a second). A response body that is longer than
        ``max_body`` is an error; None: it is dropped as it comes."""
        self.request = request
        self.response: HttpResponse | None = None
        self.error = ""
        self.message = ""
        self.finished = False
        self.buffered = 0
        """Bytes of the request's body that wait to be sent."""
        self._pool = pool
        self._done: Callable[[Call], object] | None = done
        self._max_body = max_body
        self._repeatable = repeatable
        self._body: list[bytes] = []
        self._size = 0
        self._keep: bytes | None = None
        """The whole body, to be sent again."""
        self._waiting: list[bytes] = []
        self._ended = False
        """The request's body has been given, all of it."""
        self._writable = True
        self._wait: Wait | None = None
        self._waited = False
        """For the endpoints of the cluster to be known."""
        self._connection: ClientConnection | None = None
        self._upstream: ClientStream | None = None
        self._counted = False
        self._tries = 0
        self._sent_at = 0.0
        self._timer = pool.cluster.timers.call_later(timeout, self._late)

    @property
    def body(self) -> bytes:
        """Of the response."""
        return b"".join(self._body)

    def start(self, data: bytes = b"", end: bool = True) -> None:
        """Send it, with the beginning of its body. ``done`` may be called before this returns."""
        pool = self._pool
        if pool.active >= pool.options.max_requests:
            pool.stats.overflow_total.add("max_requests")
            self._over("max_requests", f"cluster {pool.cluster.name} has {pool.active} requests under way")
            return
        pool.active += 1
        self._counted = True
        if end:
            self._keep = data
        self._queue(data, end)
        self._try()

    def send(self, data: bytes, end: bool) -> None:
        """Send more of the body."""
        if not self.finished:
            self._queue(data, end)
            self._flush()

    def cancel(self) -> None:
        """Nobody wants it any more: ``done`` will not be called."""
        self._done = None
        self._over("cancelled", "")

    def _queue(self, data: bytes, end: bool) -> None:
        if data:
            self._waiting.append(data)
            self.buffered += len(data)
        self._ended = end

    # To an endpoint

    def _try(self) -> None:
        pool = self._pool
        cluster = pool.cluster
        if self.finished:
            return
        if not cluster.ready and not self._waited:
            self._waited = True
            cluster.when_ready(self._try)
            return
        endpoint = cluster.balancer.choose(None)
        if endpoint is None:
            self.on_no_connection(cluster.no_endpoint())
            return
        self._tries += 1
        self._wait = pool.pool(endpoint, self.request).acquire(self, fresh=self._tries > 1)

    def on_connection(self, connection: ClientConnection) -> None:
        self._wait = None
        if self.finished:
            return
        self._connection = connection
        self._sent_at = _monotonic()
        self.request.seal()
        data, end = self._take(), self._ended
        upstream = connection.request(self.request, data, end, self)
        if self._connection is connection and not self.finished:
            self._upstream = upstream
            if self.buffered or self._ended is not end:
                self._flush()

    def on_no_connection(self, error: UpstreamError) -> None:
        self._wait = None
        self._pool.stats.failures_total.add(error.detail)
        self._over(error.detail, str(error))

    def _take(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self.buffered = 0
        return data

    def _flush(self) -> None:
        if self._upstream is not None and self._writable and (self.buffered or self._ended):
            self._upstream.send_data(self._take(), self._ended)

    def on_request_writable(self, writable: bool) -> None:
        self._writable = writable
        if writable and self.buffered:
            self._flush()

    # From the endpoint

    def on_informational(self, response: HttpResponse) -> None:
        pass

    def on_response(self, response: HttpResponse, data: bytes, end: bool) -> None:
        if self.finished:
            return
        self._pool.responses[CLASSES[response.status // 100]] += 1
        self.response = response
        self.on_response_data(data, end)

    def on_response_data(self, data: bytes, end: bool) -> None:
        if self.finished:
            return
        if end and self._ended and not self.buffered:
            self._upstream = None
        if data and self._max_body is not None:
            self._size += len(data)
            if self._size > self._max_body:
                self._over("response_too_large", f"the response is longer than {self._max_body} bytes")
                return
            self._body.append(data)
        if end:
            self._over("", "")

    def on_response_trailers(self, trailers: FieldBlock) -> None:
        self.on_response_data(b"", True)

    def on_response_reset(self, error: StreamError) -> None:
        connection, self._connection, self._upstream = self._connection, None, None
        if self.finished or connection is None:
            return
        self._pool.stats.failures_total.add(error.detail)
        stale = self._repeatable and connection.requests > 1 and error.detail.startswith("connection_")
        if (error.unprocessed or stale) and self._keep is not None and self.response is None:
            self._pool.stats.retries_total.add("refused-stream")
            data, self._keep = self._keep, None
            self._writable = True
            self._queue(data, True)
            self._try()
        else:
            self._over(error.detail, str(error))

    # The end

    def _late(self) -> None:
        self._over("timeout", f"cluster {self._pool.cluster.name} did not answer in time")

    def _over(self, error: str, message: str) -> None:
        if self.finished:
            return
        self.finished = True
        self._timer.cancel()
        pool = self._pool
        if self._wait is not None:
            self._wait.cancel()
        if self._upstream is not None:
            self._upstream.reset()
        if self._counted:
            pool.active -= 1
        if self._sent_at:
            pool.stats.response_seconds.record(_monotonic() - self._sent_at)
        if error:
            self.response = None
        self.error, self.message = error, message
        self._wait = self._upstream = None
        self._waiting.clear()
        self.buffered = 0
        done, self._done = self._done, None
        if done is not None:
            done(self)
