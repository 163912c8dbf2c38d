"""What an operator can tell the proxy. All of it comes by POST."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.admin.http import HttpError, Request, Response
from l4proxy.admin.pages import logging as logging_page
from l4proxy.errors import L4ProxyError, did_you_mean
from l4proxy.logging_setup import LEVELS, current_levels

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = [
    "LOGGING_PARAMETERS",
    "drain_listeners",
    "fail_health_check",
    "pass_health_check",
    "quit_process",
    "reload",
    "reopen_logs",
    "set_levels",
]

log = logging.getLogger("l4proxy.admin")

LOGGING_PARAMETERS = {
    "level": "of all loggers: " + ", ".join(LEVELS),
    "*": "or the name of a logger (l4proxy.listener=debug, or listener=debug for short)",
}


async def set_levels(target: AdminTarget, request: Request) -> Response:
    wanted = {_logger(name): level for name, level in request.parameters.items() if name != "format"}
    if not wanted:
        raise HttpError(HTTPStatus.BAD_REQUEST, "say a level (?level=debug) or a logger's (?listener=debug)")
    for level in wanted.values():
        if level not in LEVELS:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"there is no log level {level!r}{did_you_mean(level, LEVELS)}")
    for logger in sorted(wanted):  # "", which is all of them, first
        log.info("log level of %s: %s", logger or "everything", wanted[logger])
        await target.change("set_log_level", logger=logger, level=wanted[logger])
    return await logging_page(target, request)


def _logger(name: str) -> str:
    """The logger that is meant: a whole name, or what stands behind ``l4proxy.``. Those of filters are made when they
    first have something to say, so any name below ``l4proxy`` will do in full."""
    if name == "level":
        return ""
    known = current_levels()
    for full in (name, f"l4proxy.{name}"):
        if full in known or full.startswith("l4proxy.filter.") or (full == name and name.startswith("l4proxy.")):
            return full
    short = [one.removeprefix("l4proxy.") for one in known if one.startswith("l4proxy.")]
    raise HttpError(HTTPStatus.BAD_REQUEST, f"there is no logger {name!r}{did_you_mean(name, short)}")


async def drain_listeners(target: AdminTarget, request: Request) -> Response:
    log.info("told to drain the listeners")
    await target.change("drain_listeners")
    return Response(b"the listeners are closed, open connections are asked to end\n")


async def fail_health_check(target: AdminTarget, request: Request) -> Response:
    log.info("told to fail health checks")
    await target.change("set_health", ready=False)
    return Response(b"/ready says DRAINING; connections are still accepted\n")


async def pass_health_check(target: AdminTarget, request: Request) -> Response:
    log.info("told to pass health checks")
    await target.change("set_health", ready=True)
    return Response(f"/ready says {target.state}\n".encode())


async def reload(target: AdminTarget, request: Request) -> Response:
    try:
        await target.reload()
    except L4ProxyError as error:
        text = f"the configuration was not reloaded, the old one stays:\n{error}"
        raise HttpError(HTTPStatus.CONFLICT, text) from error
    return Response(b"the configuration was reloaded\n")


async def reopen_logs(target: AdminTarget, request: Request) -> Response:
    await target.change("reopen_logs")
    return Response(b"the access logs were opened again\n")


async def quit_process(target: AdminTarget, request: Request) -> Response:
    now = "now" in request.parameters
    try:
        target.stop(0.0 if now else None)
    except L4ProxyError as error:
        raise HttpError(HTTPStatus.CONFLICT, str(error)) from error
    log.info("told to quit")
    return Response(b"the process ends\n" if now else b"the process drains and ends\n")
