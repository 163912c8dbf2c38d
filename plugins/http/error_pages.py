"""The proxy's own error answers: plain text, JSON for who asks for it, or pages of the operator's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.errors import cannot_read
from l4proxy.plugins.http.message import HttpResponse

if TYPE_CHECKING:
    from l4proxy.plugins.http.message import HttpRequest

__all__ = ["ErrorPages"]

MAX_PAGE = 256 * 1024


class ErrorPages:
    """``error_pages`` of the configuration, read when it is loaded."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        """Raises ValueError."""
        self._pages: dict[str, str] = {}
        for key, path in pages.items():
            try:
                with open(path, encoding="utf-8") as file:
                    self._pages[key] = file.read(MAX_PAGE)
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"error_pages.{key}: {cannot_read(path, error)}") from None

    def response(self, request: HttpRequest, status: int, details: str) -> HttpResponse:
        """``details`` go to the client: they say nothing of what is behind."""
        reason = _phrase(status)
        accept = request.field("accept") or ""
        headers = {"Cache-Control": "no-store"}
        if status == 503:
            headers["Retry-After"] = "1"
        page = self._pages.get(str(status)) or self._pages.get(f"{status // 100}xx")
        if "application/json" in accept and "text/html" not in accept:
            body = json.dumps({"status": status, "error": details, "message": reason}) + "\n"
            kind = "application/json"
        elif page is not None:
            values = {"STATUS": str(status), "REASON": reason, "REQUEST_ID": request.field("x-request-id") or ""}
            body, kind = page, "text/html; charset=utf-8"
            for name, value in values.items():
                body = body.replace(f"%{name}%", escape(value))
        else:
            body, kind = f"{status} {reason}: {details}\n", "text/plain; charset=utf-8"
        return HttpResponse(status, body, headers, content_type=kind, details=details)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
