"""``direct_response``: answer every client with the same bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy import CloseReason, Filter, Register, Side, hookimpl
from l4proxy.config.types import Duration, FilePath, Range
from l4proxy.errors import cannot_read
from l4proxy.stats import Stats, counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["DirectResponse", "DirectResponseConfig"]

PIECE = 64 * 1024
"""Bytes that are written at a time, so that a slow client holds no copy of a large response."""
MAX_FILE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DirectResponseConfig:
    text: str | None = None
    """What is sent, as UTF-8."""
    base64: str | None = None
    """Or what is sent, in Base64."""
    file: FilePath | None = None
    """Or a file whose content is sent, 16 MiB at most. It is read when the configuration is loaded."""
    after: Literal["connect", "data"] = "connect"
    """Answer at once, or when the client has sent something."""
    timeout: Annotated[Duration, Range(0.1)] = Duration(60.0)
    """A client that has not sent what is waited for, or has not taken the response, by then is disconnected."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        given = [field for field in ("text", "base64", "file") if getattr(self, field) is not None]
        if len(given) != 1:
            raise ValueError(f"{given[1]}: not beside {given[0]}" if given else "text: write text, base64 or file")
        _decode(self.base64 or "")


def _decode(text: str) -> bytes:
    from base64 import b64decode

    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"base64: {error}") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size <= MAX_FILE:
                return file.read()
    except OSError as error:
        raise ValueError(f"file: {cannot_read(path, error)}") from None
    raise ValueError(f"file: {path} is larger than {MAX_FILE >> 20} MiB")


class DirectResponseStats(Stats, subsystem="direct_response", labels=("name",)):
    """Responses of one use."""

    responses_total = counter("Responses begun.")
    completed_total = counter("Responses that were written whole.")


class Response:
    """What all connections of one use send."""

    def __init__(self, config: DirectResponseConfig, stats: DirectResponseStats) -> None:
        self.stats = stats
        if config.text is not None:
            self.body = config.text.encode()
        elif config.file is not None:
            self.body = _read(config.file)
        else:
            self.body = _decode(config.base64 or "")


class DirectResponse(Filter[DirectResponseConfig]):
    """Answer every client with the same bytes and close the connection, without an upstream.

    For what is out of service, for banners and for trying clients:

        { use = "direct_response", text = "-ERR down for maintenance\\r\\n", after = "data" }

    What the client sends is dropped. The connection stays open until the client has taken the response and ended its
    side, or a second has passed, so that no reset destroys what is still on its way.
    """

    name = "direct_response"
    terminal = True
    shared: Response

    def __init__(self) -> None:
        self._at = -1
        """How much of the response is written; -1 before it begins."""
        self._writable = True

    @classmethod
    def provision(cls, config: DirectResponseConfig, server: Server) -> Response:
        return Response(config, server.stats.group(DirectResponseStats, name=config.name))

    def on_connect(self) -> None:
        self.conn.call_later(self.config.timeout, self._too_slow)
        if self.config.after == "connect":
            self._begin()

    def on_client_data(self, data: bytes) -> None:
        if self._at < 0:
            self._begin()

    def on_client_eof(self) -> None:
        if self._at < 0:
            self.conn.close(CloseReason("client", "relay", "eof"))

    def on_writable(self, side: Side, writable: bool) -> None:
        self._writable = writable
        if writable and self._at >= 0:
            self._write()

    def _begin(self) -> None:
        self._at = 0
        self.shared.stats.responses_total += 1
        self._write()

    def _write(self) -> None:
        """Write until the client takes no more for now, or all is written."""
        body = self.shared.body
        while self._at < len(body) and self._writable:
            piece = body[self._at : self._at + PIECE]
            self._at += len(piece)
            self.conn.send_client(piece)
        if self._at == len(body):
            self.shared.stats.completed_total += 1
            self.conn.finish("direct_response")

    def _too_slow(self) -> None:
        """A client that has a part of the response must not take it for the whole."""
        self.conn.close("response_timeout", flush=False, reset=self._at > 0)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(DirectResponse)
