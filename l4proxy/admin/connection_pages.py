"""The pages about connections, and what can be done to one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from l4proxy.admin.content import Column, Content, human_bytes, human_seconds, outline, records, render
from l4proxy.admin.http import HttpError, Request, Response
from l4proxy.admin.pattern import compile_filter, found_in
from l4proxy.admin.route import ID
from l4proxy.admin.workers import missing

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["LIST_PARAMETERS", "ONE_PARAMETERS", "close", "connection", "connections"]

PAGE = 100
"""Connections that are described in one go: about two milliseconds of a worker's time."""
DEFAULT_LIMIT = 1000
NUMBER = re.compile(r"[0-9]{1,18}")

LIST_PARAMETERS = {
    "limit": f"how many to show ({DEFAULT_LIMIT})",
    "after": "only those with a higher number",
    "filter": "a regular expression; only those in whose addresses or names it is found",
    "closed": "the last connections that ended instead, and why they did",
    "worker": "only those of one worker",
}
ONE_PARAMETERS = {"worker": "in which worker; workers count their connections separately"}

OPEN: Mapping[str, Column] = {
    "id": "id",
    "worker": "worker",
    "age": lambda one: human_seconds(one["age_seconds"]),
    "client": "client",
    "listener": "listener",
    "server name": "server_name",
    "protocol": "protocol",
    "cluster": "cluster",
    "endpoint": "endpoint",
    "phase": "phase",
    "received": lambda one: human_bytes(one["bytes_received"]),
    "sent": lambda one: human_bytes(one["bytes_sent"]),
    "filters": "filters",
}
CLOSED: Mapping[str, Column] = {
    "id": "id",
    "worker": "worker",
    "ended": "ended",
    "lasted": lambda one: human_seconds(one["duration_seconds"]),
    "client": "client",
    "listener": "listener",
    "server name": "server_name",
    "protocol": "protocol",
    "cluster": "cluster",
    "endpoint": "endpoint",
    "received": lambda one: human_bytes(one["bytes_received"]),
    "sent": lambda one: human_bytes(one["bytes_sent"]),
    "reason": "reason",
}
SEARCHED = ("client", "listener", "server_name", "protocol", "cluster", "endpoint")


async def connections(target: AdminTarget, request: Request) -> Response:
    limit = _number(request, "limit", DEFAULT_LIMIT)
    pattern = compile_filter(request.parameters.get("filter", ""))
    is_closed = "closed" in request.parameters
    rows: list[dict[str, Any]] = []
    more = False
    async for row in _closed(target, request) if is_closed else _open(target, request):
        if found_in(pattern, " ".join(row[name] for name in SEARCHED)):
            if len(rows) == limit:
                more = True
                break
            rows.append(row)

    def text(data: dict[str, Any]) -> Iterator[str]:
        columns = CLOSED if is_closed else OPEN
        if target.workers == 1:
            columns = {title: column for title, column in columns.items() if title != "worker"}
        yield from records(columns, data["connections"])
        if more:
            yield f"# there are more than {limit}: see ?limit= and ?after=\n"

    return await render(Content({"connections": rows, "more": more}, text), request)


async def _open(target: AdminTarget, request: Request) -> AsyncIterator[dict[str, Any]]:
    """All open connections, worker by worker, asked for page by page."""
    for worker in _workers(target, request):
        after = _number(request, "after", 0)
        while True:
            answers = await target.describe("connections", worker=worker, after=after, limit=PAGE)
            rows = answers[0].value if answers else []
            for row in rows:
                yield {"id": row["id"], "worker": worker, **row}
            if len(rows) < PAGE:
                break
            after = rows[-1]["id"]
            await asyncio.sleep(0)


async def _closed(target: AdminTarget, request: Request) -> AsyncIterator[dict[str, Any]]:
    """The connections that ended last, the latest first."""
    found = []
    for worker in _workers(target, request):
        for answer in await target.describe("closed_connections", worker=worker):
            found += [{"id": row["id"], "worker": worker, **row} for row in answer.value]
    after = _number(request, "after", 0)
    for row in sorted(found, key=lambda row: str(row["ended"]), reverse=True):
        if row["id"] > after:
            yield row


async def connection(target: AdminTarget, request: Request) -> Response:
    found = await _find(target, request)

    def text(data: dict[str, Any]) -> Iterator[str]:
        for one in data["connections"]:
            title = f"connection {one['id']}" + (f" of worker {one['worker']}" if target.workers > 1 else "")
            yield from outline({title: {name: value for name, value in one.items() if name not in ("id", "worker")}})

    return await render(Content({"connections": found}, text), request)


async def close(target: AdminTarget, request: Request) -> Response:
    """End one connection. Where several workers have this number, the request has to say which."""
    found = [one for one in await _find(target, request) if one["state"] != "closed"]
    number = request.parameters[ID]
    if not found:
        raise HttpError(HTTPStatus.CONFLICT, f"connection {number} is closed already")
    if len(found) > 1:
        workers = " and ".join(str(one["worker"]) for one in found)
        raise HttpError(HTTPStatus.CONFLICT, f"there is a connection {number} in workers {workers}: add ?worker=")
    await target.change("close_connection", worker=found[0]["worker"], id=int(number))
    return Response(f"connection {number} is closed\n".encode())


async def _find(target: AdminTarget, request: Request) -> list[dict[str, Any]]:
    """All connections of this number, open ones first. Raises HttpError where there is none."""
    number = int(request.parameters[ID])
    worker = _number(request, "worker", -1)
    answers = await target.describe("connection", worker=worker if worker >= 0 else None, id=number)
    found = [{"id": number, "worker": answer.worker, **answer.value} for answer in answers if answer.value is not None]
    if not found:
        missed = "".join(missing(target, answers)) if worker < 0 else ""
        text = f"there is no connection {number}, neither open nor among the last that ended\n{missed}"
        raise HttpError(HTTPStatus.NOT_FOUND, text.rstrip())
    return sorted(found, key=lambda one: one["state"] == "closed")


def _workers(target: AdminTarget, request: Request) -> list[int]:
    wanted = _number(request, "worker", -1)
    return list(range(target.workers)) if wanted < 0 else [wanted]


def _number(request: Request, name: str, default: int) -> int:
    text = request.parameters.get(name)
    if text is None:
        return default
    if not NUMBER.fullmatch(text):
        raise HttpError(HTTPStatus.BAD_REQUEST, f"the parameter {name!r} is a number, not {text!r}")
    return int(text)
