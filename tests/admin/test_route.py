from __future__ import annotations

import asyncio
from typing import Any

import pytest

from l4proxy.admin.http import HttpError, Request, Response
from l4proxy.admin.route import ID, Route, Routes


async def show(target: Any, request: Request) -> Response:
    return Response(f"{request.method} {sorted(request.parameters.items())}".encode())


ROUTES = Routes(
    Route("GET", "/", "", show),
    Route("GET", "/things", "", show, {"limit": ""}),
    Route("GET", "/things/ID", "", show),
    Route("POST", "/things/ID/close", "", show, {"now": ""}),
    Route("GET", "/levels", "", show, {"format": ""}),
    Route("POST", "/levels", "", show, {"level": "", "*": ""}),
)


def ask(method: str, path: str, **parameters: str) -> str:
    return asyncio.run(ROUTES.answer(None, Request(method, path, parameters, {}))).body.decode()  # type: ignore[arg-type]


def refusal(method: str, path: str, **parameters: str) -> HttpError:
    with pytest.raises(HttpError) as caught:
        ask(method, path, **parameters)
    return caught.value


def test_a_route_is_found_by_method_and_path() -> None:
    assert ask("GET", "/") == "GET []"
    assert ask("HEAD", "/things", limit="3") == "HEAD [('limit', '3')]"
    assert ask("GET", "/things/17") == f"GET [('{ID}', '17')]"
    assert ask("POST", "/things/17/close", now="") == f"POST [('{ID}', '17'), ('now', '')]"
    assert ask("POST", "/levels", anything="debug") == "POST [('anything', 'debug')]"


@pytest.mark.parametrize(
    "path", ["/thing", "/things/", "/things/x", "/things/1/2", "//", "/things/²", f"/things/{'9' * 19}"]
)
def test_what_is_not_there(path: str) -> None:
    assert refusal("GET", path).status == 404


def test_a_misspelt_path_is_corrected() -> None:
    assert refusal("GET", "/thngs").text == "there is no '/thngs' (did you mean '/things'?)"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/things", "GET, HEAD"),
        ("GET", "/things/1/close", "POST"),
        ("HEAD", "/things/1/close", "POST"),
        ("DELETE", "/levels", "GET, HEAD, POST"),
        ("PATCH", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method(method: str, path: str, allow: str) -> None:
    error = refusal(method, path)
    assert (error.status, error.headers) == (405, {"Allow": allow})


def test_a_change_that_comes_by_get_is_told_how_to_come() -> None:
    error = refusal("GET", "/levels", level="debug")
    assert (error.status, error.headers) == (405, {"Allow": "POST"})


def test_unknown_parameters_are_refused() -> None:
    assert refusal("GET", "/things", limt="3").text == "/things has no parameter 'limt' (did you mean 'limit'?)"
    assert refusal("GET", "/", x="").status == 400
    assert refusal("GET", "/things/17", **{ID: "18"}).status == 400
