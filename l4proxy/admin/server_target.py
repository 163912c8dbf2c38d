"""One server in this process, as the admin interface sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from l4proxy.admin_target import Answer
from l4proxy.describe import change, describe
from l4proxy.errors import L4ProxyError

if TYPE_CHECKING:
    from l4proxy.server import Server
    from l4proxy.snapshot import Snapshot

__all__ = ["ServerTarget"]


class ServerTarget:
    """An ``AdminTarget``. ``reload`` and ``stop`` belong to the process around the server; without them it answers
    that it cannot."""

    workers = 1

    def __init__(
        self,
        server: Server,
        *,
        reload: Callable[[], Awaitable[None]] | None = None,
        stop: Callable[[float | None], None] | None = None,
    ) -> None:
        self._server = server
        self._reload = reload
        self._stop = stop

    @property
    def state(self) -> str:
        return self._server.state

    async def snapshot(self) -> Snapshot:
        return self._server.stats.snapshot()

    async def describe(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        return [Answer(0, await describe(self._server, what, **arguments))] if not worker else []

    async def change(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        return [Answer(0, await change(self._server, what, **arguments))] if not worker else []

    async def reload(self) -> None:
        if self._reload is None:
            raise L4ProxyError("this server is part of a program that has to reload it itself")
        await self._reload()

    def stop(self, drain_time: float | None = None) -> None:
        if self._stop is None:
            raise L4ProxyError("this server is part of a program that has to stop it itself")
        self._stop(drain_time)
