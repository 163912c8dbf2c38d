"""Statistics: for people, as JSON, and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from l4proxy.admin.content import joined, json_response, wants_json
from l4proxy.admin.http import Request, Response
from l4proxy.admin.pattern import compile_filter, found_in
from l4proxy.histograms import quantile
from l4proxy.prometheus import CONTENT_TYPE, QUANTILES, iter_prometheus, label_text, render_json
from l4proxy.snapshot import Family, Sample, Snapshot
from l4proxy.terminal import printable
from l4proxy.turns import in_turns

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget

__all__ = ["PARAMETERS", "prometheus", "stats"]

PARAMETERS = {
    "filter": "a regular expression; only the series whose name{labels} it is found in",
    "usedonly": "leave out what is 0",
    "format": "text, json or prometheus",
}


async def stats(target: AdminTarget, request: Request) -> Response:
    if request.parameters.get("format") == "prometheus":
        return await prometheus(target, request)
    chosen = await _chosen(await target.snapshot(), request)
    if not wants_json(request):
        return Response(await joined(_lines(chosen)))
    data: dict[str, Any] = {}
    async for name, family in in_turns(chosen.items()):
        data |= render_json({name: family})
    return await json_response(data)


async def prometheus(target: AdminTarget, request: Request) -> Response:
    chosen = await _chosen(await target.snapshot(), request)
    return Response(await joined(iter_prometheus(chosen)), content_type=CONTENT_TYPE)


async def _chosen(snapshot: Snapshot, request: Request) -> Snapshot:
    """The series that the request wants to see."""
    pattern = compile_filter(request.parameters.get("filter", ""))
    used_only = "usedonly" in request.parameters
    if not pattern.pattern and not used_only:
        return snapshot
    chosen: Snapshot = {}
    for name, family in snapshot.items():
        samples = [
            sample
            async for sample in in_turns(family["samples"])
            if (not used_only or _is_used(sample)) and found_in(pattern, _series(name, family, sample))
        ]
        if samples:
            chosen[name] = {**family, "samples": samples}
    return chosen


def _is_used(sample: Sample) -> bool:
    value = sample["value"]
    return any(value["counts"]) if isinstance(value, dict) else bool(value)


def _series(name: str, family: Family, sample: Sample) -> str:
    labels = label_text(family["labels"], sample["labels"])
    return f"{name}{{{labels}}}" if labels else name


def _lines(snapshot: Snapshot) -> Iterator[str]:
    """A series a line, ``name{labels}: value``; of a distribution its count, mean and quantiles."""
    for name, family in snapshot.items():
        for sample in family["samples"]:
            yield f"{printable(_series(name, family, sample))}: {_value(family, sample)}\n"


def _value(family: Family, sample: Sample) -> str:
    value = sample["value"]
    if not isinstance(value, dict):
        return f"{value:.6g}" if abs(value) < 1e6 and value % 1 else f"{value:.0f}"
    count = sum(value["counts"])
    if not count:
        return "no values"
    bounds, counts, total = family["bounds"], value["counts"], value["sum"]
    quantiles = ((word, quantile(bounds, counts, part, total)) for word, part in QUANTILES.items())
    shown = " ".join(f"{word}={number:.4g}" for word, number in quantiles if number is not None)
    return f"count={count} mean={value['sum'] / count:.4g} {shown}"
