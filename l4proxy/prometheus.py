"""Snapshots as text: Prometheus' exposition format 0.0.4, and JSON.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from l4proxy.histograms import quantile
from l4proxy.snapshot import Family, Sample, Snapshot

__all__ = ["CONTENT_TYPE", "QUANTILES", "iter_prometheus", "label_text", "render_json", "render_prometheus"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
"""What JSON says of a histogram beside its buckets."""

_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render_prometheus(snapshot: Snapshot) -> str:
    """Everything, ready to be served as ``CONTENT_TYPE``."""
    return "".join(iter_prometheus(snapshot))


def iter_prometheus(snapshot: Snapshot) -> Iterator[str]:
    """The same line by line, for those who must not be kept busy for long."""
    for name, family in snapshot.items():
        yield f"# HELP {name} {family['help'].translate(_HELP_ESCAPES)}\n"
        yield f"# TYPE {name} {family['kind']}\n"
        for line in _histogram_lines(name, family) if family["kind"] == "histogram" else _number_lines(name, family):
            yield f"{line}\n"


def _number_lines(name: str, family: Family) -> Iterator[str]:
    for sample in family["samples"]:
        labels = label_text(family["labels"], sample["labels"])
        yield f"{name}{{{labels}}} {_number(sample['value'])}" if labels else f"{name} {_number(sample['value'])}"


def _histogram_lines(name: str, family: Family) -> Iterator[str]:
    buckets = [f'le="{_number(bound)}"}}' for bound in (*family["bounds"], math.inf)]
    for sample in family["samples"]:
        value = sample["value"]
        assert isinstance(value, dict)
        labels = label_text(family["labels"], sample["labels"])
        head = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
        counts = list(accumulate(value["counts"]))
        for bucket, count in zip(buckets, counts, strict=True):
            yield f"{head}{bucket} {count}"
        series = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{series} {_number(value['sum'])}"
        yield f"{name}_count{series} {counts[-1]}"


def label_text(names: list[str], values: list[str]) -> str:
    """``listener="web",reason="eof"``, escaped."""
    return ",".join([f'{name}="{value.translate(_LABEL_ESCAPES)}"' for name, value in zip(names, values, strict=True)])


_SPECIAL = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def _number(value: Any) -> str:
    text = repr(value)
    return _SPECIAL.get(text, text)


def render_json(snapshot: Snapshot) -> dict[str, Any]:
    """The same for people and scripts, to be given to ``json.dumps``: metrics by name, each a list of its series; a
    histogram also says its count and quantiles. Values that JSON has not (infinity, not a number) become null."""
    return {
        name: {
            "type": family["kind"],
            "help": family["help"],
            "series": [_json_series(family, sample) for sample in family["samples"]],
        }
        for name, family in snapshot.items()
    }


def _json_series(family: Family, sample: Sample) -> dict[str, Any]:
    labels = dict(zip(family["labels"], sample["labels"], strict=True))
    value = sample["value"]
    if not isinstance(value, dict):
        return {"labels": labels, "value": _finite(value)}
    bounds, counts = family["bounds"], value["counts"]
    return {
        "labels": labels,
        "count": sum(counts),
        "sum": _finite(value["sum"]),
        **{word: quantile(bounds, counts, fraction, value["sum"]) for word, fraction in QUANTILES.items()},
        "buckets": dict(zip((*map(_number, bounds), "+Inf"), accumulate(counts), strict=True)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
