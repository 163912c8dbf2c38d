from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import l4proxy.logging_setup
from clusters import run, until
from l4proxy import NoConfig, Register, StatsSink, hookimpl, serve
from l4proxy.config.types import Use
from l4proxy.errors import ConfigError
from l4proxy.plugin_manager import load_plugins
from l4proxy.snapshot import Snapshot, increase
from l4proxy.stats import Stats, counter
from l4proxy.stats_push import StatsPush, StatsSinkStats
from l4proxy.stats_registry import StatsRegistry


class JobStats(Stats, subsystem="job"):
    done_total = counter("Jobs.")


@dataclass(frozen=True, slots=True)
class TallyConfig:
    label: str = ""
    fails: bool = False
    hangs: bool = False

    def __post_init__(self) -> None:
        if self.label == "refused":
            raise ValueError("label: not this one")


class Tally(StatsSink[TallyConfig]):
    """Keeps how many jobs each push brought."""

    name = "tally"
    interval = 0.01
    made: list[Tally]

    def __init__(self, config: TallyConfig) -> None:
        super().__init__(config)
        if config.label == "impossible":
            raise ValueError("there is nothing to tally")
        self.pushed: list[float] = []
        self.closed = 0
        self.made.append(self)

    async def push(self, snapshot: Snapshot, previous: Snapshot) -> None:
        if self.config.hangs:
            await asyncio.Event().wait()
        if self.config.fails and len(self.made) == 1 and not self.pushed:
            self.pushed.append(-1)
            raise OSError(111, "Connection refused")
        (sample,) = increase(snapshot, previous)["l4proxy_job_done_total"]["samples"]
        assert not isinstance(sample["value"], dict)
        self.pushed.append(sample["value"])

    def close(self) -> None:
        self.closed += 1

    @property
    def total(self) -> float:
        return sum(number for number in self.pushed if number > 0)


@pytest.fixture(autouse=True)
def from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Tally.made = []
    monkeypatch.setattr(l4proxy.logging_setup, "_last_said", {})


class Pusher:
    def __init__(self) -> None:
        self.registry = StatsRegistry()
        self.jobs = self.registry.group(JobStats)
        self.push = StatsPush(self.snapshot, self.registry)
        self.stats = self.registry.group(StatsSinkStats, sink="tally")

    async def snapshot(self) -> Snapshot:
        return self.registry.snapshot()

    def configure(self, *configs: TallyConfig) -> None:
        self.push.switch(self.push.prepare([Use("tally", config, cls=Tally) for config in configs]))


def test_every_push_brings_what_is_new() -> None:
    async def main() -> None:
        pusher = Pusher()
        pusher.configure(TallyConfig())
        pusher.jobs.done_total += 5
        pusher.push.start()
        (sink,) = Tally.made
        await until(lambda: sink.pushed)
        assert sink.pushed[0] == 5, "what was counted before the start belongs to the first push"
        pusher.jobs.done_total += 2
        await until(lambda: sink.total == 7)
        pusher.jobs.done_total += 1
        await pusher.push.close()
        assert (sink.total, sink.closed) == (8, 1), "nothing is lost at the end"
        assert pusher.stats.pushes_total == len(sink.pushed)
        assert pusher.stats.push_seconds.count == len(sink.pushed)

    run(main)


def test_a_reload_leaves_alone_what_it_does_not_change() -> None:
    async def main() -> None:
        pusher = Pusher()
        pusher.configure(TallyConfig("a"), TallyConfig("b"))
        pusher.push.start()
        first, second = Tally.made
        pusher.jobs.done_total += 3
        pusher.configure(TallyConfig("b"), TallyConfig("c"))
        await until(lambda: first.closed)
        assert (first.total, second.closed, len(Tally.made)) == (3, 0, 3)
        third = Tally.made[2]
        await until(lambda: third.pushed and second.pushed)
        pusher.jobs.done_total += 4
        await pusher.push.close()
        assert (second.total, third.total) == (7, 4), "a new sink begins with what happens from now on"

    run(main)


def test_the_same_sink_twice_is_two_sinks() -> None:
    async def main() -> None:
        pusher = Pusher()
        pusher.configure(TallyConfig(), TallyConfig())
        assert len(Tally.made) == 2
        pusher.configure(TallyConfig())
        assert len(Tally.made) == 2
        await pusher.push.close()
        assert [sink.closed for sink in Tally.made] == [1, 1]

    run(main)


def test_a_push_that_fails_is_made_up_for(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pusher = Pusher()
        pusher.configure(TallyConfig(fails=True))
        pusher.jobs.done_total += 5
        pusher.push.start()
        (sink,) = Tally.made
        await until(lambda: sink.total == 5)
        assert pusher.stats.failures_total == 1
        await pusher.push.close()

    run(main)
    assert "stats sink tally: [Errno 111] Connection refused (1 times)" in caplog.text


def test_a_sink_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("l4proxy.stats_push.PUSH_TIMEOUT", 0.05)
    monkeypatch.setattr("l4proxy.stats_push.LAST_PUSH_TIMEOUT", 0.05)

    async def main() -> None:
        pusher = Pusher()
        pusher.configure(TallyConfig(hangs=True), TallyConfig())
        pusher.push.start()
        await until(lambda: pusher.stats.failures_total >= 2 and len(Tally.made[1].pushed) > 3)
        await pusher.push.close()
        assert [sink.closed for sink in Tally.made] == [1, 1]

    run(main)
    assert "stats sink tally: no end within 0.05 s (1 times)" in caplog.text


def test_a_sink_that_cannot_be_made_is_a_problem_of_the_configuration() -> None:
    async def main() -> None:
        pusher = Pusher()
        pusher.configure(TallyConfig("a"))
        use = Use("tally", TallyConfig("impossible"), cls=Tally, path="stats_sinks[0]")
        with pytest.raises(ConfigError, match=r"stats_sinks\[0\]: there is nothing to tally"):
            pusher.push.prepare([use])
        pusher.push.start()
        await until(lambda: Tally.made[0].pushed)
        await pusher.push.close()

    run(main)


class Plugin:
    @hookimpl
    def register_stats_sinks(self, register: Register[Any]) -> None:
        register(Sizes)


class Sizes(StatsSink[NoConfig]):
    """Keeps how many metrics there were."""

    name = "sizes"
    interval = 0.01
    sizes: list[int]

    async def push(self, snapshot: Snapshot, previous: Snapshot) -> None:
        self.sizes.append(len(snapshot))


def test_a_server_pushes_to_the_sinks_of_its_configuration() -> None:
    Sizes.sizes = []
    plugins = load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""})
    plugins.register(Plugin(), "sizes")
    config = {"listeners": [{"address": "127.0.0.1:0", "filters": ["echo"]}], "stats_sinks": ["sizes"]}

    async def main() -> None:
        async with serve(config, plugins=plugins):
            await until(lambda: Sizes.sizes)
        count = len(Sizes.sizes)
        await asyncio.sleep(0.05)
        assert len(Sizes.sizes) == count, "nothing is pushed after the end"

    run(main)
    assert min(Sizes.sizes) > 10
