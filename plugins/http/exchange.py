"""An exchange: one request, its response, and everything in between.

It stands between a client's stream and an endpoint's (``connection``) and is the receiver of both: what the client
sends goes through the filters, to a route, to a connection; what the endpoint answers goes back through the filters.
The usual case is short, and everything else is what happens when something of it is not there yet, or goes wrong::

    begin ─► layer.prepare ─► filters ─► forward ─► _try ─► on_connection ─► on_response ─► filters ─► deliver ─► _done

**Why it is one file, and hard.** Three parties act here without waiting for each other: client, filters, endpoint. Each
may be slow, end, fail or run out of time at any point, and what that means depends on how far the other two are. A
reset by the endpoint is another try before the response has begun, an error while filters hold it, and a broken
response after that. The end of the response is the end of the exchange, unless the request has not ended, which nobody
wants then. Whoever took this apart by parties would have three objects that share all their state. What has a state of
its own is taken out: bodies that wait (``flow``) and what filters do to them (``body``), tries beside each other
(``hedging``), bodies that the kernel moves (``handover``), time limits (``layer``), and the connections (``pool``).

**What to keep in mind when changing it:**

- Every call to a stream, a filter or the pool may call back from inside, and may end the exchange. After such a call,
  ask ``is_over`` before touching anything, and read attributes again.
- ``_done`` is the one way out: it runs once, whoever was first, and after it every further call is without effect.
- ``stop_trying`` lets go of the endpoint, in whichever state: waiting for a connection, sending, receiving.
- A request can be tried again as long as no response has begun and all of its body is still here (``_kept``). Bodies
  that filters change are kept as they were sent: nothing is changed twice.
- A body takes the straight way unless there is a flow for its direction; with a flow, all of it goes through that. A
  sender is held for two reasons, that too much waits and that the receiver is full (``request_full``,
  ``response_full``), and released when both are gone.
- ``upstream`` is None as soon as nothing is to be sent to or heard from the endpoint's stream: with the end of the
  response, if the request has ended, the stream may be another exchange's already.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from l4proxy.connect import ConnectRequest
from l4proxy.errors import UpstreamError
from l4proxy.plugins.http.connection import StreamError
from l4proxy.plugins.http.flow import RequestFlow, ResponseFlow
from l4proxy.plugins.http.grpc_answers import as_grpc, count_attempt, follow, last_words, retry_pushback, went_well
from l4proxy.plugins.http.handover import WORTH_IT, hand_over_request, hand_over_response
from l4proxy.plugins.http.hedging import Hedging
from l4proxy.plugins.http.log_operators import PROBLEM
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.plugins.http.stats import CLASSES
from l4proxy.protocols.grpc import is_failure
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.http.action import Action
    from l4proxy.plugins.http.connection import ClientConnection, ClientStream, ServerStream
    from l4proxy.plugins.http.explain import Notes
    from l4proxy.plugins.http.filter import Http
    from l4proxy.plugins.http.layer import Layer
    from l4proxy.plugins.http.pool import ClusterPool, Wait
    from l4proxy.plugins.http.routes import CompiledRoute
    from l4proxy.protocols.grpc import MessageReader
    from l4proxy.splice import BoundedSplicer

__all__ = ["Exchange"]

_monotonic = time.monotonic
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""What may be sent again when nobody knows whether the endpoint has acted on it (RFC 9110 section 9.2.2)."""


class Exchange:
    """Made for every request. A `RequestSink`, a `ResponseSink` and a pool's `Waiter`."""

    __slots__ = (
        "_held_client", "_held_upstream", "_kept", "_request_flow", "_response_flow", "_wait", "action", "attempts",
        "bucket", "call_limit", "client", "connection", "cookie", "endpoint", "finished", "first_byte_at", "flags",
        "hedging", "host", "layer", "messages", "moved", "moved_at", "notes", "pool", "received", "request",
        "request_done_at", "request_ended", "request_full", "responded", "response", "response_full", "retrying",
        "route", "seen_moved", "sent", "sent_at", "splicer", "started", "stream", "tried", "try_at", "tunnel",
        "upstream", "watchers",
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
        self.request_ended = False
        """All of the request has come."""
        self.request_done_at: float = 0.0
        """When it had; for a request that may become a tunnel, its head."""
        self.sent_at: float = 0.0
        self.try_at: float = 0.0
        """When the present try began, where tries have a limit."""
        self.call_limit: float = 0.0
        """Seconds that its client gives a gRPC call (``grpc-timeout``); 0: no limit."""
        self.messages: MessageReader | None = None
        """Where a response ends that is a gRPC call's and may have to end early."""
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
        self._request_flow: RequestFlow | None = None
        """The request's body, where it cannot go straight on."""
        self._response_flow: ResponseFlow | None = None
        self._held_client = False
        self._held_upstream = False
        self._kept: list[bytes] | None = None
        """All of the request's body that was sent so far, to be sent again; None when it is too much."""

    # The request, from the client

    def begin(self, data: bytes, end: bool) -> None:
        """The head has come, with the beginning of the body."""
        request = self.request
        if end or request.upgrade or request.kind == "CONNECT":
            self.request_done_at = self.started
        self.request_ended = end
        if data:
            self.received = len(data)
            self._request_flow = RequestFlow(self, data, end)
        self.layer.prepare(self)
        if self.finished or self.responded:
            return
        chain = self.host.chain
        if chain is None:
            self.forward()
        else:
            chain.request(request)
            if self.upstream is None and (self._request_flow is not None or request._body is not None):
                self._add_request(b"", end)

    def on_request_data(self, data: bytes, end: bool) -> None:
        if self.finished:
            return
        self.received += len(data)
        self.moved += 1
        if end:
            self.request_ended = True
            self.request_done_at = self.request_done_at or _monotonic()
        if self.layer.max_body and self.received > self.layer.max_body and not self.tunnel:
            self.fail(413, "body_too_large", "the request's body is too large")
            return
        upstream = self.upstream
        if upstream is None or self._request_flow is not None or self.request._body is not None:
            self._add_request(data, end)
            return
        if data:
            self.keep_for_retry(data)
        upstream.send_data(data, end)

    def on_request_trailers(self, trailers: FieldBlock) -> None:
        if self.finished:
            return
        self.request.trailers = trailers
        self.request_ended = True
        self.request_done_at = _monotonic()
        if self.upstream is None or self._request_flow is not None or self.request._body is not None:
            self._add_request(b"", True)
        else:
            self.upstream.send_trailers(trailers)

    def _add_request(self, data: bytes, end: bool) -> None:
        if self._request_flow is None:
            self._request_flow = RequestFlow(self)
        self._request_flow.add(data, end)

    def hold_client(self) -> None:
        if not self._held_client:
            self._held_client = True
            self.stream.hold_request()

    def release_client(self) -> None:
        if self._held_client and not self.request_full and not self.finished:
            self._held_client = False
            self.stream.release_request()

    def keep_for_retry(self, data: bytes) -> None:
        """A piece of the request's body goes to the endpoint."""
        kept, action = self._kept, self.action
        if kept is not None:
            kept.append(data)
            if sum(map(len, kept)) > (action.retry_buffer if action is not None else 0):
                self._kept = None

    def on_request_writable(self, writable: bool) -> None:
        if self.finished:
            return
        self.request_full = not writable
        if not writable:
            self.hold_client()
        elif self._request_flow is not None:
            self._request_flow.run()
        else:
            self.release_client()

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
        if self._request_flow is not None or not self.request_ended:
            self._kept = []
        if action.hedge_after:
            self.hedging = Hedging(self, action.hedge_after)
        self._try()

    def _try(self) -> None:
        """Ask for a connection to an endpoint that the balancer chooses."""
        pool, action = self.pool, self.action
        assert pool is not None
        assert action is not None
        cluster = pool.cluster
        self.attempts += 1
        if self.hedging is not None:
            self.hedging.watch()
        elif action.per_try_timeout:
            self.try_at = _monotonic()
            if self.attempts > 1:  # while a retry pauses, nothing else is so urgent
                self.layer.deadlines.rewatch(self, self.try_at, action.per_try_timeout)
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
        data, end, body, flow = b"", self.request_ended, request._body, self._request_flow
        if body is not None and (body.touched or body.paused):
            if flow is None:
                flow = self._request_flow = RequestFlow(self, end=end)
            body.flow_by(flow.run)
            end = request.content_length == 0  # then it goes with the head, whatever filters wait for
        elif flow is not None:
            data, end = flow.take()
            if data:
                self.keep_for_retry(data)
        self.sent_at = _monotonic()
        if request._headers is not None:
            request.seal()
        if self.hedging is None:
            self.upstream = connection.request(request, data, end, self)
        else:
            begun = self.hedging.begin(connection)
            begun.upstream = self.upstream = connection.request(request, data, end, begun)
        if self.is_over():
            return
        if (flow := self._request_flow) is not None:  # possibly only now: more has come meanwhile
            flow.run()
            if body is None:
                self._request_flow = None
        if request.content_length is not None and request.content_length > WORTH_IT and self._request_flow is None:
            self._kept = None
            hand_over_request(self)

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
            # The last is what a gRPC call that fails looks like, or all of a call.
            if status >= 500 or endpoint.failures or (end and status == 200 and (not data or response.trailers)):
                well = went_well(response)
                if well is not None:
                    endpoint.report(ok=well)
        if end and self._request_is_sent():
            self.upstream = None
        if action.reads_responses and self._retry_response(response):
            return
        self.response = response
        if response.tunnel:
            self.tunnel = True
        elif self.call_limit or action.max_duration:
            self.messages = follow(response)
            if self.messages is not None:
                self.messages.feed(data)
        chain = self.host.chain
        if chain is None and response._body is None:
            if action.finishes or self.cookie or self.notes is not None:
                self.layer.finish_response(self, response)
            if response._headers is not None:
                response.seal()
            self.responded = True
            if data:
                self.sent = len(data)
            self.stream.respond(response, data, end)
            if end:
                self.response_ended()
            elif response.content_length is not None and response.content_length > WORTH_IT:
                hand_over_response(self)
            return
        flow = self._response_flow = ResponseFlow(self, data, end)
        if chain is None:
            self.deliver(response)
        else:
            chain.respond(self.request, response)
            if not self.responded:
                flow.run()

    def deliver(self, response: HttpResponse) -> None:
        """The response has passed the filters; possibly it is one of theirs."""
        if self.finished or self.responded:
            return
        if response is not self.response:  # a filter's own: the endpoint's is not wanted
            self.stop_trying()
            self.messages = None
            as_grpc(self.request, response)
            self.response = response
            if response.flags:
                self.flags = (*self.flags, *response.flags)
            content, end = response.content, response.complete
            if self.request.kind == "HEAD":
                content, end = b"", True
            self._response_flow = ResponseFlow(self, content, end)
        self.layer.finish_response(self, response)
        self.responded = True
        response.seal()
        flow, body = self._response_flow, response._body
        assert flow is not None
        if body is not None and (body.touched or body.paused):
            body.flow_by(flow.run)
            if self.request.kind == "HEAD" or response.status in (204, 304):
                self.stream.respond(response, b"", True)
                self.response_ended()
            else:
                self.stream.respond(response, b"", False)
                flow.run()
            return
        data, end = flow.take()
        if body is None:
            self._response_flow = None
        else:
            body.flow_by(flow.run)
        self.sent += len(data)
        trailers = response.trailers
        if end and trailers:
            self.stream.respond(response, data, False)
            self.stream.send_trailers(trailers)
        else:
            self.stream.respond(response, data, end)
        if end:
            self.response_ended()
        elif self._held_upstream:
            self.release_upstream()

    def on_response_data(self, data: bytes, end: bool) -> None:
        if self.finished:
            return
        self.moved += 1
        if self.messages is not None:
            self.messages.feed(data)
        if end and self._request_is_sent():
            self.upstream = None
        if self._response_flow is not None:
            self._response_flow.add(data, end)
            return
        self.sent += len(data)
        self.stream.send_data(data, end)
        if end:
            self.response_ended()

    def on_response_trailers(self, trailers: FieldBlock) -> None:
        if self.finished:
            return
        if self.upstream is not None and self.connection is not None:  # else they are the proxy's own
            status = trailers.index.get("grpc-status")
            if status is not None:
                self.connection.endpoint.report(ok=not is_failure(status))
        if self._request_is_sent():
            self.upstream = None
        response = self.response
        if response is not None:
            response.trailers = trailers
        if self._response_flow is not None:
            self._response_flow.add(b"", True)
            return
        self.stream.send_trailers(trailers)
        self.response_ended()

    def on_response_writable(self, writable: bool) -> None:
        if self.finished:
            return
        self.response_full = not writable
        if not writable:
            self.hold_upstream()
        elif self._response_flow is not None:
            self._response_flow.run()
        else:
            self.release_upstream()

    def hold_upstream(self) -> None:
        if not self._held_upstream and self.upstream is not None:
            self._held_upstream = True
            self.upstream.hold_response()

    def release_upstream(self) -> None:
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

    @property
    def waits_for_endpoint(self) -> bool:
        """The endpoint takes no more of the request, and the client may have more."""
        moving = self.splicer if not self.responded else None
        return self.request_full or (moving is not None and moving.stuck)

    def blame(self) -> None:
        """An endpoint that has the request does not answer in time: tell it, for outlier detection."""
        if self.upstream is not None and self.connection is not None:
            self.connection.endpoint.report(ok=False)

    # Trying again

    def retry(self, why: str, safe: bool, free: bool = False, pause: float | None = None) -> bool:
        """Try again, if the policy (``free``: without one), the method, the limits and the body allow it. ``safe``: the
        endpoint has certainly not acted on the request. ``pause``: after so many seconds, whatever the policy says."""
        free = free and self.attempts == 1
        if not self._may_repeat(why, safe, free):
            return False
        self.stop_trying()
        self._repeat(why)
        retry = self.action.retry if self.action is not None else None
        if pause is None:
            pause = 0.0 if free or retry is None else retry.pause(self.attempts)
        if pause:
            self.host.conn.call_later(pause, self._retry_now)
        else:
            self._try()
        return True

    def hedge(self) -> bool:
        """The endpoint is slow: try another one beside it, if the policy and the limits allow it."""
        wait = self._wait
        if self.hedging is None or not (wait is not None or self._request_is_sent()):
            return False
        if not self._may_repeat("per-try-timeout", False, False):
            return False
        if wait is not None:  # a connection that is not there yet is not waited for any longer
            self._wait = None
            wait.cancel()
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
        count_attempt(self.request)
        if self.endpoint is not None:
            self.tried = [*(self.tried or ()), self.endpoint]
        body, kept, flow = self.request._body, self._kept, self._request_flow
        if kept:
            if flow is None:
                flow = self._request_flow = RequestFlow(self, end=self.request_ended)
            if body is not None and body.touched:
                body.again, kept = b"".join(kept), []
        if flow is not None:
            flow.put_back(kept or [])
        self._kept = []
        self._response_flow = None
        self.response = None
        self.first_byte_at = self.try_at = 0.0

    def _retry_now(self) -> None:
        if not self.finished:
            self._try()

    def _whole_body_here(self) -> bool:
        """Nothing of the request's body has been sent and lost."""
        return self.request_ended and self.received == 0

    def _retry_response(self, response: HttpResponse) -> bool:
        retry = self.action.retry if self.action is not None else None
        if retry is None or response.tunnel:
            return False
        why = retry.reason(response)
        if not why:
            return False
        pause = retry_pushback(response)
        if pause is not None and not 0 <= pause < self._time_left():
            return False  # what its client had better know
        return self.retry(why, False, pause=pause)

    def _time_left(self) -> float:
        """Seconds that a call has by its deadline."""
        return self.started + self.call_limit - _monotonic() if self.call_limit else float("inf")

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
        """Answer with an error of the proxy's own, or break off a response that has begun; a gRPC call ends with a
        status all the same, where its time is over between two messages. ``message`` is for logs, and for who may have
        a request explained: it may name what is behind."""
        if self.finished:
            return
        self.request.state[PROBLEM] = message
        if flag:
            self.flags = (*self.flags, flag)
        self.stop_trying()
        if self.responded:
            if status != 504 or not self._end_call(status, details):
                self.stream.reset(StreamError(details, message))
                self._done(details)
            return
        chain = self.host.chain
        forwarded = self._is_forwarded()
        if chain is not None and not forwarded:
            chain.cancel(self.request)
        response = self.layer.error(self, status, details)
        if forwarded:
            self.reply(response)
        else:
            self.deliver(response)

    def _end_call(self, status: int, details: str) -> bool:
        """As if the endpoint had ended its response with a status, behind what it has sent already."""
        response, messages = self.response, self.messages
        self.messages = None  # if its client takes not even this in time, it is reset
        if response is None or messages is None or not messages.between:
            return False
        trailers = last_words(self.request, response, status, details)
        if trailers is None:
            return False
        response.details = details
        self.on_response_trailers(trailers)
        return True

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
        flow = self._request_flow
        sent = flow is None or flow.empty or self.request.content_length == 0
        return sent and self.request_done_at > 0 and not self.tunnel

    def response_ended(self) -> None:
        """The response is complete."""
        if self.finished:
            return
        if not self.request_done_at and not self.tunnel:
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
        if self.upstream is not None or self._wait is not None or self.hedging is not None:
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
        self._request_flow = self._response_flow = self._kept = None
