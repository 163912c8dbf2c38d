"""An admin interface in a test's own loop, and the requests that operators send to it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from l4proxy import Server, serve
from l4proxy.address import Address
from l4proxy.admin import AdminServer, AdminTarget, ServerTarget, start_admin
from l4proxy.config.schema import Admin
from l4proxy.plugin_manager import PluginManager

__all__ = ["Admins", "Reply", "administered", "ask", "request", "talk"]

HOST = "127.0.0.1"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Admins(NamedTuple):
    """A proxy and its admin interface."""

    server: Server
    admin: AdminServer

    @property
    def port(self) -> int:
        return self.admin.addresses[0].port

    async def get(self, path: str, **headers: str) -> Reply:
        return await ask(self.port, "GET", path, **headers)

    async def post(self, path: str, **headers: str) -> Reply:
        return await ask(self.port, "POST", path, **headers)


@contextlib.asynccontextmanager
async def administered(
    config: dict[str, Any] | None = None,
    *,
    admin: Admin | None = None,
    target: AdminTarget | None = None,
    plugins: PluginManager | None = None,
) -> AsyncIterator[Admins]:
    """A proxy with one listener that echoes, unless ``config`` says otherwise, and its admin interface."""
    address = f"{HOST}:0"
    given = {
        "admin": {"address": address},
        "listeners": [{"name": "echo", "address": address, "filters": ["echo"]}],
        "drain_time": 0,
    }
    async with serve(given | (config or {}), plugins=plugins) as server:
        running = await start_admin(admin or Admin(Address(HOST, 0)), target or ServerTarget(server))
        try:
            yield Admins(server, running)
        finally:
            await running.close()


def request(port: int, method: str, path: str, body: str | None = None, **headers: str) -> Reply:
    """One request by Python's own client; ``_`` in the names of headers stands for ``-``."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()


async def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> Reply:
    """The same from a coroutine."""
    return await asyncio.to_thread(request, port, method, path, body, **headers)


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send pieces, one by one, and return all that comes until the other end closes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
