"""The options of the Redis inspector, and so of the observer filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from l4proxy.config.types import Duration, Range, Size

__all__ = ["RedisWatchConfig"]


@dataclass(frozen=True, slots=True)
class RedisWatchConfig:
    name: str = ""
    """Which Redis this is, where there are several: observers with the same name share what they know, and metrics are
    labelled with it."""
    hot_keys: Annotated[int, Range(0, 100_000)] = 1000
    """Keys whose uses are counted, to find those that are used most; 0: none are, and no prefixes either."""
    keys_per_second: Annotated[int, Range(0)] = 0
    """So many commands a second are looked at for their keys. Where there are more, each that is looked at stands for
    several; 0: all are looked at."""
    hot_window: Annotated[Duration, Range(1)] = Duration(60.0)
    """Hot keys are those of the last one to two of such times."""
    big_keys: Annotated[int, Range(0, 10_000)] = 100
    """So many of the keys with the longest commands or replies are remembered; 0: none."""
    big_from: Size = Size(10 * 1024)
    """What is shorter is not big."""
    prefix_end: str = ":"
    """Traffic is counted by what stands in front of the first of these in a key; empty: it is not."""
    slow_log: Duration = Duration(0.01)
    """Commands that take as long are remembered, unless they are such as wait; 0: none are."""
    slow_log_length: Annotated[int, Range(1, 10_000)] = 128
    """So many of them, the last ones."""
    forget_after: Duration = Duration(3600.0)
    """Clients that were not seen for this long have no metrics any more; 0: they always have."""
    max_in_flight: Annotated[int, Range(1)] = 100_000
    """Commands of a connection without their replies yet; one with more is no longer watched."""
