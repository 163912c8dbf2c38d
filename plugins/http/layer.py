"""What all connections of one ``http`` filter share: routes, pools, filters, statistics, and the manners of a proxy.

``prepare`` is where the head of a request is made safe, and its order matters: the path has its normal form before a
route or a filter sees it, or rules could be gone around; and who the client is (``X-Forwarded-For``) is decided before
anything asks.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from l4proxy.config.types import ClusterName
from l4proxy.message_filters import MessageFilters
from l4proxy.networks import NetworkSet
from l4proxy.plugins.http.action import Action
from l4proxy.plugins.http.deadlines import Deadlines
from l4proxy.plugins.http.error_pages import ErrorPages
from l4proxy.plugins.http.explain import Notes
from l4proxy.plugins.http.forwarding import Forwarding
from l4proxy.plugins.http.grpc_answers import call_limit
from l4proxy.plugins.http.message import HttpResponse
from l4proxy.plugins.http.paths import BadPath, normalize
from l4proxy.plugins.http.pool import cluster_pool
from l4proxy.plugins.http.record import HttpRecord
from l4proxy.plugins.http.routes import VirtualHostTable, route_tables
from l4proxy.plugins.http.stats import CLASSES, Http2Stats, HttpStats

if TYPE_CHECKING:
    from l4proxy.plugins.http.config import HttpConfig
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.http2_shared import Http2Shared
    from l4proxy.plugins.http.pool import ClusterPool
    from l4proxy.plugins.http.route_config import Route
    from l4proxy.server import Server

__all__ = ["Layer"]

_monotonic = time.monotonic


class Layer:
    """Made when a configuration is loaded."""

    def __init__(self, config: HttpConfig, server: Server) -> None:
        """Raises ValueError with what is wrong."""
        self.config = config
        self.server = server
        self.stats = server.stats.group(HttpStats, http=config.name)
        self.deadlines = Deadlines(server.timers)
        self.max_body = config.limits.max_body
        self.trusted = NetworkSet(config.trusted_proxies)
        self.explainers = NetworkSet(config.explain)
        self.explains = bool(config.explain)
        self.pages = ErrorPages(config.error_pages)
        self.changes_responses = bool(config.server or config.via)
        self.filters = MessageFilters("http", config.filters, server)
        try:
            self.hosts = VirtualHostTable(route_tables(config, self._action))
        except Exception:
            self.filters.cleanup()
            raise
        self._only = self.hosts.only
        self._attention = [
            "%", "\\", *(["/."] if config.normalize_path else []), *(["//"] if config.merge_slashes else [])
        ]  # fmt: skip
        """What a target may have in it that is to be looked at."""
        self._sound_target = ""
        """The last one that has none of it: the next request is often for the same."""
        self.via = config.via
        self._stop_collecting = server.stats.on_collect(self._collect)

    def close(self) -> None:
        """The last connection is gone."""
        self._collect()
        self._stop_collecting()
        for table in self.hosts.tables:
            for route in table.routes:
                route.action.close()
        self.filters.cleanup()

    def _collect(self) -> None:
        """What is counted by route is added up when somebody reads it."""
        for table in self.hosts.tables:
            for route in table.routes:
                for status_class, count in route.action.take_responses():
                    self.stats.responses_total.add(status_class, count)

    @cached_property
    def http2(self) -> Http2Shared:
        """For connections that speak it; made for the first one."""
        from l4proxy.plugins.http.http2_shared import Http2Shared

        config, limits = self.config, self.config.limits
        stats = self.server.stats.group(Http2Stats, peers=f"clients of {config.name}")
        made = config.http2.limits(
            max_head=limits.max_head,
            max_fields=limits.max_fields,
            head_timeout=limits.head_timeout,
            stall_timeout=limits.stream_idle_timeout,
        )
        return Http2Shared(config.http2, made, stats, self.server)

    def _action(self, config: Route, name: str) -> Action:
        return Action(config, self, name)

    def forwarding(self, peer: str, scheme: str) -> Forwarding:
        """What a connection of this peer is told, and tells."""
        return Forwarding(self.config.forwarded, peer, scheme, self.trusted, self.config.trusted_hops)

    def pool(self, name: str) -> ClusterPool:
        """The connections to a cluster, as this filter wants them. Raises NoSuchCluster."""
        cluster = self.server.clusters.find(name)
        return cluster_pool(cluster, self.config.upstreams.get(ClusterName(name), self.config.upstream), self.server)

    # For each request

    def prepare(self, exchange: Exchange) -> None:
        """Look at the head: is it sound, who sent it, which route takes it? May answer the exchange."""
        request, host = exchange.request, exchange.host
        self.stats.requests_total += 1
        self.stats.requests_active += 1
        target = request.target
        if target is not self._sound_target:
            for part in self._attention:
                if part in target:
                    if not self._normalize(exchange):
                        return
                    break
            else:
                self._sound_target = target
        if self.max_body and request.content_length and request.content_length > self.max_body:
            exchange.fail(413, "body_too_large", "the request's body is too large (max_body)")
            return
        block = request.block
        index = block.made_index or block.index
        if self.explains and "x-l4proxy-explain" in index and host.peer.host in self.explainers:
            exchange.notes = Notes()
        forwarding = host.forwarding
        if forwarding.trusts:
            exchange.client = forwarding.client_of(request)
            forwarding.tell(request)
        elif "x-forwarded-for" in index or "x-forwarded-proto" in index or "forwarded" in index:
            forwarding.tell(request)
        else:
            request.added = forwarding.added
        if self.via:
            version = "2" if request.version == "HTTP/2" else request.version.removeprefix("HTTP/")
            request.headers.append("Via", f"{version} {self.via}")
        table = self._only or self.hosts.find(index.get("host", ""))
        route = None if table is None else table.find(request, exchange.client)
        if request.kind == "CONNECT" and (route is None or route.config.forward is None):
            exchange.fail(405, "connect_not_allowed", "no route opens tunnels (forward)")
            return
        if route is None:
            exchange.flags = ("NR",)
            exchange.fail(404, "route_not_found", "no route takes this request")
            return
        exchange.route = route
        if exchange.notes is not None and table is not None:
            exchange.notes.routed(exchange, table, route)
        action = exchange.action = route.action
        if action.variant:
            request.select(action.variant)
        if action.prepares:
            action.prepare(exchange, route)
        if request.upgrade and not self._may_upgrade(exchange, action):
            return
        first_limit = action.first_limit
        if "grpc-timeout" in index and (limit := call_limit(request)):
            exchange.call_limit = limit
            first_limit = min(limit, first_limit or limit)
        if first_limit:
            self.deadlines.watch(exchange, exchange.started, first_limit)

    def _normalize(self, exchange: Exchange) -> bool:
        config, request = self.config, exchange.request
        if request.target == "*":
            return True
        try:
            target = normalize(
                request.target,
                resolve=config.normalize_path,
                merge=config.merge_slashes,
                slashes=config.escaped_slashes,
            )
        except BadPath as error:
            exchange.fail(400, str(error), f"the path is refused: {error}", "DPE")
            return False
        if target != request.target:
            request.target = target
        return True

    def _may_upgrade(self, exchange: Exchange, action: Action) -> bool:
        allowed, wanted = action.config.upgrades, exchange.request.upgrade
        if wanted in allowed or "*" in allowed:
            return True
        exchange.fail(403, "upgrade_not_allowed", f"no route allows an upgrade to {wanted}")
        return False

    def finish_response(self, exchange: Exchange, response: HttpResponse) -> None:
        """The last changes of a response, after all filters."""
        action = exchange.action
        if action is not None and action.response_changes is not None:
            action.response_changes.apply(response.headers, exchange, _monotonic())
        if exchange.cookie:
            response.headers.add("Set-Cookie", exchange.cookie)
        if exchange.notes is not None:
            response.headers["x-l4proxy-explain"] = exchange.notes.explanation(exchange)
        if self.changes_responses:
            config = self.config
            if config.server == "-":
                response.headers.discard("server")
            elif config.server:
                response.headers["Server"] = config.server
            if config.via:
                version = "2" if response.version == "HTTP/2" else response.version.removeprefix("HTTP/")
                response.headers.append("Via", f"{version} {config.via}")

    def error(self, exchange: Exchange, status: int, details: str) -> HttpResponse:
        """An answer of the proxy's own."""
        return self.pages.response(exchange.request, status, details)

    def note_attempt(self, exchange: Exchange, why: str) -> None:
        """A try has failed and is followed by another one."""
        if exchange.notes is not None:
            exchange.notes.tried(exchange, why)

    # Time

    def check_time(self, exchange: Exchange, now: float) -> float:
        """Whether a limit of an exchange is over; returns the seconds until it is to be asked again."""
        action, limits = exchange.action, self.config.limits
        if action is None or exchange.finished:
            return 0
        moved = exchange.moved - (exchange.splicer.left if exchange.splicer is not None else 0)
        if moved != exchange.seen_moved:
            exchange.seen_moved, exchange.moved_at = moved, now
        sent, answered = exchange.request_done_at, exchange.first_byte_at
        waiting = sent and not answered and not exchange.responded
        limited = (
            (exchange.call_limit, exchange.started, self._deadline_over),
            (action.max_duration, exchange.started, self._too_long),
            (limits.body_timeout if not sent and not exchange.tunnel else 0, exchange.started, self._body_too_slow),
            (action.timeout if waiting else 0, sent, self._no_response),
            (
                action.per_try_timeout if waiting and exchange.try_at else 0,
                max(exchange.try_at, sent),
                self.try_too_slow,
            ),
            (action.idle_timeout, exchange.moved_at, self._idle),
        )
        next_in = 0.0
        for limit, since, over in limited:
            if not limit:
                continue
            left = since + limit - now
            if left <= 0:
                over(exchange)
                if exchange.is_over():
                    return 0
                left = limit
            next_in = min(next_in, left) if next_in else left
        return next_in

    def _too_long(self, exchange: Exchange) -> None:
        self.stats.timeouts_total.add("max_duration")
        exchange.fail(504, "max_duration", "the request has lasted for too long (max_duration)", "DT")

    def _deadline_over(self, exchange: Exchange) -> None:
        self.stats.timeouts_total.add("deadline")
        exchange.fail(504, "deadline", "the deadline of the call is over (grpc-timeout)", "DT")

    def _body_too_slow(self, exchange: Exchange) -> None:
        self.stats.timeouts_total.add("body_timeout")
        if exchange.waits_for_endpoint:
            text = "the endpoint did not take the body of the request in time (body_timeout)"
            exchange.blame()
            exchange.fail(504, "body_timeout", text, "UT")
        else:
            exchange.fail(408, "body_timeout", "the body of the request did not come in time (body_timeout)")

    def _no_response(self, exchange: Exchange) -> None:
        self.stats.timeouts_total.add("timeout")
        exchange.blame()
        where = f"endpoint {exchange.endpoint.name}" if exchange.endpoint is not None else "the upstream"
        exchange.fail(504, "response_timeout", f"{where} did not answer in time (timeout)", "UT")

    def try_too_slow(self, exchange: Exchange) -> None:
        """A try has no response after ``per_try_timeout``."""
        exchange.blame()
        if exchange.hedge():
            self.stats.timeouts_total.add("per_try_timeout")
            return
        if exchange.hedging is not None and exchange.hedging.hopeful:
            return
        self.stats.timeouts_total.add("per_try_timeout")
        if not exchange.retry("per-try-timeout", False):
            exchange.fail(504, "per_try_timeout", "the upstream did not answer in time (per_try_timeout)", "UT")

    def _idle(self, exchange: Exchange) -> None:
        self.stats.timeouts_total.add("stream_idle_timeout")
        waits = exchange.waits_for_endpoint
        if waits:
            exchange.blame()
        status = 504 if exchange.request_done_at or waits else 408
        exchange.fail(status, "stream_idle_timeout", "nothing has moved for too long (stream_idle_timeout)", "SI")

    # The end

    def done(self, exchange: Exchange, why: str) -> None:
        """An exchange is over: count and log it."""
        now = _monotonic()
        self.stats.requests_active -= 1
        response = exchange.response if exchange.responded else None
        status_class = CLASSES[response.status // 100] if response is not None else "none"
        action = exchange.action
        if action is None:
            self.stats.responses_total.add(status_class)
        else:
            action.responses[status_class] += 1
            action.stats.request_seconds.record(now - exchange.started)
        pool = exchange.pool
        if pool is not None and exchange.sent_at:
            pool.stats.response_seconds.record(now - exchange.sent_at)
        host = exchange.host
        if host.logs:
            host.log_access(HttpRecord(exchange, now, why or (response.details if response is not None else "")))
