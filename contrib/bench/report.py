"""The same figures twice: a table for people, JSON for programs.

The table shows medians, and beside every figure that is compared its range over the rounds. Under it stands what makes
a figure doubtful; a ratio without such a note was much the same in every round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from case import Column
from rounds import Outcome, Spread

__all__ = ["as_json", "as_text", "doubts", "write_json"]

DRIFT = 0.15
"""A ratio whose range is wider than this share of its median is called unsteady."""
KEPT_WAITING = 5.0
"""Percent of the time for which a proxy may have waited for its core."""
SATURATED = 95.0
"""Percent of a core above which load and upstream may be what limits the rate."""
SATURATED_PROXY = 90.0
"""Percent of its core below which a proxy was not the limit."""


def as_text(outcome: Outcome) -> str:
    """The table of one case."""
    case = outcome.case
    lines = [f"{case.name}: {case.title}"]
    if outcome.samples:
        rows = [_header(outcome), *(_row(outcome, peer) for peer in outcome.samples)]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines += [_aligned(row, widths) for row in rows]
    lines += [f"  ! {doubt}" for doubt in doubts(outcome)]
    lines += [f"  - {peer}: left out: {reason}" for peer, reason in outcome.failed.items()]
    return "\n".join(lines)


def _header(outcome: Outcome) -> list[str]:
    cells = [""]
    for column in outcome.case.columns:
        cells.append(column.title)
        if column.compare:
            sign = "x" if column.compare == "ratio" else "-"
            cells += ["min..max", f"{sign} {outcome.against}", "min..max"]
    return cells


def _row(outcome: Outcome, peer: str) -> list[str]:
    cells = [peer]
    for column in outcome.case.columns:
        spread = outcome.spread(peer, column)
        cells.append(f"{spread.median:.{column.digits}f}")
        if column.compare:
            cells.append(_range(spread, column.digits))
            compared = outcome.comparison(peer, column)
            cells += [f"{compared.median:.2f}", _range(compared, 2)] if compared else ["", ""]
    return cells


def _range(spread: Spread, digits: int) -> str:
    return f"{spread.min:.{digits}f}..{spread.max:.{digits}f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  " + "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def doubts(outcome: Outcome) -> Iterator[str]:
    """Why somebody should not trust a figure of this outcome."""
    unsteady = [
        f"{peer} {column.title}"
        for peer in outcome.samples
        for column in outcome.case.columns
        if column.compare == "ratio" and _drifted(outcome.comparison(peer, column))
    ]
    if unsteady:
        yield f"unsteady, ratios over more than {DRIFT:.0%} of their median: {', '.join(unsteady)}"
    waits = {peer: max(sample.get("waited", 0.0) for sample in samples) for peer, samples in outcome.samples.items()}
    waiting = [f"{peer} {worst:.0f} %" for peer, worst in waits.items() if worst > KEPT_WAITING]
    if waiting:
        yield f"something else ran on the proxy's core, which it waited for in its worst round: {', '.join(waiting)}"
    limited = [peer for peer in outcome.samples if _limited_by_load(outcome, peer)]
    if limited:
        yield f"the rate (not the cost) is that of load and upstream, which had no time left: {', '.join(limited)}"


def _drifted(ratio: Spread | None) -> bool:
    return ratio is not None and ratio.max - ratio.min > DRIFT * ratio.median


def _limited_by_load(outcome: Outcome, peer: str) -> bool:
    if not any(column.key == "load_busy" for column in outcome.case.columns):
        return False
    load, proxy = (outcome.spread(peer, Column(key, "")).median for key in ("load_busy", "busy"))
    return load > SATURATED and proxy < SATURATED_PROXY


def as_json(outcome: Outcome) -> dict[str, object]:
    """One case: every sample, and what the table shows of them."""
    peers: dict[str, object] = {}
    for peer, samples in outcome.samples.items():
        summary: dict[str, dict[str, object]] = {}
        for column in outcome.case.columns:
            compared = outcome.comparison(peer, column) if column.compare else None
            summary[column.key] = asdict(outcome.spread(peer, column))
            if compared:
                summary[column.key][column.compare] = asdict(compared)
        peers[peer] = {"summary": summary, "samples": samples}
    return {
        "name": outcome.case.name,
        "title": outcome.case.title,
        "columns": {column.key: column.title for column in outcome.case.columns},
        "against": outcome.against,
        "peers": peers,
        "failed": outcome.failed,
        "doubts": list(doubts(outcome)),
    }


def write_json(file: Path, head: Mapping[str, object], outcomes: Sequence[Outcome]) -> None:
    report = dict(head) | {"cases": [as_json(outcome) for outcome in outcomes]}
    file.write_text(json.dumps(report, indent=2) + "\n")
