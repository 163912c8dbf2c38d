"""``ext_authz``: ask a service whether a request may pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy.config.types import ClusterName, Duration, Range, Size
from l4proxy.errors import UpstreamError
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.logging_setup import once_per
from l4proxy.plugins.http.call import Call
from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.reason import CloseReason
from l4proxy.stats import Stats, counter, labelled_counter

if TYPE_CHECKING:
    from l4proxy.protocols.http_fields import Field
    from l4proxy.server import Server

__all__ = ["ExtAuthz", "ExtAuthzConfig"]

log = logging.getLogger("l4proxy.ext_authz")

MAX_ANSWER = 64 * 1024
"""Bytes of the service's answer, which clients get when it is no."""
PAUSE = 10.0
"""Seconds between two lines of the log about failures of one kind."""
NOT_ASKED = frozenset({"host", "content-length", "expect", "te", "trailer"})
"""What is about the request's own body and way."""


@dataclass(frozen=True, slots=True)
class ExtAuthzConfig:
    cluster: ClusterName
    """The service that is asked."""
    path: str = ""
    """What it is asked for, with GET. Empty: the path of the request, with its method."""
    path_prefix: str = ""
    """What is put in front of the request's path, where there is no `path`."""
    host: str = ""
    """The `Host` that it is asked with; empty: that of the request."""
    ask_headers: tuple[str, ...] = (
        "authorization",
        "cookie",
        "accept",
        "user-agent",
        "x-request-id",
        "traceparent",
        "tracestate",
    )
    """Fields of the request that it is told; `x-auth-*` is all that begin so, `*` all. It always gets
    `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`."""
    upstream_headers: tuple[str, ...] = ()
    """Fields of a yes that the upstream gets, such as `x-user`. What the client says under these names is dropped."""
    response_headers: tuple[str, ...] = ()
    """Fields of a yes that are added to the response, such as `set-cookie`."""
    denied_headers: tuple[str, ...] = (
        "cache-control",
        "location",
        "retry-after",
        "set-cookie",
        "www-authenticate",
    )
    """Fields of a no that the client gets, beside its status and body."""
    body: Annotated[Size, Range(0, 64 << 20)] = Size(0)
    """So many bytes of the request's body are sent along, and a longer one is refused with 413; 0: no body is."""
    timeout: Annotated[Duration, Range(0.1)] = Duration(1.0)
    """Without an answer by then, it has failed."""
    on_failure: Literal["deny", "allow"] = "deny"
    """What becomes of requests when the service cannot be asked, or answers with 5xx."""
    failure_status: Annotated[int, Range(400, 599)] = 503
    """With `deny`: what the client gets then."""
    name: str = "ext_authz"
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        for key in ("path", "path_prefix"):
            if (value := getattr(self, key)) and not value.startswith("/"):
                raise ValueError(f"{key}: {value!r} does not begin with a slash")
        if self.path and self.path_prefix:
            raise ValueError("path_prefix: not beside path")


class ExtAuthzStats(Stats, subsystem="http_ext_authz", labels=("name",)):
    """Requests that a service was asked about."""

    allowed_total = counter("Requests that may pass.")
    denied_total = counter("Requests that may not.")
    failures_total = labelled_counter("Requests about which it could not be asked, by why.", label="reason")
    failures_allowed_total = counter("Those of them that passed all the same (on_failure).")


class _Names:
    """Names of fields as configured: ``x-user``, ``x-auth-*``."""

    def __init__(self, *names: str) -> None:
        self._exact = frozenset(name.lower() for name in names if not name.endswith("*")) - NOT_ASKED
        self._prefixes = tuple(name[:-1].lower() for name in names if name.endswith("*"))

    def of(self, fields: Sequence[Field]) -> list[Field]:
        """The fields that are meant."""
        return [
            field
            for field in fields
            if field[0] in self._exact or (field[0].startswith(self._prefixes) and field[0] not in NOT_ASKED)
        ]


class _Shared:
    """Names compiled, and statistics."""

    def __init__(self, config: ExtAuthzConfig, stats: ExtAuthzStats) -> None:
        self.stats = stats
        self.asked = _Names(*config.ask_headers)
        self.upstream = _Names(*config.upstream_headers)
        self.response = _Names(*config.response_headers)
        self.denied = _Names(*config.denied_headers, "content-encoding")


class ExtAuthz(HttpFilter[ExtAuthzConfig]):
    """Ask a service by HTTP whether a request may pass, and let it say who the client is.

        { use = "ext_authz", cluster = "auth", path = "/verify", upstream_headers = ["x-user"] }

    Any 2xx is a yes. 5xx is a failure, and everything else a no, which the client gets as it is: 401, or a redirect to
    a login page. Each request is asked about; nothing is remembered.
    """

    name = "ext_authz"
    shared: _Shared

    def __init__(self) -> None:
        self._calls: dict[HttpRequest, Call] = {}

    @classmethod
    def provision(cls, config: ExtAuthzConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(ExtAuthzStats, name=config.name))

    def on_request(self, request: HttpRequest) -> None:
        limit = self.config.body
        length = request.content_length
        if not limit or length == 0 or request.upgrade or request.kind == "CONNECT":
            self._ask(request, b"")
        elif length is not None and length > limit:
            self._too_long(request)
        else:
            request.body.gather(limit, lambda body: self._gathered(request, body))

    def _gathered(self, request: HttpRequest, body: bytes | None) -> None:
        if body is None:
            self._too_long(request)
        else:
            self._ask(request, body)

    def _too_long(self, request: HttpRequest) -> None:
        self.reply(request, HttpResponse(413, "the body is too large\n", details="ext_authz_body_too_large"))

    # The question

    def _ask(self, request: HttpRequest, body: bytes) -> None:
        config = self.config
        try:
            pool = request.exchange.layer.pool(config.cluster)
        except UpstreamError as error:
            self._failed(request, error.detail, str(error))
            return
        call = self._calls[request] = Call(
            pool,
            self._question(request, body),
            lambda call: self._answered(request, call),
            timeout=config.timeout,
            max_body=MAX_ANSWER,
            repeatable=True,
        )
        call.start(body)

    def _question(self, request: HttpRequest, body: bytes) -> HttpRequest:
        config = self.config
        method, target = request.kind, request.target
        if config.path or method == "CONNECT":
            method, target = "GET", config.path or "/"
        else:
            target = config.path_prefix + ("/" if target == "*" else target)
        headers = Headers.of([("Host", config.host or request.authority)])
        for name, value in self.shared.asked.of(request.seal().fields):
            if not name.startswith("x-forwarded-"):
                headers.add(name, value)
        headers.add("X-Forwarded-Method", request.kind)
        headers.add("X-Forwarded-Proto", request.scheme)
        headers.add("X-Forwarded-Host", request.authority)
        headers.add("X-Forwarded-Uri", request.target or request.authority)
        headers.add("X-Forwarded-For", request.client or "unknown")
        if body or method in ("POST", "PUT", "PATCH"):
            headers.add("Content-Length", str(len(body)))
        return HttpRequest(method, target, headers.block, content_length=len(body))

    # The answer

    def _answered(self, request: HttpRequest, call: Call) -> None:
        self._calls.pop(request, None)
        answer = call.response
        if answer is None:
            self._failed(request, call.error, call.message)
        elif answer.status >= 500:
            self._failed(request, "status_5xx", f"it answered with {answer.status}")
        elif 200 <= answer.status < 300:
            self._allowed(request, answer)
        else:
            self._denied(request, answer, call.body)

    def _allowed(self, request: HttpRequest, answer: HttpResponse) -> None:
        shared, fields = self.shared, answer.block.fields
        shared.stats.allowed_total += 1
        self._drop_claims(request)
        for name, value in shared.upstream.of(fields):
            request.headers.add(name, value)
        if added := shared.response.of(fields):
            request.state["ext_authz:response"] = added
        self.release(request)

    def _denied(self, request: HttpRequest, answer: HttpResponse, body: bytes) -> None:
        self.shared.stats.denied_total += 1
        kind = answer.field("content-type") or "text/plain; charset=utf-8"
        response = HttpResponse(answer.status, body, content_type=kind, details="ext_authz_denied", flags=("UAEX",))
        for name, value in self.shared.denied.of(answer.block.fields):
            response.headers.add(name, value)
        self.reply(request, response)

    def _failed(self, request: HttpRequest, reason: str, message: str) -> None:
        config, stats = self.config, self.shared.stats
        stats.failures_total.add(reason)
        if once_per(PAUSE, f"ext_authz {config.name} {reason}"):
            log.warning("%s: cluster %s cannot be asked: %s: %s", config.name, config.cluster, reason, message)
        if config.on_failure == "allow":
            stats.failures_allowed_total += 1
            self._drop_claims(request)
            self.release(request)
            return
        text = "whether this is allowed could not be found out\n"
        self.reply(request, HttpResponse(config.failure_status, text, details="ext_authz_failed", flags=("UAEX",)))

    def _drop_claims(self, request: HttpRequest) -> None:
        for name, _ in self.shared.upstream.of(request.seal().fields):
            request.headers.discard(name)

    def on_response(self, response: HttpResponse) -> HttpResponse:
        if self.config.response_headers:
            for name, value in response.request.state.pop("ext_authz:response", ()):
                response.headers.add(name, value)
        return response

    # Nobody waits any more

    def on_cancel(self, request: HttpRequest) -> None:
        call = self._calls.pop(request, None)
        if call is not None:
            call.cancel()

    def on_close(self, reason: CloseReason) -> None:
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(ExtAuthz)
