from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

import l4proxy.logging_setup
from l4proxy.admin_target import Answer
from l4proxy.all_workers import AllWorkers
from l4proxy.control import ControlError
from l4proxy.snapshot import Snapshot
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram
from l4proxy.stats_registry import StatsRegistry


class JobStats(Stats, subsystem="job"):
    done_total = counter("Jobs.")
    open = gauge("Jobs at work.")
    job_seconds = histogram("How long.", buckets=SECONDS)


def snapshot(jobs: int) -> Snapshot:
    registry = StatsRegistry()
    stats = registry.group(JobStats)
    stats.done_total = stats.open = jobs
    for _ in range(jobs):
        stats.job_seconds.record(1)
    return {name: family for name, family in registry.snapshot().items() if "_job_" in name}


class FakeControl:
    def __init__(self, number: int) -> None:
        self.number = number
        self.answer: Any = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.told: list[dict[str, Any]] = []

    async def call(self, name: str, *, timeout: float, **arguments: Any) -> Any:
        self.asked.append((name, arguments))
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def tell(self, name: str, **arguments: Any) -> None:
        assert name == "change"
        self.told.append(arguments)


class FakeStore:
    closed = False

    def keep_only(self, used: set[int]) -> None:
        self.closed = not used


class FakeSlot:
    def __init__(self, number: int) -> None:
        self.number = number
        self.control: FakeControl | None = FakeControl(number)
        self.store = FakeStore()
        self.ready = asyncio.Event()
        self.ready.set()


class Workers:
    """All workers of a supervisor that is not there."""

    def __init__(self, count: int = 2) -> None:
        self.slots = [FakeSlot(number) for number in range(count)]
        self.registry = StatsRegistry()
        self.stopped: list[float | None] = []
        self.reloads = 0
        self.all = AllWorkers(cast(Any, self.slots), self.registry, reload=self.reload, stop=self.stopped.append)

    async def reload(self) -> None:
        self.reloads += 1

    def control(self, number: int) -> FakeControl:
        control = self.slots[number].control
        assert control is not None
        return control

    def say(self, *answers: Any) -> None:
        for number, answer in enumerate(answers):
            self.control(number).answer = answer

    def die(self, number: int) -> None:
        """As the supervisor sees it: the process is gone, then another one serves."""
        self.slots[number].control = None
        self.slots[number].ready.clear()
        self.all.died(cast(Any, self.slots[number]))
        self.slots[number].control = FakeControl(number)
        self.slots[number].ready.set()
        self.all.ready(cast(Any, self.slots[number]))

    async def value(self, name: str) -> Any:
        family = (await self.all.snapshot())[f"l4proxy_job_{name}"]
        (sample,) = family["samples"]
        return sample["value"]


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l4proxy.logging_setup, "_last_said", {})


@pytest.fixture
def workers() -> Workers:
    return Workers()


def test_all_are_asked(workers: Workers) -> None:
    async def main() -> None:
        workers.say("a", "b")
        assert await workers.all.describe("plugins") == [Answer(0, "a"), Answer(1, "b")]
        assert await workers.all.describe("connection", worker=1, id=7) == [Answer(1, "b")]
        assert await workers.all.describe("connection", worker=2, id=7) == []
        assert workers.control(0).asked == [("describe", {"what": "plugins"})]
        assert workers.control(1).asked[1] == ("describe", {"what": "connection", "id": 7})
        await workers.all.reload()
        workers.all.stop(0.0)
        assert (workers.reloads, workers.stopped, workers.all.workers) == (1, [0.0], 2)

    asyncio.run(main())


def test_who_does_not_answer_is_left_out(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        workers.say(ControlError("no answer"), "b")
        assert await workers.all.describe("plugins") == [Answer(1, "b")]
        workers.slots[1].ready.clear()
        assert await workers.all.describe("plugins") == []

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["worker 0: no answer (1 times)"]


def test_counts_never_go_backwards(workers: Workers) -> None:
    async def main() -> None:
        workers.say(snapshot(3), snapshot(4))
        assert (await workers.value("done_total"), await workers.value("open")) == (7, 7)
        workers.control(0).answer = ControlError("hangs")
        workers.control(1).answer = snapshot(5)
        assert await workers.value("done_total") == 8, "of who does not answer, what it said last"
        workers.die(0)
        workers.say(snapshot(0))
        assert (await workers.value("done_total"), await workers.value("open")) == (8, 5)
        workers.say(snapshot(2))
        assert sum((await workers.value("job_seconds"))["counts"]) == 10
        workers.die(0)
        workers.die(1)
        workers.say(snapshot(1), snapshot(1))
        assert (await workers.value("done_total"), await workers.value("open")) == (12, 2)

    asyncio.run(main())


def test_an_answer_of_a_worker_that_has_died_meanwhile_does_not_count_twice(workers: Workers) -> None:
    async def main() -> None:
        workers.say(snapshot(3), snapshot(4))
        assert await workers.value("done_total") == 7
        asking = asyncio.create_task(workers.all.snapshot())
        await asyncio.sleep(0)
        workers.die(0)
        workers.say(snapshot(0))
        await asking
        assert await workers.value("done_total") == 7

    asyncio.run(main())


def test_statistics_of_another_version_are_left_out(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        other = snapshot(4)
        other["l4proxy_job_job_seconds"]["bounds"] = [1.0]
        workers.say(snapshot(3), other)
        assert await workers.value("done_total") == 3

    asyncio.run(main())
    assert "the statistics of a worker are left out: l4proxy_job_job_seconds" in caplog.text


def test_a_new_worker_is_told_what_was_changed(workers: Workers) -> None:
    logger = logging.getLogger("l4proxy.filter.told")

    async def main() -> None:
        await workers.all.change("set_log_level", logger="l4proxy.filter.told", level="debug")
        await workers.all.change("set_health", ready=False)
        await workers.all.change("set_health", ready=True)
        await workers.all.change("set_log_level", logger="l4proxy.filter.told", level="error")
        await workers.all.change("reopen_logs")
        assert len(workers.control(0).asked) == 5
        workers.die(0)
        assert workers.control(0).told == [
            {"what": "set_health", "ready": True},
            {"what": "set_log_level", "logger": "l4proxy.filter.told", "level": "error"},
        ]
        assert logger.level == logging.ERROR, "the supervisor has loggers, too"

    try:
        asyncio.run(main())
    finally:
        logger.setLevel(logging.NOTSET)


def test_the_state(workers: Workers) -> None:
    async def main() -> None:
        assert workers.all.state == "LIVE"
        await workers.all.change("set_health", ready=False)
        assert workers.all.state == "DRAINING"
        await workers.all.change("set_health", ready=True)
        workers.slots[0].ready.clear()
        assert workers.all.state == "LIVE"
        workers.slots[1].ready.clear()
        assert workers.all.state == "INITIALIZING"
        await workers.all.change("drain_listeners")
        assert (workers.all.state, workers.all.draining) == ("DRAINING", True)
        assert all(slot.store.closed for slot in workers.slots)

    asyncio.run(main())
