"""``mirror``: a copy of requests, for another cluster."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import ClusterName, Duration, Percent, Range, Size
from l4proxy.errors import UpstreamError
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.call import Call
from l4proxy.plugins.http.field_changes import CompiledChanges, compile_changes
from l4proxy.plugins.http.field_config import FieldChanges
from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpFilter, HttpRequest
from l4proxy.plugins.http.stats import CLASSES
from l4proxy.stats import Stats, counter, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.plugins.http.pool import ClusterPool
    from l4proxy.server import Server

__all__ = ["Mirror", "MirrorConfig"]

NO_CHANGES = FieldChanges()
NOT_COPIED = ("expect", "te", "trailer")
"""What is about the request's own way."""


@dataclass(frozen=True, slots=True)
class MirrorConfig:
    cluster: ClusterName
    """Where the copies go."""
    percent: Percent = Percent(100.0)
    """Share of requests that are copied."""
    methods: tuple[str, ...] = ()
    """Only these are copied: `["GET", "HEAD"]` where a second write would do harm. Empty: all."""
    host: str = ""
    """The `Host` that copies have; empty: that of the request."""
    headers: FieldChanges = NO_CHANGES
    """Changes of the fields that copies have: `{ set = { x-shadow = "1" }, remove = ["authorization"] }`."""
    buffer_limit: Annotated[Size, Range(1024)] = Size(256 * 1024)
    """Bytes of one request that may wait for the other cluster. When there are more, its copy is given up."""
    max_body: Size = Size(16 << 20)
    """Requests that say that their body is longer than this are not copied (the kernel moves large bodies that nobody
    reads), and copies that become longer are given up; 0: any length."""
    timeout: Annotated[Duration, Range(0.1)] = Duration(60.0)
    """How long a copy may take, its body and its response; then it is given up."""

    def __post_init__(self) -> None:
        try:
            compile_changes(self.headers)
        except ValueError as error:
            raise ValueError(f"headers: {error}") from None


class MirrorStats(Stats, subsystem="http_mirror", labels=("cluster",)):
    """Copies of requests for one cluster."""

    copies_total = counter("Requests of which a copy was begun.")
    copies_active = gauge("Copies under way now.")
    given_up_total = labelled_counter("Copies that are not whole or have no whole response, by why.", label="reason")
    differed_total = labelled_counter(
        "Copies that had a response of another class than the original (2xx/5xx: that one 2xx, the copy 5xx).",
        label="classes",
    )


class _Shared:
    """Statistics, and changes compiled."""

    def __init__(self, config: MirrorConfig, stats: MirrorStats) -> None:
        self.stats = stats
        self.changes: CompiledChanges | None = compile_changes(config.headers)


class _Copy:
    """The copy of one request. It may outlive that, by the ``timeout``."""

    __slots__ = ("_call", "_config", "_ended", "_original", "_size", "_stats", "_status")

    def __init__(self, pool: ClusterPool, request: HttpRequest, config: MirrorConfig, stats: MirrorStats) -> None:
        self._stats = stats
        self._config = config
        self._size = 0
        self._ended = False
        self._original = 0
        """The status of the original's response; 0: it has none yet. ``_status``: of the copy's."""
        self._status = 0
        stats.copies_total += 1
        stats.copies_active += 1
        self._call: Call | None = Call(pool, request, self._answered, timeout=config.timeout, max_body=None)

    def start(self, data: bytes, end: bool) -> None:
        self._size, self._ended = len(data), end
        if self._call is not None:
            self._call.start(data, end)

    def send(self, data: bytes) -> None:
        call, config = self._call, self._config
        if call is None:
            return
        self._size += len(data)
        if config.max_body and self._size > config.max_body:
            self._give_up("max_body")
        elif call.buffered + len(data) > config.buffer_limit:
            self._give_up("overflow")
        else:
            call.send(data, False)

    def end(self) -> None:
        self._ended = True
        if self._call is not None:
            self._call.send(b"", True)

    def original_done(self, status: int) -> None:
        """The original is over, possibly before all of its body came by."""
        self._original = status
        if not self._ended:
            self._give_up("original_ended")
        self._compare()

    def _answered(self, call: Call) -> None:
        self._over(call.error)
        if call.response is not None:
            self._status = call.response.status
            self._compare()

    def _compare(self) -> None:
        if self._original and self._status:
            both = CLASSES[self._original // 100], CLASSES[self._status // 100]
            if both[0] != both[1]:
                self._stats.differed_total.add("/".join(both))

    def _give_up(self, reason: str) -> None:
        if self._call is not None:
            self._call.cancel()
            self._over(reason)

    def _over(self, reason: str) -> None:
        self._call = None
        self._stats.copies_active -= 1
        if reason:
            self._stats.given_up_total.add(reason)


class Mirror(HttpFilter[MirrorConfig]):
    """Send a copy of requests to another cluster too, and drop its responses.

    To try a new version with real traffic:

        { use = "mirror", cluster = "next_version", percent = 10 }

    The original never waits for the copy and does not notice what becomes of it: a copy that finds no endpoint, fails,
    or falls behind by more than `buffer_limit` is given up and counted. A copy is what the request is at this place:
    put it last, behind those that refuse requests, or change them. Upgrades, CONNECT and trailers are not copied.
    Whether both sides answer alike is counted, too.
    """

    name = "mirror"
    shared: _Shared

    @classmethod
    def provision(cls, config: MirrorConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(MirrorStats, cluster=config.cluster))

    @classmethod
    def wanted(cls, config: MirrorConfig) -> frozenset[str] | None:
        return frozenset(config.methods) or None

    def on_request(self, request: HttpRequest) -> HttpRequest:
        config = self.config
        if request.upgrade or request.kind == "CONNECT" or random.random() * 100 >= config.percent:
            return request
        exchange, length = request.exchange, request.content_length
        if config.max_body and length is not None and length > config.max_body:
            self.shared.stats.given_up_total.add("max_body")
            return request
        try:
            pool = exchange.layer.pool(config.cluster)
        except UpstreamError as error:
            self.shared.stats.given_up_total.add(error.detail)
            return request
        copied = HttpRequest(request.kind, request.target, self._fields(request), request.scheme, content_length=length)
        copy = _Copy(pool, copied, config, self.shared.stats)
        if length == 0:
            copy.start(b"", True)
        else:
            self._follow(request, copy)
        request.when_done(lambda _why: copy.original_done(exchange.response.status if exchange.responded else 0))
        return request

    def _fields(self, request: HttpRequest) -> Any:
        """Those of the request, as the copy has them. The blocks are shared where nothing is changed."""
        headers = Headers(request.headers.block)
        for name in NOT_COPIED:
            headers.discard(name)
        if self.config.host:
            headers["Host"] = self.config.host
        if self.shared.changes is not None:
            self.shared.changes.apply(headers, request.exchange, request.exchange.started)
        return headers.block

    def _follow(self, request: HttpRequest, copy: _Copy) -> None:
        """Copy the body as it passes. The copy begins with the first piece, so that nobody waits with it for a filter
        further along that holds the request."""
        begun = False

        def piece(data: bytes) -> None:
            nonlocal begun
            if begun:
                copy.send(data)
            else:
                begun = True
                copy.start(data, False)

        def end() -> None:
            if not begun:
                copy.start(b"", True)
            else:
                copy.end()

        request.body.watch(piece, end)


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(Mirror)
