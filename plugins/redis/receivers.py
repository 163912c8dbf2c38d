"""Who receives replies: clients, or somebody in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from l4proxy.plugins.redis.message import RedisRequest
    from l4proxy.plugins.redis.session import Session
    from l4proxy.plugins.redis.treatment import Treatment
    from l4proxy.stream import Stream

__all__ = ["NOBODY", "Filtered", "Nobody", "Receiver", "Unheard"]


class Receiver:
    """For each command that was sent, exactly one of ``replied`` and ``failed`` is told, in order."""

    __slots__ = ()

    wants_each: ClassVar[bool] = False
    """It is given many replies at once, and would have to look where each of them ends."""

    def replied(self, data: bytes, count: int) -> None:
        """``count`` whole replies, or, by itself, the end of one of which ``part`` has had the beginning."""
        raise NotImplementedError

    def replied_each(self, replies: list[bytes]) -> None:
        """The same for short replies that are no errors, where it is known already where each of them ends."""
        self.replied(b"".join(replies), len(replies))

    def apart(self) -> list[tuple[Treatment, bytes]]:
        """Those of the commands of several kinds that were sent for it together (`SharedConnection.send_several`) and
        have no reply, and how each is treated. From now on they are counted one by one, and not by this receiver."""
        raise NotImplementedError

    def part(self, data: bytes) -> None:
        """A part of a reply that goes on."""
        raise NotImplementedError

    def move(self, stream: Stream, size: int) -> bool:
        """Let the kernel move the next ``size`` bytes of that reply from the server's stream to the client's. False:
        they have to be read."""
        return False

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        """There is no reply, ``count`` times; ``error`` is one to give instead. Unless they were ``sent``, the server
        cannot have done them."""
        raise NotImplementedError

    def broken(self) -> None:
        """The reply of which ``part`` has had the beginning will not be completed. Then ``failed`` is told, too."""
        raise NotImplementedError


class Nobody(Receiver):
    """Receives what nobody has asked for."""

    def replied(self, data: bytes, count: int) -> None:
        pass

    def part(self, data: bytes) -> None:
        pass

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


class Filtered(Receiver):
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

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        if not self._session.fails(error):
            self.replied(error, count)

    def broken(self) -> None:
        self._session.broken()
