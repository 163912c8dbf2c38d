"""Who may ask: not a web page of somebody else's in the operator's browser, and nobody without the token.

A page from anywhere can make a browser send requests to 127.0.0.1. What it cannot do is choose the headers that the
browser adds: ``Host`` (with DNS rebinding it is the attacker's name), ``Origin`` and ``Sec-Fetch-Site``.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.admin.http import HttpError, Request
from l4proxy.config.types import Secret

if TYPE_CHECKING:
    from l4proxy.address import Address

__all__ = ["Guard"]

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)(?::[0-9]{1,5})?")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="l4proxy admin"'}


class Guard:
    """What requests to one listener of the admin interface have to bring along."""

    def __init__(self, address: Address, hosts: tuple[str, ...], token: Secret | None) -> None:
        self._is_unix = address.is_unix
        self._names = {"localhost", address.host.lower(), *(host.lower() for host in hosts)} - {""}
        self._token = token

    def check(self, request: Request) -> None:
        """Raises HttpError where the request is not to be answered."""
        if not self._is_unix:  # no browser can be made to connect there
            self._check_host(request)
            self._check_origin(request)
        if self._token is not None:
            self._check_token(request, self._token)

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host")
        if host is None:
            if request.minor_version == 0:  # a health check; no browser speaks HTTP/1.0
                return
            raise HttpError(HTTPStatus.BAD_REQUEST, "there is no Host header")
        found = _AUTHORITY.fullmatch(host)
        if not found:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the Host header is malformed")
        name = found[1].lower().rstrip(".")
        if name not in self._names and not _is_ip_address(name):
            raise HttpError(HTTPStatus.FORBIDDEN, f"the Host {name!r} is not this server (admin.hosts would allow it)")

    def _check_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is not None and origin not in (f"{scheme}://{request.headers.get('host')}" for scheme in _SCHEMES):
            raise HttpError(HTTPStatus.FORBIDDEN, f"requests from pages of {origin!r} are not answered")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            follows_link = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
            if not follows_link:
                raise HttpError(HTTPStatus.FORBIDDEN, "requests from pages of other sites are not answered")

    def _check_token(self, request: Request, token: Secret) -> None:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or Secret(text.strip()) != token:
            raise HttpError(HTTPStatus.UNAUTHORIZED, "this needs a token (Authorization: Bearer TOKEN)", _CHALLENGE)


_SCHEMES = ("http", "https")


def _is_ip_address(name: str) -> bool:
    """An address can be asked for by anyone, and be rebound by no one."""
    from ipaddress import ip_address

    try:
        ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True
