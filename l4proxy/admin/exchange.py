"""One connection to the admin interface: a request, its answer, and so on.

Every wait has an end, everything that is read has a size, and whatever is wrong with a request is answered and ends the
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.admin.http import HEAD_LIMIT, HttpError, Request, Response, parse_head, with_form
from l4proxy.admin.index import STYLE_HASH

if TYPE_CHECKING:
    from l4proxy.admin.guard import Guard
    from l4proxy.admin.route import Routes
    from l4proxy.admin_target import AdminTarget

__all__ = ["Exchange"]

log = logging.getLogger("l4proxy.admin")

IDLE_TIMEOUT = 60.0
"""Seconds that a connection may wait for its next request."""
REQUEST_TIMEOUT = 10.0
"""Seconds from the first byte of a request to its last, and for the first byte of a connection."""
WRITE_TIMEOUT = 30.0
"""Seconds that a client has to take an answer."""
LINGER_TIMEOUT = 1.0
"""Seconds for which input is read and dropped before a connection is closed, so that the answer is not lost."""
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


class Exchange:
    """``routes`` is what can be asked here, ``guard`` who may."""

    def __init__(self, target: AdminTarget, routes: Routes, guard: Guard) -> None:
        self._target = target
        self._routes = routes
        self._guard = guard
        self._waits = False
        """For a request to begin."""
        self._answered = False
        self._finishing = False

    async def run(self, sock: socket.socket) -> None:
        """Until the connection ends."""
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=HEAD_LIMIT)
        make_protocol = partial(asyncio.StreamReaderProtocol, self._reader)
        transport, protocol = await loop.connect_accepted_socket(make_protocol, sock)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        try:
            timeout = REQUEST_TIMEOUT
            while await self._answer_one(timeout):
                timeout = IDLE_TIMEOUT
        except (OSError, asyncio.IncompleteReadError):  # the client is gone, or takes no answer
            transport.abort()
        finally:
            self._writer.close()

    def finish(self) -> None:
        """Let an answer under way get out, then end. A client that has not asked anything yet is about to."""
        self._finishing = True
        if self._waits and self._answered:
            self._writer.close()

    async def _answer_one(self, timeout: float) -> bool:
        """Read a request and answer it. True: there may be another one."""
        keep_alive, with_body = False, True
        try:
            request = await self._read_request(timeout)
            if request is None:
                return False
            with_body = request.method != "HEAD"
            self._guard.check(request)
            response = await self._routes.answer(self._target, request)
            keep_alive = request.keep_alive and response.status < HTTPStatus.BAD_REQUEST and not self._finishing
        except HttpError as error:
            response = Response(f"{error.text}\n".encode(), error.status, headers=dict(error.headers))
        except Exception:
            log.exception("the admin interface could not answer")
            response = Response(b"this failed; the log says how\n", HTTPStatus.INTERNAL_SERVER_ERROR)
        response.headers.update(SECURITY)
        self._writer.write(response.encode(keep_alive=keep_alive, with_body=with_body))
        async with asyncio.timeout(WRITE_TIMEOUT):
            await self._writer.drain()
        self._answered = True
        if not keep_alive or self._finishing:
            await self._linger()
            return False
        return True

    async def _read_request(self, timeout: float) -> Request | None:
        """The next request; None when there is none. Raises HttpError."""
        begin = b""
        try:
            async with asyncio.timeout(timeout) as limit:
                self._waits = True
                begin = await self._reader.read(1)
                self._waits = False
                if not begin:
                    return None
                limit.reschedule(asyncio.get_running_loop().time() + REQUEST_TIMEOUT)
                request = parse_head(begin + await self._reader.readuntil(b"\r\n\r\n"))
                if request.content_length:
                    request = with_form(request, await self._reader.readexactly(request.content_length))
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
        return request

    async def _linger(self) -> None:
        """End our side and drop what still comes: to close with bytes unread would send a reset that destroys the
        answer."""
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_TIMEOUT):
                while await self._reader.read(HEAD_LIMIT):
                    pass
