"""Long work in the event loop, in short pieces: connections must not wait while a page about all of them is made.

A thread would not do: it takes the interpreter's lock for five milliseconds at a time, and the loop gives the lock up
at every system call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

__all__ = ["SLICE", "in_turns"]

T = TypeVar("T")

SLICE = 0.002
"""Seconds of work after which the connections have their turn."""


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with a loop turn for everybody else whenever ``SLICE`` is used up."""
    deadline = time.monotonic() + SLICE
    for item in items:
        yield item
        if time.monotonic() > deadline:
            await asyncio.sleep(0)
            deadline = time.monotonic() + SLICE
