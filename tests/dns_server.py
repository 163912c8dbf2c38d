"""A name server of a test: answers from a table, over UDP and TCP, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Literal, cast

from l4proxy.address import Address

TYPES = {"A": 1, "CNAME": 5, "SOA": 6, "AAAA": 28, "SRV": 33}
Mood = Literal["well", "silent", "truncate", "garbage", "servfail", "refused"]


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def encode_data(kind: str, data: str) -> bytes:
    if kind == "A":
        return socket.inet_pton(socket.AF_INET, data)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, data)
    if kind == "CNAME":
        return encode_name(data)
    priority, weight, port, target = data.split()
    return struct.pack("!HHH", int(priority), int(weight), int(port)) + encode_name(target)


class DnsServer:
    """``records`` maps a name to its records, each ``"TTL TYPE DATA"``; it may be changed at any time.

    ``queries`` lists what was asked (``"A db.test"``), over TCP with ``"tcp "`` in front.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.records: dict[str, list[str]] = {}
        self.queries: list[str] = []
        self.mood: Mood = "well"

    def reply(self, query: bytes, *, tcp: bool = False) -> bytes | None:
        end = query.index(b"\0", 12) + 5
        question = query[12:end]
        name = self._name(question)
        kind = next(one for one, number in TYPES.items() if number == int.from_bytes(question[-4:-2], "big"))
        self.queries.append(f"{'tcp ' if tcp else ''}{kind} {name}")
        if self.mood == "silent":
            return None
        if self.mood == "garbage":
            return query[:2] + b"\x80\0\0\1\0\7\0\0\0\0" + question
        failure = {"servfail": 2, "refused": 5}.get(self.mood, 0)
        if self.mood == "truncate" and not tcp:
            return query[:2] + struct.pack("!HHHHH", 0x8200, 1, 0, 0, 0) + question
        answers = [] if failure else self._answers(name, kind)
        code = failure or (0 if name in self.records else 3)
        return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(answers), 0, 0) + question + b"".join(answers)

    def _name(self, question: bytes) -> str:
        labels = []
        at = 0
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        return ".".join(labels).lower()

    def _answers(self, name: str, kind: str) -> list[bytes]:
        answers = []
        for record in self.records.get(name, []):
            ttl, record_kind, data = record.split(" ", 2)
            if record_kind in (kind, "CNAME"):
                encoded = encode_data(record_kind, data)
                head = struct.pack("!HHIH", TYPES[record_kind], 1, int(ttl), len(encoded))
                answers.append(encode_name(name) + head + encoded)
                if record_kind == "CNAME":
                    answers += self._answers(data, kind)
        return answers


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, reply: Callable[[bytes], bytes | None]) -> None:
        self._reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._reply(data)
        if reply is not None:
            self._transport.sendto(b"not for you", addr)
            self._transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def name_server() -> AsyncIterator[DnsServer]:
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = server.reply(await reader.readexactly(size), tcp=True)
        if reply is not None:
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        host, port = listener.sockets[0].getsockname()
        server = DnsServer(Address(host, port))
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(server.reply), local_addr=(host, port))
        try:
            yield server
        finally:
            transport.close()
