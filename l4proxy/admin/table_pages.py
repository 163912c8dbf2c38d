"""The page of the tables that filters have."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from l4proxy.admin.content import Content, human_bytes, human_seconds, render, table
from l4proxy.admin.http import HttpError, Request, Response
from l4proxy.admin.workers import missing
from l4proxy.describe.times import utc_seconds

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["PARAMETERS", "tables"]

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
PARAMETERS = {
    "filter": "only those of filters of this name",
    "table": "only those of this name",
    "limit": f"how many rows to show of each ({DEFAULT_LIMIT})",
}


async def tables(target: AdminTarget, request: Request) -> Response:
    """Each worker knows only what has passed through itself."""
    limit = request.parameters.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and int(limit[:6]) <= MAX_LIMIT):
        raise HttpError(HTTPStatus.BAD_REQUEST, f"limit is not a number up to {MAX_LIMIT}: {limit!r}")
    by_filter, by_name = request.parameters.get("filter", ""), request.parameters.get("table", "")
    answers = await target.describe("tables", filter=by_filter, table=by_name, limit=int(limit))
    found = [{"worker": answer.worker, **one} for answer in answers for one in answer.value]

    def text(data: dict[str, Any]) -> Iterator[str]:
        for one in data["tables"]:
            where = f"worker {one['worker']}, " if target.workers > 1 else ""
            yield f"{one['filter']}: {one['table']} ({where}{len(one['rows'])} of {one['rows_total']})\n"
            rows = ([_cell(kind, value) for kind, value in zip(one["kinds"], row, strict=True)] for row in one["rows"])
            yield from table(one["columns"], rows, "  ")
            yield "\n"
        yield from missing(target, answers)

    return await render(Content({"tables": found}, text), request)


def _cell(kind: str, value: Any) -> str | int:
    if value is None or isinstance(value, str):
        return value or ""
    match kind:
        case "bytes":
            return human_bytes(int(value))
        case "seconds":
            return human_seconds(value) if value >= 1 else f"{value * 1000:.3g} ms"
        case "ratio":
            return f"{value:.1%}"
        case "time":
            return str(utc_seconds(value))
    return value if isinstance(value, int) else f"{value:.2f}"
