"""The subscriptions of a client that goes on sending commands elsewhere.

In RESP3, who has subscribed may send any command. Where these do not go to the connection that has the subscriptions
(keys are on several servers, or the server is spoken to in RESP2 and would refuse them), subscriptions have one to
themselves. What comes on it is for the client at any time, only not in the middle of a reply, and long replies are
passed on in parts. So all that the client gets goes through here: then it is known where replies end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.plugins.redis.asked import answers_to
from l4proxy.plugins.redis.own import give_errors
from l4proxy.protocols.redis.reply import ReplyScanner

if TYPE_CHECKING:
    from l4proxy.plugins.redis.asked import Asked
    from l4proxy.plugins.redis.dedicated import DedicatedConnection
    from l4proxy.plugins.redis.session import Session, Task
    from l4proxy.plugins.redis.treatment import Treatment
    from l4proxy.stream import Stream

__all__ = ["Subscriptions"]


class Subscriptions:
    """Of one session; the owner of their connection. Made when the session has all its replies."""

    __slots__ = ("_asking", "_held", "_held_size", "_parts", "_rest", "_scanner", "_session", "_within", "connection",
                 "send_client")  # fmt: skip

    def __init__(self, session: Session, connection: DedicatedConnection, send_client: Callable[[bytes], None]) -> None:
        self._session = session
        self.connection = connection
        connection.owner = self
        self.send_client = send_client
        """How the session sends to its client when there are no subscriptions."""
        self._scanner = ReplyScanner(connection.pool.limits)
        self._rest = bytearray()
        self._within = False
        """The client has had only a part of a reply."""
        self._held: list[bytes] = []
        """Messages that came meanwhile."""
        self._held_size = 0
        self._parts: list[bytes] = []
        """Of a message that has not come whole."""
        self._asking = False

    def subscribe(self, treatment: Treatment, run: Task) -> None:
        """Send a command that begins or ends subscriptions. The session waits until it is answered."""
        self._asking = True
        self.connection.send(treatment, run[2], answers_to(treatment, run[0].argc), task=run)

    def write(self, data: bytes) -> None:
        """Send the client what follows of its replies."""
        self.send_client(data)
        rest, scanner, start = self._rest, self._scanner, 0
        rest += data
        self._within = False
        while start < len(rest) and not self._within:
            end = scanner.end(rest, start)
            self._within = end < 0
            if self._within:
                end = start + min(scanner.settled, len(rest) - start)
                scanner.passed(end - start)
            start = end
        del rest[:start]
        scanner.errors.clear()
        if self._held and not self._within:
            held, self._held, self._held_size = b"".join(self._held), [], 0
            self.connection.hold_reading(False)
            self.send_client(held)

    # What comes on their connection

    def own_reply(self, asked: Asked, data: bytes) -> None:
        self._session.subscription_reply(asked, self._whole(data), self.connection)

    def own_part(self, asked: Asked | None, data: bytes) -> None:
        self._parts.append(data)  # the server disconnects subscribers for which it would have to hold much

    def own_unasked(self, data: bytes) -> None:
        data = self._whole(data)
        if self._within:
            self._held.append(data)
            self._held_size += len(data)
            if self._held_size > self._session.hub.config.reply_buffer:
                self.connection.hold_reading(True)
        else:
            self._session.give(data)

    def _whole(self, data: bytes) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join([*parts, data]) if parts else data

    def move(self, stream: Stream, size: int) -> bool:
        return False

    def own_writable(self, writable: bool) -> None:
        """The session waits anyway."""

    def own_settled(self) -> None:
        session, asking, self._asking = self._session, self._asking, False
        if self.connection.clean and not self._held:
            session.drop_subscriptions()
        if asking:
            session.resume()

    def own_lost(self, error: bytes, missing: list[Asked]) -> None:
        session, stateful = self._session, self.connection.stateful
        give_errors(session, error, missing)
        session.drop_subscriptions()
        if stateful:
            session.finish("upstream", "state_lost")
        else:
            session.resume()
