"""Draw panels of the dashboard as Grafana would lay them out, from what a Prometheus has: a picture for a page.

    python contrib/dashboards/picture.py http://127.0.0.1:9090 --minutes 5 contrib/pictures/kafka-dashboard.svg

Queries, titles, units and legends are those of ``kafka.json``, asked of Prometheus as Grafana asks them. Only lines and
numbers are drawn here, because there is no Grafana in any package registry.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.parse
import urllib.request
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

BOARD = Path(__file__).with_name("kafka.json")
SHOWN = (
    "Produced records", "Fetched records", "Requests", "Errors", "Lag of all groups", "Requests in flight",
    "Records produced, by topic", "Lag, by group",
    "Requests, by API", "Errors, by API and code",
    "Latency of Produce", "Rebalances, by reason", "Batches, by compression codec",
)  # fmt: skip
"""Panels by their titles; rows are filled with them as they fit."""
POINTS = 110
COLUMNS = 24
UNIT, ROW, GAP = 50, 30, 8
"""Pixels of a column and of a row of the grid, and between panels."""
LEGEND = 5
"""Series that are named below a panel; the others only have lines."""
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#5ac8c8", "#c4a484", "#a0a7b4", "#e0b4ff")
BACKGROUND, PANEL, LINE, TEXT, FAINT = "#111217", "#181b1f", "#2c3038", "#ccccdc", "#8e8e9c"
SUFFIX = {"cps": " c/s", "reqps": " req/s", "Bps": "B/s", "bytes": "B", "s": "s"}


class Series(NamedTuple):
    name: str
    points: list[tuple[float, float]]


class Source:
    """A Prometheus, and the time that is looked at."""

    def __init__(self, url: str, begin: float, end: float, interval: str) -> None:
        self._url = url.rstrip("/")
        self.begin, self.end = begin, end
        self._interval = interval

    def series(self, target: dict[str, Any]) -> list[Series]:
        """What a target of a panel shows."""
        query = target["expr"].replace("$__rate_interval", self._interval)
        for variable in ("$job", "$topic", "$group"):
            query = query.replace(variable, ".*")
        step = (self.end - self.begin) / POINTS
        words = urllib.parse.urlencode({"query": query, "start": self.begin, "end": self.end, "step": step})
        with urllib.request.urlopen(f"{self._url}/api/v1/query_range?{words}") as answer:
            found = json.load(answer)["data"]["result"]
        return [
            Series(
                _legend(target.get("legendFormat", ""), one["metric"]),
                [(at, float(value)) for at, value in one["values"] if value != "NaN"],
            )
            for one in found
        ]


def _legend(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _amount(value: float, unit: str) -> str:
    """A number as people read it: 1.2 K, 3 ms."""
    if unit == "s":
        for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if value >= size or name == "µs":
                return f"{value / size:.3g} {name}" if value else "0"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "K"), (1.0, "")):
        if value >= size:
            return f"{value / size:.3g}{' ' if unit in ('Bps', 'bytes') else ''}{prefix}{SUFFIX.get(unit, '')}".strip()
    return f"{value:.2g}{SUFFIX.get(unit, '')}" if value else "0"


def _step(highest: float) -> float:
    """Between two lines of a scale with about four of them."""
    step = 10.0 ** (len(str(int(highest * 1e9))) - 10)
    while highest / step > 4:
        step *= 2.5 if str(step).strip("0.").startswith("2") else 2
    return step


def draw(board: dict[str, Any], source: Source) -> str:
    panels = {panel["title"]: panel for panel in board["panels"] if panel["type"] != "row"}
    parts: list[str] = []
    x = y = height = 0
    for title in SHOWN:
        place = panels[title]["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y = 0, y + height
        if not x:
            height = place["h"]  # panels of a row are equally high
        box = (x * UNIT + GAP, y * ROW + GAP, place["w"] * UNIT - GAP, height * ROW - GAP)
        parts += _panel(panels[title], source, *box)
        x += place["w"]
    size = COLUMNS * UNIT + GAP, (y + height) * ROW + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" role="img"'
        ' aria-labelledby="title" font-family="Inter, Helvetica, Arial, sans-serif" font-size="12">'
    )
    title = f'<title id="title">{escape(board["title"])}: panels of the dashboard</title>'
    return "\n".join([head, title, f'<rect width="100%" height="100%" fill="{BACKGROUND}"/>', *parts, "</svg>", ""])


def _panel(panel: dict[str, Any], source: Source, x: int, y: int, width: int, height: int) -> list[str]:
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    found = [one for target in panel["targets"] for one in source.series(target) if one.points]
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{PANEL}" stroke="{LINE}"/>',
        f'<text x="{x + 10}" y="{y + 19}" fill="{TEXT}" font-weight="600">{escape(panel["title"])}</text>',
    ]
    if panel["type"] == "stat":
        last = found[0].points[-1][1] if found else 0.0
        text = _amount(last, unit)
        middle = x + width / 2
        return [
            *parts,
            f'<text x="{middle}" y="{y + 78}" fill="{PALETTE[0]}" font-size="34" text-anchor="middle">{text}</text>',
        ]
    return parts + _lines(found, source, unit, x, y, width, height)


def _lines(found: list[Series], source: Source, unit: str, x: int, y: int, width: int, height: int) -> list[str]:
    left, right, top, bottom = x + 62, x + width - 14, y + 34, y + height - 46
    highest = max([value for one in found for _, value in one.points], default=0) or 1.0
    step = _step(highest)
    scale = (bottom - top) / (step * (int(highest / step) + 1))
    parts = []
    for tick in range(int(highest / step) + 2):
        at = bottom - tick * step * scale
        parts.append(f'<path d="M{left} {at:.1f}H{right}" stroke="{LINE}"/>')
        text = _amount(tick * step, unit)
        parts.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" fill="{FAINT}" font-size="11" text-anchor="end">{text}</text>'
        )
    span = source.end - source.begin
    labels = 4 if width > 500 else 2
    for part in range(labels + 1):
        text = time.strftime("%H:%M:%S", time.gmtime(source.begin + span * part / labels))
        at = left + (right - left) * part / labels
        anchor = "start" if not part else "end" if part == labels else "middle"
        parts.append(
            f'<text x="{at:.0f}" y="{bottom + 15}" fill="{FAINT}" font-size="11" text-anchor="{anchor}">{text}</text>'
        )
    found = sorted(found, key=lambda one: -max(value for _, value in one.points))
    legend = left
    for one, colour in zip(found, PALETTE, strict=False):
        path = "L".join(
            f"{left + (right - left) * (at - source.begin) / span:.1f} {bottom - value * scale:.1f}"
            for at, value in one.points
        )
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>')
    for one, colour in list(zip(found, PALETTE, strict=False))[:LEGEND]:
        needed = 24 + 6.6 * len(one.name)
        if legend + needed > right:
            break
        parts.append(f'<path d="M{legend:.0f} {bottom + 32}h12" stroke="{colour}" stroke-width="3"/>')
        parts.append(
            f'<text x="{legend + 17:.0f}" y="{bottom + 36}" fill="{TEXT}" font-size="11">{escape(one.name)}</text>'
        )
        legend += int(needed)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus", help="its address: http://127.0.0.1:9090")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--minutes", type=float, default=5, help="of the past to be shown (5)")
    parser.add_argument("--end", type=float, default=0, help="when that ends, in seconds since the epoch (now)")
    parser.add_argument("--interval", default="20s", help="over which rates are taken: four scrapes or more (20s)")
    arguments = parser.parse_args()
    end = arguments.end or time.time()
    source = Source(arguments.prometheus, end - 60 * arguments.minutes, end, arguments.interval)
    arguments.picture.write_text(draw(json.loads(BOARD.read_text()), source))


if __name__ == "__main__":
    main()
