"""The contract of codecs: bytes in, events out. No socket, no loop, no clock.

A **codec** turns one direction of one connection into events and back. A forwarding proxy has rules that an endpoint
library has not: events keep ``raw``, the very bytes they were read from, and an event that nobody changed is sent as
those bytes. State is a table, a parser remembers how far it has looked (so that byte-at-a-time input stays linear), and
every limit has a name, a default and a test.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeVar

__all__ = ["Codec", "LocalProtocolError", "ProtocolError", "RemoteProtocolError"]

E = TypeVar("E")


class ProtocolError(Exception):
    """Base of the two below; never raised itself.

    ``reply`` holds the bytes that the peer should be told before the connection is closed (empty: close in silence).
    ``code`` is a stable snake-case name, used as the label of the error counter.
    """

    def __init__(self, message: str, *, code: str = "protocol_error", reply: bytes = b"") -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError")
        super().__init__(message)
        self.code = code
        self.reply = reply


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: answer ``reply``, count ``code``, close."""


class LocalProtocolError(ProtocolError):
    """Our own side asked a codec for something the protocol forbids: a bug here, not there."""


class Codec(Protocol[E]):
    """One direction of one connection."""

    name: ClassVar[str]

    def receive_data(self, data: bytes) -> list[E]:
        """Take a chunk as it came from the wire, return the events it completes. ``b""`` is end of stream.

        Raises RemoteProtocolError; after that the codec takes no more data.
        """

    def send(self, event: E) -> bytes:
        """Return the bytes of an event: ``event.raw`` where nothing was changed. Raises LocalProtocolError."""

    def leftover(self) -> bytes:
        """Bytes received but not part of any event: what follows a switch of protocols, or an unfinished frame."""
