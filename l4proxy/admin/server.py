"""The listeners of the admin interface and the connections to them.

One request at a time, each with limits on its size and time; whatever is wrong with one is answered and ends the
connection. Everything runs in the event loop of the proxy, so no step is long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.address import Address
from l4proxy.admin.guard import Guard
from l4proxy.admin.http import HEAD_LIMIT, HttpError, Request, Response, parse_head, with_form
from l4proxy.admin.index import STYLE_HASH
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
IDLE_TIMEOUT = 60.0
"""Seconds that a connection may wait for its next request."""
REQUEST_TIMEOUT = 10.0
"""Seconds from the first byte of a request to its last, and for the first byte of a connection."""
WRITE_TIMEOUT = 30.0
"""Seconds that a client has to take an answer."""
LINGER_TIMEOUT = 1.0
"""Seconds for which input is read and dropped before a connection is closed, so that the answer is not lost."""
CLOSE_TIMEOUT = 2.0
"""Seconds that answers under way have to get out when the interface is closed."""
PAUSE_WITHOUT_DESCRIPTORS = 0.5
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
SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {STYLE_HASH}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer. Browsers run nothing of it and show it to nobody else's pages."""


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
        self._handlers: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.StreamWriter] = set()
        """Connections between two requests."""
        self._closing = False

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
        self._closing = True
        for door in self._doors:
            self._loop.remove_reader(door.sock)
        self._doors = []
        self.sockets.keep_only(set())
        for writer in self._waiting:
            writer.close()
        others = self._handlers - {asyncio.current_task()}  # a reload may have been asked for here
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
        if len(self._handlers) >= MAX_CONNECTIONS:
            log.warning("the admin interface has its %d connections, one more was closed", MAX_CONNECTIONS)
            sock.close()
            return
        sock.setblocking(False)
        handler = self._loop.create_task(self._serve(sock, door))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    def _accept_again(self, door: Door) -> None:
        if door in self._doors:
            self._loop.add_reader(door.sock, self._accept, door)

    async def _serve(self, sock: socket.socket, door: Door) -> None:
        reader, writer = await _streams(sock)
        try:
            timeout = REQUEST_TIMEOUT
            while await self._answer_one(reader, writer, door, timeout):
                timeout = IDLE_TIMEOUT
        except (OSError, asyncio.IncompleteReadError):  # the client is gone, or takes no answer
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: Door, timeout: float
    ) -> bool:
        """Read a request and answer it. True: there may be another one."""
        keep_alive, with_body = False, True
        try:
            request = await self._read_request(reader, writer, timeout)
            if request is None:
                return False
            with_body = request.method != "HEAD"
            door.guard.check(request)
            response = await door.routes.answer(self._target, request)
            keep_alive = request.keep_alive and response.status < HTTPStatus.BAD_REQUEST and not self._closing
        except HttpError as error:
            response = Response(f"{error.text}\n".encode(), error.status, headers=dict(error.headers))
        except Exception:
            log.exception("the admin interface could not answer")
            response = Response(b"this failed; the log says how\n", HTTPStatus.INTERNAL_SERVER_ERROR)
        response.headers.update(SECURITY)
        writer.write(response.encode(keep_alive=keep_alive, with_body=with_body))
        async with asyncio.timeout(WRITE_TIMEOUT):
            await writer.drain()
        if not keep_alive:
            await _linger(reader, writer)
        return keep_alive

    async def _read_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float
    ) -> Request | None:
        """The next request; None when there is none. Raises HttpError."""
        begin = b""
        self._waiting.add(writer)
        try:
            async with asyncio.timeout(timeout) as limit:
                begin = await reader.read(1)
                self._waiting.discard(writer)
                if not begin:
                    return None
                limit.reschedule(self._loop.time() + REQUEST_TIMEOUT)
                request = parse_head(begin + await reader.readuntil(b"\r\n\r\n"))
                if request.content_length:
                    request = with_form(request, await reader.readexactly(request.content_length))
        except TimeoutError:
            if not begin:
                return None
            text = f"the request was not complete after {REQUEST_TIMEOUT:g} s"
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, text) from None
        except asyncio.LimitOverrunError:
            text = f"the head of a request has at most {HEAD_LIMIT} bytes"
            raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text) from None
        except asyncio.IncompleteReadError:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the request is not complete") from None
        finally:
            self._waiting.discard(writer)
        return request


async def _streams(sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """asyncio's streams on an accepted socket."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=HEAD_LIMIT)
    transport, protocol = await loop.connect_accepted_socket(partial(asyncio.StreamReaderProtocol, reader), sock)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End our side and drop what still comes: closing with bytes unread would send a reset that destroys the answer."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_TIMEOUT):
            while await reader.read(HEAD_LIMIT):
                pass
