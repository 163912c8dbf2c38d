"""What a process is, and with how many file descriptors."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy import process, supervisor, worker
from l4proxy.address import Address
from l4proxy.process import Launch, log_addresses, raise_descriptor_limit, run_process, worker_count


@pytest.mark.parametrize(("limits", "raised"), [((1024, 50000), (50000, 50000)), ((50000, 50000), None)])
def test_the_descriptor_limit_is_raised_as_far_as_it_goes(
    limits: tuple[int, int],
    raised: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _which, new: asked.append(new))
    raise_descriptor_limit()
    assert asked == [raised] * bool(raised)
    assert caplog.records == []


@pytest.mark.parametrize("error", [OSError("not permitted"), ValueError("not permitted")])
def test_a_limit_that_stays_low_is_said(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_descriptor_limit()
    assert [record.message for record in caplog.records] == [
        "the limit of file descriptors stays at 1024: not permitted",
        "only 1024 file descriptors: that is about 512 connections (raise it with ulimit -n)",
    ]


def test_no_limit_is_no_low_one(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    raise_descriptor_limit()
    assert caplog.records == []


def test_as_many_workers_as_processors_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 5, 7})
    auto: Any = SimpleNamespace(workers="auto")
    four: Any = SimpleNamespace(workers=4)
    assert (worker_count(auto), worker_count(four)) == (3, 4)


def test_the_addresses_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    addresses = {
        "web": [Address("0.0.0.0", 80), Address("::", 80)],
        "127.0.0.1:81": [Address("127.0.0.1", 81)],
    }
    with caplog.at_level(logging.INFO, logger="l4proxy"):
        log_addresses(addresses, 1)
        log_addresses({}, 3)
    assert [record.message for record in caplog.records] == [
        "listening on 0.0.0.0:80, [::]:80 (web)",
        "listening on 127.0.0.1:81",
        "3 workers serve",
    ]


@pytest.mark.parametrize(
    ("workers", "parent", "expected"),
    [(1, None, "Worker"), (3, None, "Supervisor"), (3, object(), "Worker")],
)
def test_one_process_serves_or_looks_after_others(
    workers: int, parent: object, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def standing_in(name: str) -> type:
        class Made:
            def __init__(self, *_: object) -> None:
                made.append(name)

            async def run(self) -> int:
                return 7

        return Made

    monkeypatch.setattr(worker, "Worker", standing_in("Worker"))
    monkeypatch.setattr(supervisor, "Supervisor", standing_in("Supervisor"))
    monkeypatch.setattr(worker, "supervisor_of_this", lambda: parent)
    monkeypatch.setattr(process, "raise_descriptor_limit", lambda: None)
    monkeypatch.setattr("l4proxy.logging_setup.set_up_logging", lambda *_args, **_options: None)
    config: Any = SimpleNamespace(workers=workers, log_level="info")
    plugins: Any = SimpleNamespace(make_event_loop=lambda: None)
    assert run_process(Launch(lambda _text: config, plugins)) == 7
    assert made == [expected]


def test_the_program_is_started_again_with_the_options_of_its_interpreter() -> None:
    script = "from l4proxy.process import own_command; print(own_command()[1:])"
    argv = [sys.executable, "-X", "dev", "-W", "ignore", "-c", script, "run", "x.toml"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(argv[1:])
