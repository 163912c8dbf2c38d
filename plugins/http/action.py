"""What becomes of the requests of a route: compiled once, asked for each of them."""

from __future__ import annotations

import random
import re
import time
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

from l4proxy.balancer import stable_hash
from l4proxy.errors import UpstreamError, cannot_read
from l4proxy.plugins.http.action_config import Retry
from l4proxy.plugins.http.conditions import cookie, query_parameter
from l4proxy.plugins.http.field_changes import compile_changes
from l4proxy.plugins.http.message import HttpResponse
from l4proxy.plugins.http.retry import RetryPolicy
from l4proxy.plugins.http.stats import CLASSES, HttpRouteStats

if TYPE_CHECKING:
    from l4proxy.plugins.http.action_config import DirectResponse, Redirect
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.forward import ForwardHosts
    from l4proxy.plugins.http.layer import Layer
    from l4proxy.plugins.http.message import HttpRequest
    from l4proxy.plugins.http.pool import ClusterPool
    from l4proxy.plugins.http.route_config import Route
    from l4proxy.plugins.http.routes import CompiledRoute

__all__ = ["Action", "redirect_location", "rewritten_target"]

MAX_FILE = 1024 * 1024
"""Bytes of a file that a direct response may have."""
FILE_CHECK = 1.0
"""Seconds for which a file is not looked at again."""
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Action:
    """Where the requests of one route go, and under which conditions."""

    def __init__(self, config: Route, layer: Layer, name: str) -> None:
        """Raises ValueError."""
        self.config = config
        self.layer = layer
        self.stats = layer.server.stats.group(HttpRouteStats, http=layer.config.name, route=name)
        self.responses = dict.fromkeys((*CLASSES[1:], "none"), 0)
        """Responses by class of status that the statistics have not yet."""
        self.timeout = config.timeout
        limits = layer.config.limits
        self.idle_timeout = limits.stream_idle_timeout if config.idle_timeout is None else config.idle_timeout
        self.max_duration = config.max_duration
        self.retry = RetryPolicy(config.retry) if config.retry is not None else None
        self.hedge_after = config.retry.per_try_timeout if config.retry is not None and config.retry.hedge else 0.0
        self.reads_responses = self.retry is not None and self.retry.reads_responses
        self.retry_buffer = (config.retry or Retry()).buffer
        self.per_try_timeout = self.retry.per_try_timeout if self.retry is not None and not self.hedge_after else 0.0
        self.first_limit = min(
            (limit for limit in (
                self.timeout, self.idle_timeout, self.max_duration, self.per_try_timeout, limits.body_timeout
            ) if limit),
            default=0.0,
        )  # fmt: skip
        """Seconds after which a request has to be looked at for the first time; 0: never."""
        self.hashes = bool(config.hash_policy)
        self.answer: Callable[[Exchange], HttpResponse] | None = None
        if config.redirect is not None:
            self.answer = _Redirector(config.redirect, config.prefix).answer
        elif config.respond is not None:
            self.answer = _Responder(config.respond).answer
        self.request_changes = compile_changes(config.request_headers)
        self.response_changes = compile_changes(config.response_headers)
        self.finishes = self.response_changes is not None or layer.changes_responses
        """Whether something is done to every response, after all filters (`Layer.finish_response`)."""
        self.rewrites = any(
            one is not None for one in (config.rewrite_prefix, config.rewrite_path, config.rewrite_host)
        )
        self.prepares = self.rewrites or self.request_changes is not None
        self.forward: ForwardHosts | None = None
        if config.forward is not None:
            from l4proxy.plugins.http.forward import ForwardHosts

            self.forward = ForwardHosts(config.forward, layer)
        self._names = [config.cluster] if config.cluster else [one.cluster for one in config.clusters]
        self._bounds = list(accumulate(one.weight for one in config.clusters))
        self._allowed = frozenset(config.allowed_clusters)
        self._pool: ClusterPool | None = None
        self.variant = layer.filters.variant(config.filters, config.without) if config.filters or config.without else 0
        """Which list of filters its requests meet."""

    def close(self) -> None:
        """No request will come any more."""
        if self.forward is not None:
            self.forward.close()

    def take_responses(self) -> list[tuple[str, int]]:
        """Put what was counted since the last time into the statistics, and return it."""
        found = [(status_class, count) for status_class, count in self.responses.items() if count]
        for status_class, count in found:
            self.stats.responses_total.add(status_class, count)
            self.responses[status_class] = 0
        return found

    # Where to

    def choose_pool(self, exchange: Exchange) -> ClusterPool | None:
        """The cluster's pool; None: the exchange has been answered."""
        if self.forward is not None:
            return self.forward.choose_pool(exchange)
        pool = self._pool
        if pool is not None and not pool.cluster.removed:
            return pool
        name = self._choose(exchange)
        if name is None:
            exchange.fail(503, "no_cluster", f"no cluster is chosen by {self.config.cluster_header}", "NC")
            return None
        try:
            pool = self.layer.pool(name)
        except UpstreamError as error:
            exchange.fail(503, "no_cluster", str(error), "NC")
            return None
        if len(self._names) == 1:
            self._pool = pool
        return pool

    def _choose(self, exchange: Exchange) -> str | None:
        if self._bounds:
            return self._names[bisect(self._bounds, random.random() * self._bounds[-1])]
        if self._names:
            return self._names[0]
        name = exchange.request.field(self.config.cluster_header.lower())
        return name if name in self._allowed else None

    def hash_key(self, exchange: Exchange) -> int | None:
        """What decides the endpoint; None where the request has none of it."""
        parts: list[str] = []
        request = exchange.request
        for part in self.config.hash_policy:
            value: str | None
            if part.header:
                value = request.field(part.header.lower())
            elif part.query:
                value = query_parameter(request.query, part.query)
            elif part.cookie:
                value = cookie(request, part.cookie)
                if value is None and part.ttl is not None:
                    value = f"{random.getrandbits(64):016x}"
                    exchange.cookie = _set_cookie(part.cookie, value, part.ttl)
            else:
                value = exchange.client
            if value is not None:
                parts.append(value)
                if part.terminal:
                    break
        return stable_hash("\0".join(parts).encode("utf-8", "surrogateescape")) if parts else None

    # What is changed

    def prepare(self, exchange: Exchange, route: CompiledRoute) -> None:
        """Change the request as the route says."""
        request, config = exchange.request, self.config
        if config.rewrite_host is not None:
            request.headers["X-Forwarded-Host"] = request.authority
            request.authority = config.rewrite_host
        if config.rewrite_prefix is not None or config.rewrite_path is not None:
            request.original_target = request.target
            request.target = rewritten_target(route, request.target)
        if self.request_changes is not None:
            self.request_changes.apply(request.headers, exchange, exchange.started)


def rewritten_target(route: CompiledRoute, target: str) -> str:
    """What the upstream of a route gets for a target."""
    config = route.config
    if config.rewrite_prefix is not None and config.prefix is not None:
        made = config.rewrite_prefix.rstrip("/") + target[len(config.prefix.rstrip("/")) :]
        return made if made.startswith("/") else "/" + made
    if config.rewrite_path is not None:
        path, mark, query = target.partition("?")
        values = route.found_in(path)
        made = _PARAMETER.sub(lambda found: values.get(found[1], found[0]), config.rewrite_path)
        return made + mark + query
    return target


def _set_cookie(name: str, value: str, ttl: float) -> str:
    age = f"; Max-Age={int(ttl)}" if ttl else ""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}"


class _Redirector:
    """``redirect`` of a route."""

    def __init__(self, config: Redirect, prefix: str | None) -> None:
        self._config = config
        self._prefix = prefix

    def answer(self, exchange: Exchange) -> HttpResponse:
        location = redirect_location(self._config, self._prefix, exchange.request)
        return HttpResponse(self._config.code, headers={"Location": location}, details="direct_response")


def redirect_location(config: Redirect, prefix: str | None, request: HttpRequest) -> str:
    """Where a request is sent by a route with this ``prefix``."""
    authority = config.host or request.authority
    if config.host == "" and (config.port or config.scheme) and not authority.endswith("]"):
        host, colon, port = authority.rpartition(":")
        authority = host if colon and port.isdecimal() else authority
    if config.port:
        authority = f"{authority}:{config.port}"
    path, mark, query = request.target.partition("?")
    if config.path:
        path = config.path
    elif config.prefix:
        path = config.prefix.rstrip("/") + path[len((prefix or "").rstrip("/")) :]
    target = path if config.strip_query else path + mark + query
    return f"{config.scheme or request.scheme}://{authority}{target}"


class _Responder:
    """``respond`` of a route."""

    def __init__(self, config: DirectResponse) -> None:
        self._config = config
        self._body = config.text.encode()
        self._checked = 0.0
        self._changed = 0
        if config.file:
            self._read(config.file)
        HttpResponse(200, headers=config.headers)

    def _read(self, path: str) -> None:
        import os

        self._checked = time.monotonic()
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_mtime_ns != self._changed:
                    if status.st_size > MAX_FILE:
                        raise ValueError(f"respond.file: {path} is larger than {MAX_FILE >> 20} MiB")
                    self._body, self._changed = file.read(), status.st_mtime_ns
        except OSError as error:
            if not self._changed:
                raise ValueError(f"respond.file: {cannot_read(path, error)}") from None

    def answer(self, exchange: Exchange) -> HttpResponse:
        config = self._config
        if config.file and time.monotonic() - self._checked > FILE_CHECK:
            try:
                self._read(config.file)
            except ValueError:
                self._checked = time.monotonic()  # too large now: the old content stays
        return HttpResponse(
            config.status, self._body, config.headers, content_type=config.content_type, details="direct_response"
        )
