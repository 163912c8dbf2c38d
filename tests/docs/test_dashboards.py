"""Dashboards and alert rules name metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from docs.test_operators import stats_classes
from source_tree import ROOT

DASHBOARDS = ROOT / "contrib" / "dashboards"
NAME = re.compile(r"\bl4proxy_\w+")
SELECTOR = re.compile(r"(l4proxy_\w+)\s*\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance", "le"}


@cache
def metrics() -> dict[str, set[str]]:
    """The labels of every metric; a histogram is three."""
    found: dict[str, set[str]] = {}
    for cls in stats_classes():
        for attribute, metric in cls.metrics.items():
            labels = {*cls.label_names, *([metric.label] if metric.label else [])}
            name = cls.full_name(attribute)
            for suffix in ("_bucket", "_count", "_sum") if metric.bounds else ("",):
                found[name + suffix] = labels
    return found


def expressions(path: Path) -> list[str]:
    if path.suffix == ".yml":
        return re.split(r"- alert: ", path.read_text())[1:]
    board: dict[str, Any] = json.loads(path.read_text())
    of_panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return of_panels + [one["definition"] for one in board["templating"]["list"] if one["type"] == "query"]


FILES = sorted(path for path in DASHBOARDS.iterdir() if path.suffix in (".json", ".yml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_metric_exists_and_has_these_labels(path: Path) -> None:
    found = expressions(path)
    assert len(found) > 10
    for expression in found:
        named = NAME.findall(expression)
        assert named, expression
        assert not [name for name in named if name not in metrics()], expression
        for name, selector in SELECTOR.findall(expression):
            assert set(re.findall(r"(\w+)\s*[=!]~?", selector)) <= metrics()[name] | OF_PROMETHEUS, expression
        known = set().union(*(metrics()[name] for name in named)) | OF_PROMETHEUS
        for grouping in GROUPING.findall(expression):
            assert {label.strip() for label in grouping.split(",")} <= known, expression


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    board = json.loads((DASHBOARDS / "kafka.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) == 23
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_file_is_on_the_page() -> None:
    page = (DASHBOARDS / "README.md").read_text()
    assert not [path.name for path in FILES if f"`{path.name}`" not in page]
