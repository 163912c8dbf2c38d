"""The contract of access loggers: sinks of access records, as plugins write them."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from l4proxy.logging_setup import once_per
from l4proxy.stats import Stats, counter, labelled_counter
from l4proxy.stats_registry import StatsRegistry

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord

__all__ = ["AccessLogStats", "AccessLogger", "log_access"]

log = logging.getLogger("l4proxy.access_log")

C = TypeVar("C")

_dropped_lock = threading.Lock()
"""Sinks of one name share their statistics, and each writes in its own thread."""


class AccessLogStats(Stats, subsystem="access_log", labels=("logger",)):
    """What the access loggers of one name did."""

    records_total = counter("Records handed to the sink.")
    dropped_total = labelled_counter("Records or lines lost, by reason: full, error.", label="reason")


class AccessLogger(ABC, Generic[C]):
    """Base of every sink. ``C`` is a frozen dataclass, its options. Registered by ``register_access_loggers``.

    One instance per place in the configuration, in each worker. Everything is called in the event loop's thread, where
    nothing may wait: ``l4proxy.access_log.writer.LineWriter`` has a queue and a thread for sinks that have to.
    """

    name: ClassVar[str]
    """What a configuration file says: ``access_log = [{ use = "NAME" }]``."""

    connections_only: ClassVar[bool] = False
    """Every connection is logged here, also one whose requests are logged instead, and no request is."""

    stats: AccessLogStats
    """Where ``dropped`` counts. The core puts the server's in place of the sink's own."""

    @classmethod
    def check(cls, config: C) -> None:
        """``l4proxy check`` calls this instead of making one. Raise ValueError or OSError where that would be refused,
        but have no effect on anything outside: open and create nothing."""

    def __init__(self, config: C) -> None:
        """Open what is to be opened. Raise ValueError or OSError to refuse the configuration."""
        self.config = config
        self.stats = StatsRegistry().group(AccessLogStats, logger=self.name)

    @abstractmethod
    def log(self, record: AccessRecord) -> None:
        """A connection is over, or a request of one. The record is the sink's to keep."""

    def reopen(self) -> None:
        """SIGUSR1: files were moved away; open them again under their names."""

    def close(self) -> None:
        """Write what is queued and give back what was opened. Called once, after the last connection that could log:
        on a reload, too, when others must not wait. A server that stops waits for every ``LineWriter`` behind it."""

    def dropped(self, reason: str, records: int) -> None:
        """Count records that are lost. May be called from any thread."""
        with _dropped_lock:
            self.stats.dropped_total.add(reason, records)


def log_access(loggers: Iterable[AccessLogger[Any]], record: AccessRecord) -> None:
    """Give a record to sinks. One that raises loses the record, and harms nobody else."""
    for logger in loggers:
        try:
            logger.log(record)
            logger.stats.records_total += 1
        except Exception:
            logger.dropped("error", 1)
            if times := once_per(60, f"access logger {logger.name}"):
                log.exception("access logger %s failed (%d times)", logger.name, times)
