"""``health_check``: an answer for load balancers in front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import ClusterName, Range
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["HealthCheck", "HealthCheckConfig"]


@dataclass(frozen=True, slots=True)
class HealthCheckConfig:
    path: str = "/healthz"
    """The path that is answered here."""
    min_endpoints: Mapping[ClusterName, Annotated[int, Range(1)]] = field(default_factory=dict)
    """Clusters that have to have so many endpoints that are well: `{ app = 1 }`; else the answer is 503."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError("path: does not begin with a slash")


class HealthCheck(HttpFilter[HealthCheckConfig]):
    """Answer health checks: 200 while this proxy takes requests, 503 while it drains, or while a cluster has too few
    endpoints that are well. No other request is touched.
    """

    name = "health_check"
    wants = frozenset({"GET", "HEAD"})
    shared: Any

    @classmethod
    def provision(cls, config: HealthCheckConfig, server: Server) -> Server:
        return server

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        if request.path != self.config.path:
            return request
        why = self._why_not()
        response = HttpResponse(503 if why else 200, f"{why or 'ok'}\n", details="health_check")
        response.headers["Cache-Control"] = "no-store"
        self.reply(request, response)
        return None

    def _why_not(self) -> str:
        server: Server = self.shared
        if server.state != "LIVE":
            return server.state.lower()
        for name, wanted in self.config.min_endpoints.items():
            there = len(server.clusters.find(name).endpoints.available())
            if there < wanted:
                return f"cluster {name} has {there} endpoints, not {wanted}"
        return ""


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(HealthCheck)
