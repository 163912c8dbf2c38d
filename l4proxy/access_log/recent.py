"""The connections that ended last, for the admin interface to explain."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from l4proxy.access_log.logger import AccessLogger
from l4proxy.filter import NoConfig

if TYPE_CHECKING:
    from l4proxy.access_log.record import AccessRecord

__all__ = ["KEPT", "RecentRecords"]

KEPT = 200
"""How many records are remembered."""


class RecentRecords(AccessLogger[NoConfig]):
    """Stands behind the configured sinks of every listener while the configuration has an admin interface.

    Connections that never got a filter chain have no number to be asked by, and a flood of them would drive out all
    others: they are left to the access log.
    """

    name = "recent"
    connections_only = True

    def __init__(self) -> None:
        super().__init__(NoConfig())
        self.records: deque[AccessRecord] = deque(maxlen=KEPT)

    def log(self, record: AccessRecord) -> None:
        if record.connection_id:
            self.records.append(replace(record, state={}))  # what filters keep there may be large, or secret
