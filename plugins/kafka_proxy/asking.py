"""Asking a cluster something on connections of the proxy's own.

Brokers see the proxy there, not the client: where clients have to authenticate by SASL, they answer nothing, unless
the proxy has a login of its own (`login`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.connect import ConnectRequest
from l4proxy.errors import UpstreamError
from l4proxy.plugins.kafka_proxy.login import log_in
from l4proxy.protocols.kafka.frames import SIZE, cut_frames
from l4proxy.protocols.kafka.wire import UNREADABLE

if TYPE_CHECKING:
    from l4proxy.cluster import Cluster
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.kafka_proxy.login import KafkaLogin
    from l4proxy.stream import Stream

__all__ = ["Line", "Lines", "NoAnswer", "lines_of"]

ATTEMPTS = 3
MAX_IDLE = 8
"""Connections that are kept for the next question."""
CLOSED = "the connection was closed"
REFUSED = f"{CLOSED}, as brokers do with who does not authenticate (SASL) or speak TLS"
FAILED_PAUSE = 5.0
"""Seconds in which a cluster that could not be reached is not tried again: clients wait for the others' answers."""


class NoAnswer(Exception):
    """A cluster has not answered; the text says why."""


class Line:
    """One connection, for one question at a time."""

    def __init__(self, stream: Stream, endpoint: Endpoint, limit: int) -> None:
        self.endpoint = endpoint
        self._stream = stream
        self._cut = cut_frames(limit)
        self._answer: asyncio.Future[bytes] | None = None
        self._has_answered = False
        stream.on_data, stream.on_eof, stream.on_lost = self._received, self._failed, self._failed
        stream.start()

    @classmethod
    async def open(
        cls, cluster: Cluster, limit: int, login: KafkaLogin | None = None, request: ConnectRequest | None = None
    ) -> Line:
        """Connect to any broker, or to that of ``request``, and authenticate. Raises UpstreamError."""
        stream, endpoint = await cluster.open(request or ConnectRequest(attempts=ATTEMPTS))
        line = cls(stream, endpoint, limit)
        if login is not None:
            try:
                await log_in(line, login)
            except (OSError, RemoteProtocolError, *UNREADABLE) as error:
                why = str(error) or "no answer"
                raise UpstreamError("UF", "login_refused", f"broker {endpoint.name} lets nobody in: {why}") from error
        return line

    async def ask(self, request: bytes, timeout: float) -> bytes:
        """Send a request and return its response, without its size. Raises OSError (of which a timeout is one) and
        RemoteProtocolError; then the line is closed."""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._stream.write(request)
            async with asyncio.timeout(timeout):
                frame = await self._answer
            if frame[4:8] != request[8:12]:
                raise RemoteProtocolError("the response to another question", code="unexpected_response")
            return frame[SIZE:]
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None

    @property
    def is_open(self) -> bool:
        return not self._stream.closed

    def close(self) -> None:
        self._stream.close()

    def _received(self, data: bytes) -> None:
        try:
            frames = self._cut(data)
        except RemoteProtocolError as error:
            self._failed(error)
        else:
            if frames and self._answer is not None and not self._answer.done():
                self._has_answered = True
                self._answer.set_result(frames[0])

    def _failed(self, error: Exception | None = None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError(CLOSED if self._has_answered else REFUSED))
        self.close()


class Lines:
    """The lines to one cluster, kept between questions."""

    def __init__(self, cluster: Cluster, login: KafkaLogin | None = None) -> None:
        self._cluster = cluster
        self._login = login
        self._idle: list[Line] = []
        self._failed_until = 0.0

    async def ask(self, request: bytes, limit: int, timeout: float) -> bytes:
        """The response to a request, without its size. Raises NoAnswer."""
        loop = asyncio.get_running_loop()
        line = self._free()
        if line is None:
            if loop.time() < self._failed_until:
                raise NoAnswer("it was not reached a moment ago")
            try:
                line = await Line.open(self._cluster, limit, self._login)
            except UpstreamError as error:
                self._failed_until = loop.time() + FAILED_PAUSE
                raise NoAnswer(str(error)) from error
        try:
            answer = await line.ask(request, timeout)
        except (OSError, RemoteProtocolError) as error:
            why = str(error) or f"no answer within {timeout:g} s"
            raise NoAnswer(f"broker {line.endpoint.name} does not answer: {why}") from error
        if len(self._idle) < MAX_IDLE:
            self._idle.append(line)
        else:
            line.close()
        return answer

    def _free(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.is_open:
                return line
        return None

    def close(self) -> None:
        for line in self._idle:
            line.close()
        self._idle.clear()


def lines_of(cluster: Cluster, login: KafkaLogin | None = None) -> Lines:
    """Those to a configured cluster."""
    lines = cluster.kept.get((Lines, login))
    if lines is None:
        lines = cluster.kept[Lines, login] = Lines(cluster, login)
    assert isinstance(lines, Lines)
    return lines
