"""From a request's method and path to what answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.admin.http import HttpError, Request, Response
from l4proxy.errors import did_you_mean

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["ID", "Route", "Routes"]

ID = "ID"
"""In a route's path, a number; the handler finds it among the parameters."""

Handler = Callable[["AdminTarget", Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """``parameters`` are those that are understood, with what they do; all others are refused."""

    method: str
    path: str
    text: str
    handler: Handler
    parameters: Mapping[str, str] = field(default_factory=dict)
    form: bool = False
    """Of changes: the index has a button for it. What cannot be taken back has none."""

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters that stand in the path, or None where it is another path."""
        ours, theirs = self.path.split("/"), path.split("/")
        if len(ours) != len(theirs):
            return None
        found = {}
        for own, given in zip(ours, theirs, strict=True):
            if own == ID and given.isascii() and given.isdigit() and len(given) < 19:
                found[ID] = given
            elif own != given:
                return None
        return found


class Routes:
    """What can be asked at one listener of the admin interface."""

    def __init__(self, *routes: Route) -> None:
        self.routes = routes

    async def answer(self, target: AdminTarget, request: Request) -> Response:
        """Raises HttpError where there is nothing to answer."""
        matching = [(route, found) for route in self.routes if (found := route.match(request.path)) is not None]
        if not matching:
            known = sorted({route.path for route in self.routes})
            raise HttpError(HTTPStatus.NOT_FOUND, f"there is no {request.path!r}{did_you_mean(request.path, known)}")
        method = "GET" if request.method == "HEAD" else request.method
        for route, found in matching:
            if route.method == method:
                self._check_parameters(route, request, [other for other, _ in matching])
                return await route.handler(target, replace(request, parameters={**request.parameters, **found}))
        raise _wrong_method(request, [route.method for route, _ in matching])

    def _check_parameters(self, route: Route, request: Request, namesakes: list[Route]) -> None:
        for name in request.parameters:
            if name in route.parameters or "*" in route.parameters:
                continue
            if elsewhere := [other.method for other in namesakes if {name, "*"} & other.parameters.keys()]:
                raise _wrong_method(request, elsewhere)
            hint = did_you_mean(name, route.parameters)
            raise HttpError(HTTPStatus.BAD_REQUEST, f"{route.path} has no parameter {name!r}{hint}")


def _wrong_method(request: Request, methods: list[str]) -> HttpError:
    allowed = ", ".join(f"{method}, HEAD" if method == "GET" else method for method in sorted(set(methods)))
    return HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.path} is to be asked with {allowed}", {"Allow": allowed})
