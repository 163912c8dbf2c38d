"""An exchange: one request, its response, and everything in between.

It stands between a client's stream and an endpoint's (``connection``) and is the receiver of both: what the client
sends goes through the filters, to a route, to a connection; what the endpoint answers goes back through the filters. In
the usual case that is a dozen calls and nothing waits. What makes it hard is that everything may wait: a filter may
hold either message, a connection may have to be made, either side may be slow, and at each of these points either side
may end, fail or run out of time. The rules:

- A body that cannot go on waits here, bounded: its sender is held at ``BUFFER``, and again released when it is gone.
  A sender is also held while its receiver is full. Both reasons have to be gone for it to be released.
- The request can be tried again as long as no response has begun and all of its body is still here (``_kept``).
- ``_done`` is the one way out: it runs once, whoever was first, and after it every further call is without effect.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from l4proxy.connect import ConnectRequest
from l4proxy.errors import UpstreamError
from l4proxy.plugins.http.connection import StreamError
from l4proxy.plugins.http.grpc_answers import as_grpc
from l4proxy.plugins.http.handover import WORTH_IT, hand_over_request, hand_over_response
from l4proxy.plugins.http.hedging import Hedging
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.plugins.http.stats import CLASSES
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.http.action import Action
    from l4proxy.plugins.http.body import Body
    from l4proxy.plugins.http.connection import ClientConnection, ClientStream, ServerStream
    from l4proxy.plugins.http.explain import Notes
    from l4proxy.plugins.http.filter import Http
    from l4proxy.plugins.http.layer import Layer
    from l4proxy.plugins.http.pool import ClusterPool, Wait
    from l4proxy.plugins.http.routes import CompiledRoute
    from l4proxy.splice import BoundedSplicer

__all__ = ["Exchange"]

BUFFER = 64 * 1024
"""Bytes of a body that may wait before its sender is held."""
_monotonic = time.monotonic
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""What may be sent again when nobody knows whether the endpoint has acted on it (RFC 9110 section 9.2.2)."""


class Exchange:
    """Made for every request. A `RequestSink`, a `ResponseSink` and a pool's `Waiter`."""

    __slots__ = (
        "_early", "_early_end", "_early_size", "_early_trailers", "_held_client", "_held_upstream", "_kept", "_late",
        "_late_end", "_late_size", "_late_trailers", "_wait", "action", "attempts", "bucket", "client", "connection",
        "cookie", "endpoint", "finished", "first_byte_at", "flags", "hedging", "host", "layer", "moved", "moved_at",
        "notes", "pool", "received", "request", "request_done_at", "request_full", "responded", "response",
        "response_full", "retrying", "route", "seen_moved", "sent", "sent_at", "splicer", "started", "stream", "tried",
        "tunnel", "upstream", "watchers",
    )  # fmt: skip

    def __init__(self, host: Http, layer: Layer, stream: ServerStream, request: HttpRequest) -> None:
        self.host: Http = host
        self.layer: Layer = layer
        self.stream: ServerStream = stream
        self.request: HttpRequest = request
        self.client: str = host.peer.host
        """The address of the client: of the connection, or what a trusted proxy in front says."""
        self.started: float = _monotonic()
        self.moved_at: float = self.started
        self.response: HttpResponse | None = None
        self.route: CompiledRoute | None = None
        self.action: Action | None = None
        self.pool: ClusterPool | None = None
        self.endpoint: Endpoint | None = None
        self.connection: ClientConnection | None = None
        self.upstream: ClientStream | None = None
        self._wait: Wait | None = None
        self.finished: bool = False
        self.responded: bool = False
        """The head of the response has been sent to the client."""
        self.tunnel = False
        self.attempts: int = 0
        self.tried: list[Endpoint] | None = None
        self.retrying = False
        """It is one of the retries under way that the cluster's limits count."""
        self.hedging: Hedging | None = None
        self.received: int = 0
        """Bytes of the request's body."""
        self.sent: int = 0
        """Bytes of the response's body."""
        self.request_done_at: float = 0.0
        self.sent_at: float = 0.0
        self.first_byte_at: float = 0.0
        self.flags: tuple[str, ...] = ()
        self.bucket: set[Any] | None = None
        self.splicer: BoundedSplicer | None = None
        """What moves most of a large body."""
        self.notes: Notes | None = None
        """For a client that may know why it went where it went; None: it has not asked."""
        self.watchers: list[Callable[[str], object]] | None = None
        """Called when it is over, with why (``HttpRequest.when_done``)."""
        self.cookie = ""
        """A ``Set-Cookie`` that the hash policy has made up."""
        self.moved: int = 0
        self.seen_moved: int = 0
        """Grows with whatever moves; what it was, and when (``moved_at``), when somebody looked."""
        self.request_full = False
        """The endpoint takes no more of the request for now."""
        self.response_full = False
        """The client takes no more of the response for now."""
        # The request's body, as long as it cannot go on: pieces, and what came behind them.
        self._early: list[bytes] | None = None
        self._early_size = 0
        self._early_end = False
        self._early_trailers: FieldBlock | None = None
        self._held_client = False
        self._kept: list[bytes] | None = None
        """All of the request's body that was sent so far, to be sent again; None when it is too much."""
        # The same of the response.
        self._late: list[bytes] | None = None
        self._late_size = 0
        self._late_end = False
        self._late_trailers: FieldBlock | None = None
        self._held_upstream = False

    # The request, from the client

    def begin(self, data: bytes, end: bool) -> None:
        """The head has come, with the beginning of the body."""
        request = self.request
        if end or request.upgrade or request.kind == "CONNECT":
            self.request_done_at = self.started
        if data or end:
            self._early_end = end
            self._early_trailers = request.trailers
            if data:
                self._early = [data]
                self.received = self._early_size = len(data)
        self.layer.prepare(self)
        if self.finished or self.responded:
            return
        chain = self.host.chain
        if chain is None:
            self.forward()
        else:
            chain.request(request)
            if self._early is not None and self.upstream is None and not self.finished:
                self._gather_request()

    def on_request_data(self, data: bytes, end: bool) -> None:
        if self.finished:
            return
        self.received += len(data)
        self.moved += 1
        if end and not self.request_done_at:
            self.request_done_at = _monotonic()
        if self.layer.max_body and self.received > self.layer.max_body and not self.tunnel:
            self.fail(413, "body_too_large", "the request's body is too large")
            return
        upstream = self.upstream
        if upstream is None or self._early is not None or self.request._body is not None:
            self._keep_early(data, end)
            return
        if self._kept is not None:
            self._keep_for_retry(data)
        upstream.send_data(data, end)

    def on_request_trailers(self, trailers: FieldBlock) -> None:
        if self.finished:
            return
        self.request.trailers = trailers
        self.request_done_at = _monotonic()
        if self.upstream is None or self._early is not None or self.request._body is not None:
            self._early_trailers = trailers
            self._keep_early(b"", True)
        else:
            self.upstream.send_trailers(trailers)

    def _keep_early(self, data: bytes, end: bool) -> None:
        """The request's body waits: for a filter, or for a connection."""
        if self._early is None:
            self._early = []
        if data:
            self._early.append(data)
            self._early_size += len(data)
        self._early_end = self._early_end or end
        body = self.request._body
        if self.upstream is not None:
            self._flow_request()
            return
        if self._early_size > (BUFFER if body is None else body.gathering(BUFFER)):
            self._hold_client()
        if body is not None:
            self._gather_request()

    def _gather_request(self) -> None:
        body = self.request._body
        if body is not None:
            body.flow_by(self._flow_request)
            body.gathered(self._early or [], self._early_size, self._early_end)

    def _flow_request(self) -> None:
        """Send on what has waited of the request's body, as far as nobody holds it."""
        body, upstream = self.request._body, self.upstream
        if upstream is None:
            if body is not None and not self.finished:
                if self._early_size <= body.gathering(BUFFER):
                    self._release_client()
                self._gather_request()
            return
        if body is None:
            self._pass_request_on(upstream, None)
        else:
            while not body.paused and self._pass_request_on(upstream, body):
                pass
        if self._early_size > BUFFER:
            self._hold_client()
        else:
            self._release_client()

    def _pass_request_on(self, upstream: ClientStream, body: Body | None) -> bool:
        """Send on what waits, as much as may pass now. Return whether there is more that may."""
        pieces, end, trailers = self._early, self._early_end, self._early_trailers
        self._early, self._early_size = None, 0
        if pieces is None and not end and (body is None or not body.again):
            return False
        data = b"".join(pieces or ())
        more = False
        if body is not None:
            if body.paced and (size := body.may_pass(len(data))) < len(data):
                self._early, self._early_size, end = [data[size:]], len(data) - size, False
                data, more = data[:size], size > 0
            data = body.pass_on(data, end)
            if self.finished or body.broken:
                return False
            if body.again:
                data, body.again = body.again + data, b""
        if data and self._kept is not None:
            self._keep_for_retry(data)
        if end and trailers is not None and trailers.fields:
            if data:
                upstream.send_data(data, False)
            upstream.send_trailers(trailers)
        elif data or end:
            upstream.send_data(data, end)
        return more and not self.request_full and not self.finished

    def _hold_client(self) -> None:
        if not self._held_client:
            self._held_client = True
            self.stream.hold_request()

    def _release_client(self) -> None:
        if self._held_client and not self.request_full and not self.finished:
            self._held_client = False
            self.stream.release_request()

    def _keep_for_retry(self, data: bytes) -> None:
        kept = self._kept
        assert kept is not None
        kept.append(data)
        action = self.action
        if sum(map(len, kept)) > (action.retry_buffer if action is not None else 0):
            self._kept = None

    def on_request_writable(self, writable: bool) -> None:
        if self.finished:
            return
        self.request_full = not writable
        if not writable:
            self._hold_client()
        elif self._early is not None:
            self._flow_request()
        else:
            self._release_client()

    def on_request_reset(self, error: StreamError) -> None:
        if self.finished:
            return
        if self.host.chain is not None:
            self.host.chain.cancel(self.request)
        self.flags = (*self.flags, error.flag)
        self.layer.stats.resets_total.add(error.detail)
        self._done(error.detail)

    # To an endpoint

    def forward(self) -> None:
        """The request has passed the filters."""
        if self.finished:
            return
        action = self.action
        assert action is not None
        if self.notes is not None:
            self.notes.forwarded_at = _monotonic()
        if action.answer is not None:
            self.reply(action.answer(self))
            return
        pool = self.pool = action.choose_pool(self)
        if pool is None:
            return
        options = pool.options
        if pool.active >= options.max_requests:
            pool.stats.overflow_total.add("max_requests")
            self.pool = None
            text = f"cluster {pool.cluster.name} has {pool.active} requests under way (max_requests)"
            self.fail(503, "max_requests", text, "UO")
            return
        pool.active += 1
        if self._early is not None or not self._early_end:
            self._kept = []
        if action.hedges:
            self.hedging = Hedging(self)
        self._try()

    def _try(self) -> None:
        """Ask for a connection to an endpoint that the balancer chooses."""
        pool, action = self.pool, self.action
        assert pool is not None
        assert action is not None
        cluster = pool.cluster
        self.attempts += 1
        if cluster.on_demand is not None or not cluster.ready:
            self._find_endpoint()
            return
        key = action.hash_key(self) if action.hashes else None
        endpoint = cluster.balancer.choose(key)
        if self.tried is not None and endpoint in self.tried:
            for _ in range(2 * len(self.tried)):
                endpoint = cluster.balancer.choose(None)
                if endpoint not in self.tried:
                    break
        if endpoint is None:
            self.on_no_connection(cluster.no_endpoint())
            return
        self.endpoint = endpoint
        fresh = self.tried is not None and self.attempts > 1
        self._wait = pool.pool(endpoint, self.request).acquire(self, fresh=fresh)

    def _find_endpoint(self) -> None:
        """Where the cluster has to look for its endpoints first."""
        pool = self.pool
        assert pool is not None
        cluster = pool.cluster
        action = self.action
        if action is not None and action.forward is not None:
            if (finding := action.forward.find(self)) is not None:
                self.host.conn.spawn(finding)
        elif cluster.on_demand is not None:
            host, _, port = self.request.authority.rpartition(":")
            name = host if port.isdecimal() and host else self.request.authority
            wanted = ConnectRequest(
                original_destination=self.host.conn.destination, server_name=name.strip("[]").lower()
            )
            cluster.on_demand.find(wanted, self.found_endpoint)
        else:
            cluster.when_ready(self._endpoints_known)

    def _endpoints_known(self) -> None:
        """They are, or were not in time."""
        pool, action = self.pool, self.action
        if self.finished or pool is None or action is None:
            return
        self.found_endpoint(pool.cluster.balancer.choose(action.hash_key(self) if action.hashes else None))

    def found_endpoint(self, endpoint: Endpoint | None) -> None:
        """What was looked for, or None: there is none."""
        if self.finished or self.pool is None:
            return
        if endpoint is None:
            self.on_no_connection(self.pool.cluster.no_endpoint())
            return
        self.endpoint = endpoint
        self._wait = self.pool.pool(endpoint, self.request).acquire(self, fresh=self.attempts > 1)

    def on_connection(self, connection: ClientConnection) -> None:
        self._wait = None
        if self.finished:
            return
        self.connection = connection
        request = self.request
        pieces, end, data, body = self._early, self._early_end, b"", request._body
        if pieces is not None or body is not None:
            if body is not None and (body.touched or body.paused):
                body.flow_by(self._flow_request)
                end = False
            else:
                data = b"".join(pieces or ())
                self._early, self._early_size = None, 0
                if data and self._kept is not None:
                    self._keep_for_retry(data)
        self.sent_at = _monotonic()
        request.seal()
        if self.hedging is None:
            self.upstream = connection.request(request, data, end, self)
        else:
            begun = self.hedging.begin(connection)
            begun.upstream = self.upstream = connection.request(request, data, end, begun)
        if self.is_over():
            return
        if self._early is not None or (self._early_end and not end) or (body is not None and body.again):
            self._flow_request()
        elif request.content_length is not None and request.content_length > WORTH_IT and request._body is None:
            self._kept = None
            hand_over_request(self)
        if self._early is None:
            self._release_client()

    def on_no_connection(self, error: UpstreamError) -> None:
        self._wait = None
        if self.finished:
            return
        pool = self.pool
        assert pool is not None
        pool.stats.failures_total.add(error.detail)
        if self.hedging is not None and self.hedging.tries:
            return  # which may still answer
        if error.flag == "UF" and self.retry("connect-failure", True):
            return
        self.flags = (*self.flags, *error.flags)
        self.fail(503, error.detail, str(error))

    # The response, from the endpoint

    def on_informational(self, response: HttpResponse) -> None:
        if not self.finished and not self.responded:
            self.stream.inform(response)

    def on_response(self, response: HttpResponse, data: bytes, end: bool) -> None:
        if self.finished:
            return
        self.moved += 1
        self.first_byte_at = _monotonic()
        pool, action = self.pool, self.action
        assert pool is not None
        assert action is not None
        status = response.status
        pool.responses[CLASSES[status // 100]] += 1
        if self.connection is not None:
            endpoint = self.connection.endpoint
            if status >= 500 or endpoint.failures:
                endpoint.report(ok=status < 500)
        if end and self._request_is_sent():
            self.upstream = None
        if action.reads_responses and self._retry_response(response):
            return
        self.response = response
        if response.tunnel:
            self.tunnel = True
        chain = self.host.chain
        if chain is None and response._body is None:
            self.layer.finish_response(self, response)
            if response._headers is not None:
                response.seal()
            self.responded = True
            if data:
                self.sent = len(data)
            self.stream.respond(response, data, end)
            if end:
                self._response_ended()
            elif response.content_length is not None and response.content_length > WORTH_IT:
                hand_over_response(self)
            return
        self._late = [data] if data else []
        self._late_size = len(data)
        self._late_end = end
        self._late_trailers = response.trailers
        if chain is None:
            self.deliver(response)
        else:
            chain.respond(self.request, response)
            if not self.responded and not self.finished:
                self._gather_response()

    def deliver(self, response: HttpResponse) -> None:
        """The response has passed the filters; possibly it is one of theirs."""
        if self.finished or self.responded:
            return
        if response is not self.response:  # a filter's own: the endpoint's is not wanted
            self.stop_trying()
            as_grpc(self.request, response)
            self.response = response
            if response.flags:
                self.flags = (*self.flags, *response.flags)
            self._late = [response.content] if response.content and self.request.kind != "HEAD" else []
            self._late_size = len(response.content)
            self._late_end = True
            self._late_trailers = response.trailers
        self.layer.finish_response(self, response)
        self.responded = True
        response.seal()
        data, end = b"", self._late_end
        body = response._body
        if body is not None:
            body.flow_by(self._flow_response)
            if body.touched or body.paused:
                self.stream.respond(response, b"", False) if self._has_body(response) else self._respond_bare(response)
                if not self.finished:
                    self._flow_response()
                return
        data = b"".join(self._late or ())
        self._late, self._late_size = None, 0
        self.sent += len(data)
        trailers = self._late_trailers
        self.stream.respond(response, data, end) if not trailers else self._respond_trailers(response, data, trailers)
        if end:
            self._response_ended()
        elif self._held_upstream:
            self._release_upstream()

    def _has_body(self, response: HttpResponse) -> bool:
        return self.request.kind != "HEAD" and response.status not in (204, 304)

    def _respond_bare(self, response: HttpResponse) -> None:
        self._late, self._late_size = None, 0
        self.stream.respond(response, b"", True)
        self._response_ended()

    def _respond_trailers(self, response: HttpResponse, data: bytes, trailers: FieldBlock) -> None:
        self.stream.respond(response, data, False)
        self.stream.send_trailers(trailers)

    def on_response_data(self, data: bytes, end: bool) -> None:
        if self.finished:
            return
        self.moved += 1
        if end and self._request_is_sent():
            self.upstream = None
        response = self.response
        if self.responded and self._late is None and response is not None and response._body is None:
            self.sent += len(data)
            self.stream.send_data(data, end)
            if end:
                self._response_ended()
            return
        if self._late is None:
            self._late = []
        if data:
            self._late.append(data)
            self._late_size += len(data)
        self._late_end = self._late_end or end
        if self.responded:
            self._flow_response()
        else:
            self._gather_response()

    def _gather_response(self) -> None:
        response = self.response
        body = None if response is None else response._body
        limit = BUFFER if body is None else body.gathering(BUFFER)
        if self._late_size > limit and not self._late_end:
            self._hold_upstream()
        if body is not None:
            body.flow_by(self._flow_response)
            body.gathered(self._late or [], self._late_size, self._late_end)

    def _flow_response(self) -> None:
        """Send on what has waited of the response's body, as far as nobody holds it."""
        response = self.response
        if self.finished or response is None:
            return
        body = response._body
        if not self.responded:
            if body is not None and self._late_size <= body.gathering(BUFFER):
                self._release_upstream()
            self._gather_response()
            return
        if body is None:
            self._pass_response_on(response, None)
        else:
            while not body.paused and self._pass_response_on(response, body):
                pass
        if self._late_size > BUFFER:
            self._hold_upstream()
        else:
            self._release_upstream()

    def _pass_response_on(self, response: HttpResponse, body: Body | None) -> bool:
        """Send on what waits, as much as may pass now. Return whether there is more that may."""
        pieces, end, trailers = self._late, self._late_end, self._late_trailers
        self._late, self._late_size = None, 0
        if pieces is None and not end:
            return False
        data = b"".join(pieces or ())
        more = False
        if body is not None:
            if body.paced and (size := body.may_pass(len(data))) < len(data):
                self._late, self._late_size, end = [data[size:]], len(data) - size, False
                data, more = data[:size], size > 0
            data = body.pass_on(data, end)
            if self.finished or body.broken:
                return False
            if response.trailers is None:  # a filter has put them elsewhere
                trailers = None
        self.sent += len(data)
        if end and trailers is not None and trailers.fields:
            if data:
                self.stream.send_data(data, False)
            self.stream.send_trailers(trailers)
        elif data or end:
            self.stream.send_data(data, end)
        if end:
            self._response_ended()
        return more and not self.response_full and not self.finished

    def on_response_trailers(self, trailers: FieldBlock) -> None:
        if self.finished:
            return
        if self._request_is_sent():
            self.upstream = None
        response = self.response
        if response is not None:
            response.trailers = trailers
        if self.responded and self._late is None and response is not None and response._body is None:
            self.stream.send_trailers(trailers)
            self._response_ended()
            return
        self._late_trailers = trailers
        self.on_response_data(b"", True)

    def on_response_writable(self, writable: bool) -> None:
        if self.finished:
            return
        self.response_full = not writable
        if not writable:
            self._hold_upstream()
        elif self.responded and self._late is not None:
            self._flow_response()
        else:
            self._release_upstream()

    def _hold_upstream(self) -> None:
        if not self._held_upstream and self.upstream is not None:
            self._held_upstream = True
            self.upstream.hold_response()

    def _release_upstream(self) -> None:
        if self._held_upstream and not self.response_full:
            self._held_upstream = False
            if self.upstream is not None:
                self.upstream.release_response()

    def on_response_reset(self, error: StreamError) -> None:
        self.upstream = None
        if self.finished:
            return
        pool, connection = self.pool, self.connection
        assert pool is not None
        assert connection is not None
        pool.stats.failures_total.add(error.detail)
        if self.responded or self.response is not None:
            self.flags = (*self.flags, error.flag)
            self.layer.stats.resets_total.add(error.detail)
            if self.responded:
                self.stream.reset(error)
                self._done(error.detail)
                return
            if self.host.chain is not None:
                self.host.chain.cancel(self.request)
            self.fail(502, error.detail, str(error))
            return
        stale = connection.requests > 1 and self.first_byte_at == 0 and error.detail.startswith("connection_")
        if (error.unprocessed or (stale and self.request.kind in IDEMPOTENT)) and self.retry(
            "refused-stream", True, True
        ):
            return
        connection.endpoint.report(ok=False)
        if self.retry("reset", False):
            return
        self.flags = (*self.flags, error.flag)
        self.fail(502, error.detail, f"endpoint {connection.endpoint.name}: {error}")

    def blame(self) -> None:
        """An endpoint that has the request does not answer in time: tell it, for outlier detection."""
        if self.upstream is not None and self.connection is not None:
            self.connection.endpoint.report(ok=False)

    # Trying again

    def retry(self, why: str, safe: bool, free: bool = False) -> bool:
        """Try again, if the policy (``free``: without one), the method, the limits and the body allow it. ``safe``: the
        endpoint has certainly not acted on the request."""
        free = free and self.attempts == 1
        if not self._may_repeat(why, safe, free):
            return False
        self.stop_trying()
        self._repeat(why)
        retry = self.action.retry if self.action is not None else None
        pause = 0.0 if free or retry is None else retry.pause(self.attempts)
        if pause:
            self.host.conn.call_later(pause, self._retry_now)
        else:
            self._try()
        return True

    def hedge(self) -> bool:
        """The endpoint is slow: try another one beside it, if the policy and the limits allow it."""
        if self.hedging is None or self._wait is not None or not self._request_is_sent():
            return False
        if not self._may_repeat("per-try-timeout", False, False):
            return False
        self.upstream = None
        self._repeat("hedge")
        self._try()
        return True

    def _may_repeat(self, why: str, safe: bool, free: bool) -> bool:
        action, pool = self.action, self.pool
        assert action is not None
        assert pool is not None
        if self.responded or (self._kept is None and not self._whole_body_here()):
            return False
        if free:
            return True
        if action.retry is None or not action.retry.allows(self, why, safe):
            return False
        if not self.retrying:
            if not pool.may_retry():
                pool.stats.retries_forbidden_total.add("budget")
                return False
            self.retrying = True
            pool.retrying += 1
        return True

    def _repeat(self, why: str) -> None:
        """Make everything as it was before the last try."""
        assert self.pool is not None
        self.pool.stats.retries_total.add(why)
        self.layer.note_attempt(self, why)
        if self.endpoint is not None:
            self.tried = [*(self.tried or ()), self.endpoint]
        if self._kept:
            body = self.request._body
            if body is not None and body.touched:
                body.again = b"".join(self._kept)
            else:
                self._early = [*self._kept, *(self._early or ())]
                self._early_size = sum(map(len, self._early))
        self._kept = []
        self.response = None
        self.first_byte_at = 0.0

    def _retry_now(self) -> None:
        if not self.finished:
            self._try()

    def _whole_body_here(self) -> bool:
        """Nothing of the request's body has been sent and lost."""
        return self._early_end and self.received == 0

    def _retry_response(self, response: HttpResponse) -> bool:
        retry = self.action.retry if self.action is not None else None
        if retry is None or response.tunnel:
            return False
        why = retry.reason(response)
        return bool(why) and self.retry(why, False)

    @property
    def waits_for_connection(self) -> bool:
        return self._wait is not None

    def stop_trying(self) -> None:
        """Nobody wants what endpoints might still say."""
        if self.hedging is not None:
            self.hedging.drop()
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.cancel()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.reset()
        self._held_upstream = self.request_full = False

    # Answers of the proxy's own

    def reply(self, response: HttpResponse) -> None:
        """Answer without an endpoint, or in place of one; through the filters that saw the request."""
        if self.finished or self.responded:
            return
        chain = self.host.chain
        if chain is not None and self._is_forwarded():
            chain.respond(self.request, response)
        else:
            self.deliver(response)

    def _is_forwarded(self) -> bool:
        chain = self.host.chain
        return chain is not None and chain.is_forwarded(self.request)

    def fail(self, status: int, details: str, message: str, flag: str = "") -> None:
        """Answer with an error of the proxy's own, or break off a response that has begun."""
        if self.finished:
            return
        if flag:
            self.flags = (*self.flags, flag)
        self.stop_trying()
        if self.responded:
            self.stream.reset(StreamError(details, message))
            self._done(details)
            return
        chain = self.host.chain
        forwarded = self._is_forwarded()
        if chain is not None and not forwarded:
            chain.cancel(self.request)
        response = self.layer.error(self, status, details, message)
        if forwarded:
            self.reply(response)
        else:
            self.deliver(response)

    # Time

    def check_time(self, now: float) -> float:
        """A limit may be over. Returns the seconds until the next one may be."""
        return self.layer.check_time(self, now)

    # The end

    def is_over(self) -> bool:
        """``finished``, for who has just called what may end it."""
        return self.finished

    def _request_is_sent(self) -> bool:
        """Whether nothing is left to be sent to the endpoint: with the end of the response its stream is over then, and
        may be another request's. What is not sent is never going to be: the stream is reset."""
        return self.request_done_at > 0 and self._early is None and not self.tunnel

    def _response_ended(self) -> None:
        """The response is complete."""
        if self.finished:
            return
        if not self.request_done_at and not self.tunnel and not self._early_end:
            self.stop_trying()
            self._done("")
            self.stream.abandon()
            return
        self._done("")

    def _uncount(self, size: int) -> None:
        """A body that was handed over to the kernel has been cut short."""
        if self.responded:
            self.sent -= size
        else:
            self.received -= size

    def _done(self, why: str) -> None:
        """It is over, in whichever way."""
        if self.finished:
            return
        self.finished = True
        if self.bucket is not None:
            self.bucket.discard(self)
            self.bucket = None
        self.stop_trying()
        if self.splicer is not None and self.splicer.left:
            self._uncount(self.splicer.left)
        pool = self.pool
        if pool is not None:
            pool.active -= 1
            pool.retrying -= self.retrying
        self.layer.done(self, why)
        for watcher in self.watchers or ():
            watcher(why)
        request = self.request
        request.exchange = request.stream = None
        self._early = self._late = self._kept = None
