"""Paths of routes, taken apart into segments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.plugins.http.route_config import Route

__all__ = ["path_segments"]

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")

Segments = tuple[tuple[str | None, ...] | None, tuple[str, ...], bool]


def path_segments(config: Route) -> Segments:
    """Segments (None: any), names of parameters, and whether more segments may follow. No segments at all (None) where
    the path is no matter of segments. Raises ValueError."""
    if config.path is not None:
        return tuple(config.path.split("/")[1:]) if config.path != "*" else None, (), False
    if config.prefix is not None:
        return tuple(config.prefix.rstrip("/").split("/")[1:]), (), True
    if config.pattern is None:
        return None, (), False
    names: list[str] = []
    segments: list[str | None] = []
    written = config.pattern.split("/")[1:]
    for at, segment in enumerate(written):
        found = _PARAMETER.fullmatch(segment)
        if found is None:
            if "{" in segment or "}" in segment:
                raise ValueError(f"pattern: {segment!r} is neither a segment nor a {{parameter}}")
            segments.append(segment)
            continue
        if found[1] in names:
            raise ValueError(f"pattern: there are two parameters {found[1]!r}")
        names.append(found[1])
        if found[2]:
            if at != len(written) - 1:
                raise ValueError(f"pattern: {segment!r} takes all that is left, so it has to be the last one")
            return tuple(segments), tuple(names), True
        segments.append(None)
    return tuple(segments), tuple(names), False
