"""Screens as a picture, for a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from screen import Cell, Screen

__all__ = ["draw"]

WIDTH, HEIGHT = 8.4, 19
MARGIN = 16
FOREGROUND, BACKGROUND = "#d6d3cb", "#1c1f24"
COLOURS = {"31": "#e57b72", "32": "#93c47d", "33": "#e3c06c", "36": "#6fc3cf"}


def draw(path: Path, title: str, description: str, screens: Sequence[Screen]) -> None:
    """Write an SVG with one screen below the other."""
    columns = max(screen.columns for screen in screens)
    lines = sum(len(screen.rows) for screen in screens) + len(screens) - 1
    width, height = columns * WIDTH + 2 * MARGIN, lines * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img"',
        '     aria-labelledby="title description"',
        '     font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14">',
        f'  <title id="title">{escape(title)}</title>',
        f'  <desc id="description">{escape(description)}</desc>',
        f'  <rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    top = 0
    for number, screen in enumerate(screens):
        if number:
            y = MARGIN + (top + 0.5) * HEIGHT
            parts.append(f'  <path d="M{MARGIN} {y:.1f}H{width - MARGIN:.1f}" stroke="#4a4f58"/>')
            top += 1
        for row in screen.rows:
            parts += _row(row, MARGIN + top * HEIGHT)
            top += 1
    path.write_text("\n".join([*parts, "</svg>", ""]))


def _row(row: Sequence[Cell], y: float) -> list[str]:
    parts = []
    at = 0
    for style, cells in groupby(row, key=lambda cell: cell.style):
        text = "".join(cell.character for cell in cells)
        x, size = MARGIN + at * WIDTH, len(text) * WIDTH
        at += len(text)
        if style == "7":
            parts.append(f'  <rect x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{HEIGHT}" fill="{FOREGROUND}"/>')
        if shown := text.rstrip():
            indent = len(shown) - len(shown.lstrip())
            shown = shown.lstrip()
            parts.append(
                f'  <text x="{x + indent * WIDTH:.1f}" y="{y + 14:.1f}" textLength="{len(shown) * WIDTH:.1f}"'
                f' xml:space="preserve" {_looks(style)}>{escape(shown)}</text>'
            )
    return parts


def _looks(style: str) -> str:
    if style == "7":
        return f'fill="{BACKGROUND}"'
    if style == "1":
        return 'fill="#ffffff" font-weight="bold"'
    if style == "2":
        return 'fill="#8d8f94"'
    return f'fill="{COLOURS.get(style, FOREGROUND)}"'
