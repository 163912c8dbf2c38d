from __future__ import annotations

import pytest

from l4proxy import logging_setup
from l4proxy.access_log.logger import AccessLogger, AccessLogStats, log_access
from l4proxy.access_log.record import AccessRecord
from l4proxy.filter import NoConfig
from l4proxy.stats_registry import StatsRegistry
from records import record


class Keep(AccessLogger[NoConfig]):
    name = "keep"

    def __init__(self, config: NoConfig) -> None:
        super().__init__(config)
        self.records: list[AccessRecord] = []

    def log(self, record: AccessRecord) -> None:
        self.records.append(record)


class Broken(AccessLogger[NoConfig]):
    name = "broken"

    def log(self, record: AccessRecord) -> None:
        raise RuntimeError("no such column")


def test_every_sink_gets_the_record_and_counts_it() -> None:
    one, two = Keep(NoConfig()), Keep(NoConfig())
    it = record()
    log_access((one, two), it)
    assert one.records == two.records == [it]
    assert one.stats.records_total == 1


def test_a_sink_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    logging_setup._last_said.clear()
    broken, keep = Broken(NoConfig()), Keep(NoConfig())
    for _ in range(3):
        log_access((broken, keep), record())
    assert len(keep.records) == 3
    assert broken.stats.dropped_total["error"] == 3
    assert broken.stats.records_total == 0
    assert caplog.messages == ["access logger broken failed (1 times)"]
    assert "no such column" in caplog.text


def test_sinks_of_one_name_share_the_servers_statistics() -> None:
    registry = StatsRegistry()
    one, two = Keep(NoConfig()), Keep(NoConfig())
    one.stats = two.stats = registry.group(AccessLogStats, logger="keep")
    log_access((one, two), record())
    two.dropped("full", 5)
    samples = registry.snapshot()["l4proxy_access_log_records_total"]["samples"]
    assert samples == [{"labels": ["keep"], "value": 2}]
    samples = registry.snapshot()["l4proxy_access_log_dropped_total"]["samples"]
    assert samples == [{"labels": ["keep", "full"], "value": 5}]


def test_reopening_and_closing_are_optional() -> None:
    keep = Keep(NoConfig())
    keep.reopen()
    keep.close()
