"""Who receives replies in a client's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l4proxy.plugins.redis.message import RedisRequest
    from l4proxy.plugins.redis.session import Session
    from l4proxy.stream import Stream

__all__ = ["NOBODY", "Filtered", "Nobody", "Unheard"]


class Nobody:
    """Receives what nobody has asked for."""

    def replied(self, data: bytes, count: int) -> None:
        pass

    def part(self, data: bytes) -> None:
        pass

    def move(self, stream: Stream, size: int) -> bool:
        return False

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        pass

    def broken(self) -> None:
        pass


NOBODY = Nobody()


class Unheard(Nobody):
    """Receives, in a session's place, replies that the client does not want."""

    __slots__ = ("_request", "_session")

    def __init__(self, session: Session, request: RedisRequest | None) -> None:
        self._session = session
        self._request = request

    def replied(self, data: bytes, count: int) -> None:
        self._session.answered(count)
        if self._request is not None:
            self._session.filters.respond(self._request, b"")
        self._session.look_up()

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self.replied(error, count)


class Filtered:
    """Receives the reply to a command that message filters have seen."""

    __slots__ = ("_request", "_session")

    def __init__(self, session: Session, request: RedisRequest) -> None:
        self._session = session
        self._request = request

    def replied(self, data: bytes, count: int) -> None:
        session = self._session
        session.answered(count)
        session.filters.respond(self._request, data)
        session.look_up()

    def part(self, data: bytes) -> None:
        self._session.filters.respond_part(self._request, data)

    def move(self, stream: Stream, size: int) -> bool:
        return False

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self.replied(error, count)

    def broken(self) -> None:
        self._session.broken()
