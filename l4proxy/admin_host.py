"""The admin interface of a process: there while the configuration asks for one, and not even imported otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.generation import SocketStore

if TYPE_CHECKING:
    from l4proxy.address import Address
    from l4proxy.admin import AdminServer, AdminTarget
    from l4proxy.config.schema import Admin, Config
    from l4proxy.handoff import Sockets

__all__ = ["AdminHost"]

log = logging.getLogger("l4proxy.admin")


class AdminHost:
    """Starts, changes and ends the admin interface as the configuration says, at the start and at each reload."""

    def __init__(self, target: Callable[[], AdminTarget]) -> None:
        """``target()`` makes what the interface looks at, once there is one."""
        self._target = target
        self._server: AdminServer | None = None
        self._sockets = SocketStore()

    @property
    def addresses(self) -> list[Address]:
        """Where it listens: the interface, then the metrics; empty where there is none."""
        return self._server.addresses if self._server is not None else []

    def inherit(self, config: Config, sockets: Sockets) -> None:
        """Take a predecessor's sockets out of ``sockets``, those for the admin interface."""
        if config.admin is not None:
            for address in (config.admin.address, config.admin.metrics_address):
                if address is not None and (found := sockets.pop(str(address), None)):
                    self._sockets.inherited[str(address)] = found

    def sockets(self) -> Sockets:
        """What a successor inherits."""
        return self._sockets.all()

    async def apply(self, config: Admin | None) -> None:
        """Take over a configuration. Raises ConfigError, with nothing changed."""
        if config is None:
            await self.close()
        elif self._server is not None:
            self._server.apply(config)
        else:
            from l4proxy.admin import start_admin

            self._server = await start_admin(config, self._target(), self._sockets)
            log.info("admin interface on %s", " and ".join(map(str, self._server.addresses)))

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.close()
