"""The pages about the process: what runs, with which configuration, plugins, certificates and log levels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from l4proxy.admin.content import Column, Content, human_bytes, human_seconds, json_pieces, outline, records, render
from l4proxy.admin.http import Request, Response
from l4proxy.admin.workers import by_worker, missing, same_or_each

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["certs", "config_dump", "logging", "memory", "plugins", "ready", "server_info"]

WORKERS: Mapping[str, Column] = {
    "worker": "worker",
    "pid": "pid",
    "state": "state",
    "up": lambda one: human_seconds(one["uptime_seconds"]),
    "connections": "connections",
    "limit": "max_connections",
    "earlier configurations": "earlier_configurations",
    "python": "python",
    "event loop": "event_loop",
}
CERTIFICATES: Mapping[str, Column] = {
    "used by": "used_by",
    "names": "names",
    "subject": "subject",
    "issuer": "issuer",
    "valid until": "valid_until",
    "days left": "days_left",
    "serial": "serial",
    "file": "path",
}
PLUGINS: Mapping[str, Column] = {
    "plugin": "name",
    "loaded": "loaded",
    "package": "distribution",
    "version": "version",
    "registers": "registered",
    "source": "source",
    "problem": "problem",
}
TYPES: Mapping[str, Column] = {"type": "type", "objects": "count"}
ALLOCATIONS: Mapping[str, Column] = {
    "allocated at": "line",
    "size": lambda one: human_bytes(one["bytes"]),
    "blocks": "blocks",
}


async def ready(target: AdminTarget, request: Request) -> Response:
    """For probes. Asks no worker, so that it is quick also when one hangs."""
    status = HTTPStatus.OK if target.state == "LIVE" else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(f"{target.state}\n".encode(), status)


async def server_info(target: AdminTarget, request: Request) -> Response:
    answers = await target.describe("server_info")
    workers = by_worker(answers)
    data = {
        "version": next((one["version"] for one in workers), ""),
        "state": target.state,
        "uptime_seconds": max((one["uptime_seconds"] for one in workers), default=0),
        "connections": sum(one["connections"] for one in workers),
        "workers": workers,
    }

    def text(data: dict[str, Any]) -> Iterator[str]:
        up, connections = human_seconds(data["uptime_seconds"]), data["connections"]
        yield f"l4proxy {data['version']}: {data['state']}, up {up}, {connections} connections\n\n"
        yield from records(WORKERS, data["workers"])
        yield from missing(target, answers)

    return await render(Content(data, text), request)


async def certs(target: AdminTarget, request: Request) -> Response:
    return await _agreed_table("certs", "certificates", CERTIFICATES, target, request)


async def plugins(target: AdminTarget, request: Request) -> Response:
    return await _agreed_table("plugins", "plugins", PLUGINS, target, request)


async def _agreed_table(
    what: str, name: str, columns: Mapping[str, Column], target: AdminTarget, request: Request
) -> Response:
    """A table that is the same in all workers, or one of each."""
    answers = await target.describe(what)

    def text(data: dict[str, Any]) -> Iterator[str]:
        tables: Iterable[Any] = data[name].values() if isinstance(data[name], dict) else [data[name] or []]
        for rows in tables:
            yield from records(columns, rows)
        yield from missing(target, answers)

    return await render(Content({name: same_or_each(answers)}, text), request)


async def config_dump(target: AdminTarget, request: Request) -> Response:
    """JSON in both forms: it is what a configuration file could say."""
    return await render(Content(same_or_each(await target.describe("config_dump")), json_pieces), request)


async def logging(target: AdminTarget, request: Request) -> Response:
    levels = same_or_each(await target.describe("logging"))
    return await render(Content({"loggers": levels}, lambda data: outline(data["loggers"] or {})), request)


async def memory(target: AdminTarget, request: Request) -> Response:
    answers = await target.describe("memory")

    def text(data: dict[str, Any]) -> Iterator[str]:
        for one in data["workers"]:
            yield from _memory_lines(one)
        yield from missing(target, answers)

    return await render(Content({"workers": by_worker(answers)}, text), request)


def _memory_lines(one: dict[str, Any]) -> Iterator[str]:
    collector = one["garbage_collector"]
    about = {
        "resident": human_bytes(one["resident_bytes"]),
        "virtual": human_bytes(one["virtual_bytes"]),
        "connections": one["connections"],
        "garbage collector": "on" if collector["enabled"] else "off",
        "thresholds": collector["thresholds"],
        "counts": collector["counts"],
        "collections": [generation["collections"] for generation in collector["generations"]],
        "uncollectable": sum(generation["uncollectable"] for generation in collector["generations"]),
        "frozen objects": collector["frozen_objects"],
        "other objects": one["objects"]["total"],
    }
    yield from outline({f"worker {one['worker']}": about})
    yield from records(TYPES, one["objects"]["types"], "  ")
    if one["allocations"]:
        yield from records(ALLOCATIONS, one["allocations"], "  ")
    yield "\n"
