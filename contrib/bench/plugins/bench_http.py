"""An HTTP filter that reads two header fields and the status, as many do."""

from __future__ import annotations

from typing import Any

from l4proxy import NoConfig, Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse


class BenchHttp(HttpFilter[NoConfig]):
    """Reads, and changes nothing."""

    name = "bench_http"

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        return request if request.field("host") and request.field("x-never") is None else None

    def on_response(self, response: HttpResponse) -> HttpResponse | None:
        return response if response.status and response.field("x-never") is None else None


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(BenchHttp)
