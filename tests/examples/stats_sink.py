"""A stats sink: it gets all statistics at intervals, to push them to where they are kept."""

import asyncio
import sys
from dataclasses import dataclass

from l4proxy import PluginManager, Register, StatsSink, hookimpl, serve
from l4proxy.config.types import Duration
from l4proxy.snapshot import Snapshot

SEEN: list[int] = []


@dataclass(frozen=True, slots=True)
class CountConfig:
    interval: Duration = Duration(10.0)
    """How often."""


class Count(StatsSink[CountConfig]):
    """Count metrics."""

    name = "count"

    def __init__(self, config: CountConfig) -> None:
        super().__init__(config)
        self.interval = config.interval

    async def push(self, snapshot: Snapshot, previous: Snapshot) -> None:
        SEEN.append(len(snapshot))


@hookimpl
def register_stats_sinks(register: Register[type[Count]]) -> None:
    register(Count)


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "count")
    config = {
        "listeners": [{"address": "127.0.0.1:0", "filters": ["echo"]}],
        "stats_sinks": [{"use": "count", "interval": "10ms"}],
    }
    async with serve(config, plugins=plugins):
        while not SEEN:
            await asyncio.sleep(0.01)


def main() -> None:
    SEEN.clear()
    asyncio.run(run())
    assert SEEN[0] > 0


if __name__ == "__main__":
    main()
