"""A question of the proxy's own to a server, on a connection that clients share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.codec import RemoteProtocolError
from l4proxy.errors import UpstreamError
from l4proxy.plugins.redis.receivers import Nobody
from l4proxy.plugins.redis.replies import UNREADABLE, of_upstream_error
from l4proxy.protocols.redis.values import Value, decode

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.plugins.redis.shared import SharedConnection
    from l4proxy.plugins.redis.treatment import Treatment

Answered: TypeAlias = "Callable[[Value, Endpoint | None], object]"

__all__ = ["Inquiry", "inquire"]


class Inquiry(Nobody):
    """Receives the answer. ``answered`` is called with it, and with the server, once; that there is none is a
    ``Failure``."""

    def __init__(self, link: SharedConnection, answered: Answered) -> None:
        self._link = link
        self._call = answered
        self._parts = b""

    def _answered(self, value: Value) -> None:
        self._call(value, self._link.endpoint)

    def replied(self, data: bytes, count: int) -> None:
        try:
            value, _ = decode(self._parts + data)
        except RemoteProtocolError:
            value, _ = decode(UNREADABLE)
        self._answered(value)

    def part(self, data: bytes) -> None:
        self._parts += data

    def failed(self, error: bytes, count: int, *, sent: bool = True) -> None:
        self._answered(decode(error)[0])


def inquire(pool: Pool, treatment: Treatment, command: bytes, answered: Answered) -> None:
    """Ask. ``answered`` may be called before this returns."""
    try:
        link = pool.shared_connection()
    except UpstreamError as error:
        answered(decode(of_upstream_error(error))[0], pool.endpoint)
        return
    link.send(Inquiry(link, answered), treatment, 1, command)
