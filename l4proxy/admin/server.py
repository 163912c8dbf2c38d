"""The listeners of the admin interface. Everything runs in the event loop of the proxy, so no step is long."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.address import Address
from l4proxy.admin.exchange import Exchange
from l4proxy.admin.guard import Guard
from l4proxy.admin.routes import ADMIN, METRICS, Routes
from l4proxy.config.schema import Keepalive
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.generation import SocketStore
from l4proxy.sockets import bound_address

if TYPE_CHECKING:
    from l4proxy.admin_target import AdminTarget
    from l4proxy.config.schema import Admin

__all__ = ["AdminServer", "start_admin"]

log = logging.getLogger("l4proxy.admin")

MAX_CONNECTIONS = 32
"""Connections at a time; one more is closed."""
CLOSE_TIMEOUT = 2.0
"""Seconds that answers under way have to get out when the interface is closed."""
PAUSE_WITHOUT_DESCRIPTORS = 0.5
"""Seconds for which nothing is accepted after descriptors ran out."""
KEEPALIVE = Keepalive()


@dataclass(frozen=True, slots=True)
class _SocketOptions:
    reuse_port: bool = False
    transparent: bool = False
    original_destination: str = "off"
    nodelay: bool = True
    keepalive: Keepalive = KEEPALIVE
    backlog: int = 128
    unix_mode: str = "0600"


OPTIONS = _SocketOptions()


@dataclass(frozen=True, slots=True)
class Door:
    """One listening socket: what can be asked here, and by whom."""

    sock: socket.socket
    routes: Routes
    guard: Guard


async def start_admin(config: Admin, target: AdminTarget, sockets: SocketStore | None = None) -> AdminServer:
    """Serve ``target``. ``sockets`` may hold some from a predecessor. Raises ConfigError where nobody can listen."""
    server = AdminServer(target, sockets or SocketStore())
    server.apply(config)
    return server


class AdminServer:
    """The admin interface at work."""

    def __init__(self, target: AdminTarget, sockets: SocketStore) -> None:
        self.sockets = sockets
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._doors: list[Door] = []
        self._exchanges: dict[asyncio.Task[None], Exchange] = {}

    @property
    def addresses(self) -> list[Address]:
        """What is listened on: the admin interface, then the metrics. Real ports where the configuration says 0."""
        return [bound_address(door.sock) for door in self._doors]

    def apply(self, config: Admin) -> None:
        """Take over a configuration; sockets of addresses that stay are kept. Raises ConfigError, with nothing
        changed."""
        doors: list[Door] = []
        try:
            doors += self._open(config.address, "address", ADMIN, Guard(config.address, config.hosts, config.token))
            if config.metrics_address is not None:
                guard = Guard(config.metrics_address, config.hosts, None)
                doors += self._open(config.metrics_address, "metrics_address", METRICS, guard)
        except ConfigError:
            self.sockets.keep_only({door.sock.fileno() for door in self._doors})
            raise
        self._take_over(doors)
        for door in doors:
            if door.routes is ADMIN and config.token is None and not _is_local(bound_address(door.sock)):
                log.warning("whoever reaches %s can stop the proxy: admin.token is not set", bound_address(door.sock))

    def serve_metrics(self, address: Address, hosts: tuple[str, ...] = ()) -> None:
        """Listen for scrapers and nothing else, in place of what was listened on. Raises ConfigError."""
        self._take_over(self._open(address, "metrics_address", METRICS, Guard(address, hosts, None)))

    def _take_over(self, doors: list[Door]) -> None:
        for door in self._doors:
            self._loop.remove_reader(door.sock)
        self._doors = doors
        self.sockets.keep_only({door.sock.fileno() for door in doors})
        for door in doors:
            self._loop.add_reader(door.sock, self._accept, door)

    def _open(self, address: Address, field: str, routes: Routes, guard: Guard) -> list[Door]:
        try:
            return [Door(sock, routes, guard) for sock in self.sockets.take(address, OPTIONS)]
        except OSError as error:
            raise ConfigError([ConfigProblem(f"admin.{field}", str(error.strerror or error))]) from error

    async def close(self) -> None:
        """Listen no more, let answers under way get out, close everything."""
        for door in self._doors:
            self._loop.remove_reader(door.sock)
        self._doors = []
        self.sockets.keep_only(set())
        for exchange in self._exchanges.values():
            exchange.finish()
        others = self._exchanges.keys() - {asyncio.current_task()}  # a reload may have been asked for here
        if others:
            _done, late = await asyncio.wait(others, timeout=CLOSE_TIMEOUT)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # Connections

    def _accept(self, door: Door) -> None:
        try:
            sock, _ = door.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("the admin interface accepts nothing for %s s: %s", PAUSE_WITHOUT_DESCRIPTORS, error)
            self._loop.remove_reader(door.sock)
            self._loop.call_later(PAUSE_WITHOUT_DESCRIPTORS, self._accept_again, door)
            return
        if len(self._exchanges) >= MAX_CONNECTIONS:
            log.warning("the admin interface has its %d connections, one more was closed", MAX_CONNECTIONS)
            sock.close()
            return
        sock.setblocking(False)
        exchange = Exchange(self._target, door.routes, door.guard)
        task = self._loop.create_task(exchange.run(sock))
        self._exchanges[task] = exchange
        task.add_done_callback(self._exchanges.pop)

    def _accept_again(self, door: Door) -> None:
        if door in self._doors:
            self._loop.add_reader(door.sock, self._accept, door)


def _is_local(address: Address) -> bool:
    return address.is_unix or address.host.startswith("127.") or address.host == "::1"
