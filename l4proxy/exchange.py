"""Exchanges: what happened on the wire, one request with its response at a time, for people and programs that watch.

An inspector makes them only while somebody wants them (``Inspector.on_exchange``). A protocol derives a class of its
own::

    class LineExchange(Exchange):
        __slots__ = ("key",)
        key: str

        def fields(self):
            return {"key": self.key}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l4proxy.inspector import Link

__all__ = ["Exchange", "Notice", "Selector"]


class Exchange:
    """One request with its response, made when the last of it was seen.

    ``at`` is when the request was there, in seconds since the epoch, ``seconds`` how long the response took; None where
    there is none, be it that the protocol has none or that it was not seen. ``kind`` is the protocol's word
    (``Produce``, ``GET``), ``error`` the protocol's name of what went wrong (``NOT_LEADER_OR_FOLLOWER``, ``WRONGTYPE``,
    ``503``), else empty. Sizes are bytes on the wire.
    """

    __slots__ = ("at", "error", "kind", "link", "request_bytes", "response_bytes", "seconds")

    def __init__(
        self,
        link: Link,
        at: float,
        kind: str,
        seconds: float | None = None,
        *,
        error: str = "",
        request_bytes: int = 0,
        response_bytes: int = 0,
    ) -> None:
        self.link = link
        self.at = at
        self.kind = kind
        self.seconds = seconds
        self.error = error
        self.request_bytes = request_bytes
        self.response_bytes = response_bytes

    def fields(self) -> Mapping[str, Any]:
        """What the protocol knows beyond the attributes above, as plain data: a JSON line has these behind those."""
        return {}

    def text(self) -> str:
        """The same for people, in a few words: ``orders/0 5 records``."""
        return " ".join(f"{key}={value}" for key, value in self.fields().items() if value not in (None, "", [], {}))

    def line(self) -> str:
        """All of it but the time, on one line: ``192.0.2.1:4711 Produce 1.234ms orders/0 5 records``."""
        took = "" if self.seconds is None else f"{self.seconds * 1000:.3f}ms"
        return " ".join(filter(None, (str(self.link.client), self.kind, took, self.error, self.text())))


class Notice(Exchange):
    """Something that was seen and is no exchange: TLS where the protocol was expected, a rebalance, a lost leader."""

    __slots__ = ("message",)

    def __init__(self, link: Link, at: float, kind: str, message: str, *, error: str = "") -> None:
        super().__init__(link, at, kind, error=error)
        self.message = message

    def fields(self) -> Mapping[str, Any]:
        return {"message": self.message}

    def text(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Selector:
    """An option of ``l4proxy sniff`` that chooses exchanges by something they have: ``--topic 'orders*'``.

    ``texts(exchange)`` returns what the option's pattern, a glob, is held against; an exchange is chosen when one of
    them fits. It is asked about exchanges of the inspector's own classes, never about notices. An option may be given
    several times, and chooses what any of its patterns fits; of different options all have to choose. Tables that have
    a column of the selector's name show only rows that fit. A selector with the name of a common option (``client``)
    takes its place.
    """

    name: str
    """The option without its hyphens; also the title of the column."""
    metavar: str
    """What stands behind it in the help: ``TOPIC``."""
    help: str
    texts: Callable[[Any], Iterable[str]]
