from __future__ import annotations

import asyncio
import time

from l4proxy.turns import SLICE, in_turns


def test_every_item_comes_in_order() -> None:
    async def main() -> list[int]:
        return [item async for item in in_turns(range(1000))]

    assert asyncio.run(main()) == list(range(1000))


def test_others_have_their_turn_whenever_a_slice_is_used_up() -> None:
    async def main() -> None:
        turns: list[int] = []
        now = 0

        async def other() -> None:
            while True:
                turns.append(now)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async for item in in_turns(range(5)):
            now = item
            end = time.monotonic() + SLICE * 1.1
            while time.monotonic() < end:
                pass
        task.cancel()
        assert {0, 1, 2, 3} <= set(turns)

    asyncio.run(main())
