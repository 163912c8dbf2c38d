from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.plugins.fair_bucket import QUANTUM, FairBucket, Flow
from l4proxy.testing.memory import ManualLoop
from l4proxy.timers import TICK, Timers


class World:
    """A clock, and a bucket by it."""

    def __init__(self, rate: float, burst: float) -> None:
        self.loop = ManualLoop()
        self.bucket = FairBucket(rate, burst, Timers(self.loop), self.loop.time)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.loop.now += TICK
            self.loop.run_ready()


class Taker(Flow):
    """Takes chunks of a size, as many as it is allowed to, up to ``wants`` in all."""

    def __init__(self, bucket: FairBucket, chunk: int, wants: float = float("inf")) -> None:
        super().__init__()
        self.bucket = bucket
        self.chunk = chunk
        self.wants = wants
        self.taken = 0
        self._rest = 0

    def more(self) -> None:
        while self.taken < self.wants:
            wanted = self._rest or int(min(self.chunk, self.wants - self.taken))
            taken = self.bucket.take(self, wanted)
            self.taken += taken
            self._rest = wanted - taken
            if self._rest:
                return


def test_a_full_bucket_is_there_at_once_and_no_more() -> None:
    with World(rate=1000, burst=500) as world:
        taker = Taker(world.bucket, 100)
        taker.more()
        assert taker.taken == 500


@pytest.mark.parametrize("rate", [7, 100, 12_345, 10**6, 10**9])
@pytest.mark.parametrize("chunk", [1, 1500, 1 << 18])
def test_over_time_the_rate_is_exact(rate: int, chunk: int) -> None:
    with World(rate, burst=rate / 4) as world:
        taker = Taker(world.bucket, max(chunk, rate // 1000))
        taker.more()
        for second in range(1, 6):
            world.advance(1)
            assert rate * (second + 0.1) - 1 <= taker.taken <= rate * (second + 0.25)


@pytest.mark.parametrize("chunks", [(1 << 18, 1 << 18), (1 << 18, 1 << 14), (100, 1 << 18, 1 << 14)])
def test_those_who_always_want_more_get_the_same(chunks: tuple[int, ...]) -> None:
    rate = 10**6
    with World(rate, burst=rate / 4) as world:
        takers = [Taker(world.bucket, chunk) for chunk in chunks]
        for taker in takers:
            taker.more()
        before = [taker.taken for taker in takers]
        world.advance(10)
        shares = [taker.taken - had for taker, had in zip(takers, before, strict=True)]
        assert max(shares) - min(shares) <= 0.03 * rate
        assert sum(shares) == pytest.approx(10 * rate, rel=0.03)


def test_what_others_do_not_use_is_not_lost() -> None:
    rate = 10**6
    with World(rate, burst=rate / 4) as world:
        greedy, modest = Taker(world.bucket, 1 << 16), Taker(world.bucket, 1000)
        modest.wants = 0
        greedy.more()
        for _ in range(100):
            modest.wants += 1000
            modest.more()
            world.advance(0.1)
        assert modest.taken >= 98 * 1000, "it wants less than its share, and gets that"
        assert greedy.taken + modest.taken == pytest.approx(10.25 * rate, rel=0.03)


def test_many_at_a_low_rate_take_turns() -> None:
    with World(rate=10 * QUANTUM, burst=2 * QUANTUM) as world:
        takers = [Taker(world.bucket, 1 << 16) for _ in range(50)]
        for taker in takers:
            taker.more()
        world.advance(40)
        shares = [taker.taken for taker in takers[1:]]
        assert max(shares) - min(shares) <= 3 * QUANTUM
        assert sum(taker.taken for taker in takers) == pytest.approx(402 * QUANTUM, rel=0.03)


def test_who_has_left_gets_nothing_and_gives_back_what_it_had() -> None:
    with World(rate=1000, burst=1000) as world:
        gone, stays = Taker(world.bucket, 10_000), Taker(world.bucket, 10_000)
        gone.more()
        stays.more()
        assert world.bucket.waiting == 2
        world.advance(0.2)
        world.bucket.leave(gone)
        had = gone.taken
        world.advance(5)
        assert gone.taken == had
        assert gone.taken + stays.taken == pytest.approx(6200, abs=200)


def test_who_leaves_while_credit_is_dealt_out_is_not_called() -> None:
    class Leaves(Taker):
        other: Flow

        def more(self) -> None:
            super().more()
            if self.credit == 0 and self.taken > 1000:
                self.bucket.leave(self.other)

    with World(rate=1000, burst=1000) as world:
        first, second = Leaves(world.bucket, 10_000), Taker(world.bucket, 10_000)
        first.other = second
        first.more()
        second.more()
        world.advance(2)
        assert second.taken == 0


def test_without_takers_there_is_no_timer() -> None:
    with World(rate=1000, burst=1000) as world:
        taker = Taker(world.bucket, 100, wants=1500)
        taker.more()
        world.advance(2)
        assert taker.taken == 1500
        assert world.bucket._timer is None
        assert world.bucket.waiting == 0


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([50, 5_000, 10**6]))
def test_never_more_than_the_bucket_and_what_was_added(seed: int, count: int, rate: int) -> None:
    chance = random.Random(seed)
    with World(rate, burst=max(1, rate / 4)) as world:
        takers = [Taker(world.bucket, chance.choice([1, 100, 10_000]), wants=0) for _ in range(count)]
        gone = 0
        for tick in range(30):
            taker = chance.choice(takers)
            if chance.random() < 0.1:
                world.bucket.leave(taker)
                gone += taker.taken
                takers.remove(taker)
                takers.append(taker := Taker(world.bucket, 100, wants=0))
            taker.wants += chance.choice([0, 10, 1000, 20_000])
            if taker not in world.bucket._waiting:
                taker.more()
            assert gone + sum(one.taken for one in takers) <= world.bucket._burst + rate * tick * TICK + 1
            world.advance(TICK)
