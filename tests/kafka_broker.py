"""Brokers of Kafka that answer what a test tells them to, for what real ones cannot be made to do; and clients that
speak frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from kafka_messages import request, response
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from proxying import HOST

__all__ = ["Asked", "Broker", "Client", "Cluster", "cluster"]


class Asked:
    """A request that a broker got."""

    def __init__(self, frame: bytes, number: int) -> None:
        self.frame = frame
        self.number = number
        """On its connection, from 0."""
        key, self.version, self.correlation_id = struct.unpack_from(">hhi", frame, 4)
        self.api: Api = APIS[key]
        (size,) = struct.unpack_from(">h", frame, 12)
        at = 14 + max(size, 0)
        self.client_id = frame[14:at]
        at += self.api.request_header(self.version) == 2
        schema = replace(self.api.request, whole=False)  # as brokers do, who do not mind bytes behind the end
        self.values = plain.decode(schema, self.version, frame, at)

    def answer(self, **values: Any) -> bytes:
        return response(self.api.name, self.version, self.correlation_id, **values)


Answer = Callable[["Broker", Asked], bytes | None]


class Broker:
    """One of a cluster; ``asked`` is what it got, ``connections`` how many it had."""

    def __init__(self, owner: Cluster, node: int) -> None:
        self.owner = owner
        self.node = node
        self.port = 0
        self.asked: list[Asked] = []
        self.connections = 0
        self._server: asyncio.Server | None = None

    @property
    def names(self) -> list[str]:
        return [asked.api.name for asked in self.asked]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for number in itertools.count():
                size = await reader.readexactly(4)
                asked = Asked(size + await reader.readexactly(int.from_bytes(size, "big")), number)
                self.asked.append(asked)
                answer = self.owner.answer(self, asked)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()


class Cluster:
    """``answers`` by name of the API come before what is usual; None ends the connection."""

    def __init__(self, nodes: list[int]) -> None:
        self.brokers = {node: Broker(self, node) for node in nodes}
        self.listed = list(nodes)
        self.answers: dict[str, Answer] = {}

    @property
    def bootstrap(self) -> list[int]:
        return [broker.port for broker in self.brokers.values()]

    def listing(self) -> list[dict[str, Any]]:
        return [{"node_id": node, "host": HOST, "port": self.brokers[node].port} for node in self.listed]

    def answer(self, broker: Broker, asked: Asked) -> bytes | None:
        answer = self.answers.get(asked.api.name)
        if answer is not None:
            return answer(broker, asked)
        match asked.api.name:
            case "ApiVersions":
                keys = [
                    {"api_key": api.key, "min_version": api.first, "max_version": api.last + 1} for api in APIS.values()
                ]
                return asked.answer(error_code=0, api_keys=[*keys, {"api_key": 5000, "max_version": 0}])
            case "Metadata":
                return asked.answer(brokers=self.listing())
            case "SaslHandshake":
                return asked.answer(error_code=0, mechanisms=["PLAIN"])
        return asked.answer()


@contextlib.asynccontextmanager
async def cluster(*nodes: int) -> AsyncIterator[Cluster]:
    """Brokers with these numbers, running."""
    made = Cluster(list(nodes))
    for broker in made.brokers.values():
        await broker.start()
    try:
        yield made
    finally:
        for broker in made.brokers.values():
            await broker.stop()


class Client:
    """A connection whose requests are numbered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.number = 0

    @classmethod
    async def connect(cls, port: int, **options: Any) -> Client:
        return cls(*await asyncio.open_connection(HOST, port, **options))

    async def frame(self) -> bytes:
        size = await self.reader.readexactly(4)
        return size + await self.reader.readexactly(int.from_bytes(size, "big"))

    def send(self, name: str, version: int, **values: Any) -> None:
        self.number += 1
        self.writer.write(request(name, version, self.number, **values))

    async def ask(self, name: str, version: int, **values: Any) -> dict[str, Any]:
        """Send a request, and return its response."""
        self.send(name, version, **values)
        return self.read(name, version, await self.frame())

    def read(self, name: str, version: int, frame: bytes) -> dict[str, Any]:
        assert int.from_bytes(frame[4:8], "big") == self.number
        api = BY_NAME[name]
        return plain.decode(api.response, version, frame, 8 + api.response_header(version))

    async def ended(self) -> bytes:
        """What comes until the end."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            await self.close()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
