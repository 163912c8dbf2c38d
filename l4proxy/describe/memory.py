"""Where the memory is: what the system says, what the garbage collector counts, what there is most of."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from l4proxy.process_stats import memory_bytes
from l4proxy.turns import in_turns

if TYPE_CHECKING:
    import tracemalloc

    from l4proxy.server import Server

__all__ = ["memory"]

CHUNK = 5000
"""Objects counted in one go: about half a millisecond."""
TOP = 20
"""How many types, and lines of code, are listed."""


async def memory(server: Server) -> dict[str, Any]:
    virtual, resident = memory_bytes()
    return {
        "resident_bytes": resident,
        "virtual_bytes": virtual,
        "connections": server.active,
        "garbage_collector": {
            "enabled": gc.isenabled(),
            "thresholds": list(gc.get_threshold()),
            "counts": list(gc.get_count()),
            "generations": gc.get_stats(),
            "frozen_objects": gc.get_freeze_count(),
        },
        "objects": await _objects(),
        "allocations": await _allocations(),
    }


async def _objects() -> dict[str, Any]:
    """What the garbage collector knows of: containers and instances, not the texts and numbers in them."""
    objects = gc.get_objects()
    counts: Counter[type[Any]] = Counter()
    async for begin in in_turns(range(0, len(objects), CHUNK)):
        counts.update(map(type, objects[begin : begin + CHUNK]))
    return {
        "total": len(objects),
        "types": [
            {"type": f"{cls.__module__}.{cls.__qualname__}", "count": count} for cls, count in counts.most_common(TOP)
        ],
    }


async def _allocations() -> list[dict[str, Any]]:
    """Lines of code by the memory allocated there that is still in use; empty unless Python traces allocations
    (``PYTHONTRACEMALLOC=1``)."""
    module = sys.modules.get("tracemalloc")
    if module is None or not module.is_tracing():
        return []
    statistics = await asyncio.to_thread(_statistics, module.take_snapshot())
    return [{"line": str(one.traceback), "bytes": one.size, "blocks": one.count} for one in statistics]


def _statistics(snapshot: tracemalloc.Snapshot) -> list[tracemalloc.Statistic]:
    return snapshot.statistics("lineno")[:TOP]
