"""What can be asked: all of it on the admin listener, what a scraper needs on the one for metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.admin import changes, connection_pages, pages, routing_pages, stats_page, table_pages
from l4proxy.admin.content import joined
from l4proxy.admin.http import Request, Response
from l4proxy.admin.index import help_text, index
from l4proxy.admin.route import Route, Routes

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["ADMIN", "METRICS", "Routes"]

FORMAT = {"format": "text or json"}
SELECTION = {name: text for name, text in stats_page.PARAMETERS.items() if name != "format"}


async def _index(target: AdminTarget, request: Request) -> Response:
    return await index(target, ADMIN.routes)


async def _help(target: AdminTarget, request: Request) -> Response:
    return Response(await joined(help_text(ADMIN.routes)))


_READY = Route("GET", "/ready", "200 LIVE, or 503 when no new connections shall come", pages.ready)
_PROMETHEUS = Route("GET", "/stats/prometheus", "statistics in Prometheus' format", stats_page.prometheus, SELECTION)

ADMIN = Routes(
    Route("GET", "/", "this page", _index),
    Route("GET", "/help", "this page as text", _help),
    _READY,
    Route("GET", "/server_info", "what runs, since when, in which processes", pages.server_info, FORMAT),
    Route("GET", "/listeners", "where connections come from", routing_pages.listeners, FORMAT),
    Route("GET", "/clusters", "where they go: clusters, endpoints, what is wrong with them", routing_pages.clusters,
          FORMAT),
    Route("GET", "/connections", "open connections, or the last that ended", connection_pages.connections,
          {**connection_pages.LIST_PARAMETERS, **FORMAT}),
    Route("GET", "/connections/ID", "one connection: who, where to, what it waits for, why it ended",
          connection_pages.connection, {**connection_pages.ONE_PARAMETERS, **FORMAT}),
    Route("GET", "/stats", "statistics", stats_page.stats, stats_page.PARAMETERS),
    _PROMETHEUS,
    Route("GET", "/tables", "what filters know: hot keys, slow commands, lag ...", table_pages.tables,
          {**table_pages.PARAMETERS, **FORMAT}),
    Route("GET", "/config_dump", "the configuration at work, without secrets", pages.config_dump, FORMAT),
    Route("GET", "/certs", "certificates and when they expire", pages.certs, FORMAT),
    Route("GET", "/plugins", "plugins and what they register", pages.plugins, FORMAT),
    Route("GET", "/memory", "memory, garbage collector, what there is most of", pages.memory, FORMAT),
    Route("GET", "/logging", "the levels of all loggers", pages.logging, FORMAT),
    Route("POST", "/logging", "set log levels", changes.set_levels, {**changes.LOGGING_PARAMETERS, **FORMAT},
          form=True),
    Route("POST", "/reload", "read the configuration again", changes.reload, form=True),
    Route("POST", "/reopen_logs", "open access logs again, after they were rotated", changes.reopen_logs, form=True),
    Route("POST", "/healthcheck/fail", "let /ready say no, so that new connections go elsewhere",
          changes.fail_health_check, form=True),
    Route("POST", "/healthcheck/ok", "let /ready say yes again", changes.pass_health_check, form=True),
    Route("POST", "/connections/ID/close", "end a connection at once", connection_pages.close,
          connection_pages.ONE_PARAMETERS),
    Route("POST", "/drain_listeners", "close the listeners and ask connections to end; the process stays",
          changes.drain_listeners),
    Route("POST", "/quitquitquit", "drain and end the process", changes.quit_process,
          {"now": "do not wait for open connections"}),
)  # fmt: skip

METRICS = Routes(
    _READY,
    _PROMETHEUS,
    Route("GET", "/metrics", "statistics in Prometheus' format", stats_page.prometheus, SELECTION),
)
