"""Message filters: a filter that speaks a protocol of lines offers them, and one of them forbids a word.

The protocol here is small enough to be seen whole: a request is a line ``WORD text``, the response is a line. What the
authors of message filters see of it are ``LineRequest``, ``LineResponse`` and ``LineFilter``.
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from l4proxy import (
    CloseReason,
    Filter,
    MessageConn,
    MessageFilter,
    PluginManager,
    Register,
    Request,
    Response,
    Server,
    hookimpl,
    serve,
)
from l4proxy.config.types import Plugin, Use
from l4proxy.message_chain import MessageChain
from l4proxy.message_filters import MessageFilters
from l4proxy.registry import Kind

C = TypeVar("C")


class LineRequest(Request):
    """``WORD text``; ``kind`` is the word."""

    __slots__ = ("text",)

    def __init__(self, line: str) -> None:
        word, _, self.text = line.partition(" ")
        super().__init__(kind=word)


class LineResponse(Response):
    """A line."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class LineFilter(MessageFilter[C, LineRequest, LineResponse]):
    """Base of the message filters of this protocol."""

    protocol = "line"


@dataclass(frozen=True, slots=True)
class ForbidConfig:
    text: str
    """What may not be said."""


class Forbid(LineFilter[ForbidConfig]):
    """Answer what is forbidden, and say who answered."""

    name = "forbid"
    wants = frozenset({"SAY"})
    conn: MessageConn

    def on_request(self, request: LineRequest) -> LineRequest | None:
        if request.text == self.config.text:
            self.reply(request, LineResponse(f"forbidden by number {self.conn.position}"))
            return None
        return request

    def on_response(self, response: LineResponse) -> LineResponse | None:
        response.text += "!"
        return response


@dataclass(frozen=True, slots=True)
class LinesConfig:
    filters: tuple[Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "line")], ...] = ()
    """Message filters, in the order in which requests pass them."""


class Lines(Filter[LinesConfig]):
    """Answer each line with its text: the network filter that speaks the protocol."""

    name = "lines"
    terminal = True
    shared: MessageFilters

    @classmethod
    def provision(cls, config: LinesConfig, server: Server) -> MessageFilters:
        return MessageFilters("line", config.filters, server)

    @classmethod
    def cleanup(cls, shared: MessageFilters) -> None:
        shared.cleanup()

    def on_connect(self) -> None:
        self.rest = b""
        self.chain: MessageChain[LineRequest, LineResponse] = MessageChain(
            self.shared,
            self.conn,
            forward=lambda request: self.chain.respond(request, LineResponse(request.text)),
            deliver=lambda response: self.conn.send_client(f"{response.text}\n".encode()),
        )

    def on_client_data(self, data: bytes) -> bytes | None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.chain.request(LineRequest(line.decode()))
        return None

    def on_client_eof(self) -> None:
        self.conn.close("eof")

    def on_close(self, reason: CloseReason) -> None:
        self.chain.close(reason)


@hookimpl
def register_filters(register: Register[type[Lines]]) -> None:
    register(Lines)


@hookimpl
def register_message_filters(register: Register[type[Forbid]]) -> None:
    register(Forbid)


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "lines")
    lines: dict[str, Any] = {"use": "lines", "filters": [{"use": "forbid", "text": "boo"}]}
    config = {"listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": [lines]}]}
    async with serve(config, plugins=plugins) as server:
        (address,) = server.addresses["a"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"SAY hello\nSAY boo\nWHISPER boo\n")
        assert await reader.readline() == b"hello!\n"
        assert await reader.readline() == b"forbidden by number 0\n"
        assert await reader.readline() == b"boo\n"
        writer.close()
        await writer.wait_closed()


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
