"""What the admin interface looks at and steers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from l4proxy.snapshot import Snapshot

__all__ = ["AdminTarget", "Answer"]


class Answer(NamedTuple):
    """What one worker answered. A process without a supervisor is worker 0."""

    worker: int
    value: Any


class AdminTarget(Protocol):
    """One server, or a supervisor that asks all of its workers. One that does not answer in time is left out."""

    @property
    def state(self) -> str:
        """``LIVE``, or why no new connections shall come: ``DRAINING``, ``INITIALIZING``."""

    @property
    def workers(self) -> int:
        """How many answers there should be."""

    async def snapshot(self) -> Snapshot:
        """The statistics, of all workers in one."""

    async def describe(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        """One of ``l4proxy.describe.DESCRIPTIONS``, by all workers or by one."""

    async def change(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        """One of ``l4proxy.describe.CHANGES``, in all workers or in one."""

    async def reload(self) -> None:
        """Read the configuration again. Raises L4ProxyError with everything that is wrong; the old one stays then."""

    def stop(self, drain_time: float | None = None) -> None:
        """End the process, draining as configured, or at once with a ``drain_time`` of 0."""
