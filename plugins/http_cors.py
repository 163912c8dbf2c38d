"""``cors``: which pages of other origins may use this service (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l4proxy.config.types import Duration
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Cors", "CorsConfig"]


@dataclass(frozen=True, slots=True)
class CorsConfig:
    origins: tuple[str, ...]
    """Origins that may: `https://app.example.com`, `https://*.example.com`, or `*` for all of them."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    """Methods that they may use."""
    headers: tuple[str, ...] = ()
    """Request fields that they may set, beside those that need no leave; `*`: all that are asked for."""
    expose: tuple[str, ...] = ()
    """Response fields that their scripts may read."""
    credentials: bool = False
    """Whether cookies and passwords go along. Not with the origin `*`."""
    max_age: Duration = Duration(600.0)
    """For how long a browser need not ask again."""

    def __post_init__(self) -> None:
        if self.credentials and "*" in self.origins:
            raise ValueError("credentials: with the origin *, any page could act in the name of its visitor")
        for origin in self.origins:
            if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://(?:\*\.)?[^/*\s]+", origin):
                raise ValueError(f"origins: {origin!r} is not scheme://host, scheme://*.host or *")


class _Origins:
    """Which origins may."""

    def __init__(self, config: CorsConfig) -> None:
        self.any = "*" in config.origins
        self._exact = {origin.lower() for origin in config.origins if "*" not in origin}
        patterns = [re.escape(origin.lower()).replace(r"\*", r"[^/]+") for origin in config.origins if "//*." in origin]
        self._pattern = re.compile("|".join(patterns) or "(?!)")

    def __contains__(self, origin: str) -> bool:
        origin = origin.lower()
        return self.any or origin in self._exact or self._pattern.fullmatch(origin) is not None


class Cors(HttpFilter[CorsConfig]):
    """Answer browsers that ask whether a page of another origin may use this service, and mark responses for it.

        { use = "cors", origins = ["https://app.example.com"], methods = ["GET", "PUT"], headers = ["content-type"] }

    It protects visitors' browsers, and never the service: whoever is no browser does not ask.
    """

    name = "cors"
    shared: _Origins

    @classmethod
    def provision(cls, config: CorsConfig, server: Server) -> _Origins:
        return _Origins(config)

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        origin = request.field("origin")
        if request.method != "OPTIONS" or origin is None or request.field("access-control-request-method") is None:
            return request
        response = HttpResponse(204, details="cors_preflight")
        if origin in self.shared:
            config, headers = self.config, response.headers
            headers["Access-Control-Allow-Methods"] = ", ".join(config.methods)
            asked = request.field("access-control-request-headers")
            allowed = asked if "*" in config.headers else ", ".join(config.headers)
            if allowed:
                headers["Access-Control-Allow-Headers"] = allowed
            headers["Access-Control-Max-Age"] = str(int(config.max_age))
        self._mark(response, origin)
        self.reply(request, response)
        return None

    def on_response(self, response: HttpResponse) -> HttpResponse:
        request: Any = response.request
        origin = request.field("origin")
        if origin is not None:
            self._mark(response, origin)
            if self.config.expose and origin in self.shared:
                response.headers["Access-Control-Expose-Headers"] = ", ".join(self.config.expose)
        elif not self.shared.any:
            response.headers.append("Vary", "Origin")
        return response

    def _mark(self, response: HttpResponse, origin: str) -> None:
        headers = response.headers
        headers.discard("access-control-allow-origin")  # what the upstream says is not added up with what is said here
        headers.discard("access-control-allow-credentials")
        if not self.shared.any:
            headers.append("Vary", "Origin")
        if origin in self.shared:
            headers["Access-Control-Allow-Origin"] = "*" if self.shared.any else origin
            if self.config.credentials:
                headers["Access-Control-Allow-Credentials"] = "true"


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(Cors)
