from __future__ import annotations

import json
from pathlib import Path

import pytest

from l4proxy.plugins.http.error_pages import ErrorPages
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.protocols.http_fields import FieldBlock

BROWSER = "text/html,application/xhtml+xml,application/json;q=0.5"


def answer(pages: dict[str, str], status: int = 503, accept: str = "", **fields: str) -> HttpResponse:
    given = [("accept", accept)] if accept else []
    block = FieldBlock([("host", "a"), *given, *((name.replace("_", "-"), value) for name, value in fields.items())])
    return ErrorPages(pages).response(HttpRequest("GET", "/", block), status, "no_cluster")


def test_plain_text_says_what_and_why_and_nothing_of_what_is_behind() -> None:
    response = answer({})
    assert (response.status, response.content) == (503, b"503 Service Unavailable: no_cluster\n")
    assert response.details == "no_cluster"
    assert response.field("content-type") == "text/plain; charset=utf-8"
    assert (response.field("cache-control"), response.field("retry-after")) == ("no-store", "1")


def test_programs_get_json() -> None:
    response = answer({"5xx": __file__}, accept="application/json")
    assert json.loads(response.content) == {"status": 503, "error": "no_cluster", "message": "Service Unavailable"}
    assert response.field("content-type") == "application/json"


def test_own_pages_by_status_then_by_class(tmp_path: Path) -> None:
    for name in ("404", "4xx"):
        (tmp_path / name).write_text(f"{name}: %STATUS% %REASON% %REQUEST_ID%")
    pages = {name: str(tmp_path / name) for name in ("404", "4xx")}
    assert answer(pages, 404, BROWSER).content == b"404: 404 Not Found "
    assert answer(pages, 403, BROWSER).content == b"4xx: 403 Forbidden "
    assert answer(pages, 503, BROWSER).content.startswith(b"503 Service Unavailable")
    assert answer(pages, 404, BROWSER).field("content-type") == "text/html; charset=utf-8"


def test_what_a_client_says_cannot_become_a_script(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<p>%REQUEST_ID%")
    response = answer({"503": str(tmp_path / "page")}, x_request_id="<script>")
    assert response.content == b"<p>&lt;script&gt;"


def test_a_status_without_a_name() -> None:
    assert answer({}, 499).content == b"499 Error: no_cluster\n"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"cannot read .*: it is not UTF-8 text"):
        ErrorPages({"503": str(tmp_path / "bytes")})
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        ErrorPages({"503": str(tmp_path / "nothing")})
