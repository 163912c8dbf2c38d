"""What several commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from l4proxy.terminal import BOLD, painter

__all__ = ["print_json", "print_table"]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    colour = painter(sys.stdout)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for at, row in enumerate([header, *rows]):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        print(line if at else colour(line, BOLD))
