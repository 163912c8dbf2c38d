"""The options of the HTTP inspector, and so of the observer filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from l4proxy.config.types import Range

__all__ = ["HttpWatchConfig"]


@dataclass(frozen=True, slots=True)
class HttpWatchConfig:
    max_paths: Annotated[int, Range(1)] = 1000
    """Paths that tables show, each of a host and method; all further ones are shown as one."""
    max_open: Annotated[int, Range(1)] = 1000
    """Requests of a connection without their response yet; one with more is no longer watched."""
