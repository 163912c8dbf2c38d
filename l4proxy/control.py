"""How a supervisor and a worker talk: JSON lines over a socket pair, questions and answers by number.

A question is ``{"id": 7, "call": "snapshot", "with": {...}}``, its answer ``{"id": 7, "answer": ...}`` or ``{"id": 7,
"error": "text"}``. Both ends may ask. A message without a number is an announcement.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Control", "ControlError"]

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message: the statistics of very many clusters are large."""

Handler = Callable[..., Any]


class ControlError(Exception):
    """The other process could not do what it was asked, or is gone."""


class Control:
    """One end. ``handlers`` maps the names of calls to functions, plain or async; their results must be JSON-able."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, sock: socket.socket, *, hello: str = "") -> None:
        """Talk until the other end is gone. ``hello`` is a call made first."""
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=LINE_LIMIT)
        if hello:
            self.tell(hello)
        try:
            while line := await reader.readline():
                self._received(json.loads(line))
        except (ConnectionError, ValueError):
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ControlError("the process is gone"))
            self._writer.close()

    def _received(self, message: dict[str, Any]) -> None:
        if "call" in message:
            task = asyncio.get_running_loop().create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        future = self._waiting.pop(message.get("id", 0), None)
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(ControlError(message["error"]))
        else:
            future.set_result(message["answer"])

    async def _answer(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        try:
            if message["call"] not in self._handlers:
                raise ControlError(f"there is no call {message['call']!r}")
            answer = self._handlers[message["call"]](**message.get("with", {}))
            if isinstance(answer, Awaitable):
                answer = await answer
            if number is not None:
                self._send({"id": number, "answer": answer})
        except Exception as error:
            if number is not None:
                self._send({"id": number, "error": str(error) or type(error).__name__})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def call(self, name: str, *, timeout: float = 10.0, **arguments: Any) -> Any:
        """Ask the other end. Raises ControlError when it says no, is gone, or does not answer within ``timeout``
        seconds."""
        if self._writer is None or self._writer.is_closing():
            raise ControlError("the process is gone")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "call": name, "with": arguments})
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise ControlError(f"no answer to {name!r} within {timeout:g} s") from None
        finally:
            self._waiting.pop(number, None)

    def tell(self, name: str, **arguments: Any) -> None:
        """Say something that needs no answer."""
        if self._writer is not None and not self._writer.is_closing():
            self._send({"call": name, "with": arguments})
