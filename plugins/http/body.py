"""The body of a message, for filters that see, change or gather it. It is made when a filter asks (``request.body``): a
body that nobody asked for passes untouched.

Filters ask while the message is at them (in ``on_request`` or ``on_response``, or while they hold it). What several
filters ask for happens in the order in which the message met them. An exception in what they are called with is theirs,
as one in a callback is; where they change the body it always ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from l4proxy.plugins.http.message import HttpRequest, HttpResponse

__all__ = ["Body", "Pace"]

Piece = Callable[[bytes], bytes]
Last = Callable[[], bytes]


class _Stage(NamedTuple):
    """One who sees or changes the pieces. ``place`` is the filter's in its chain."""

    on_data: Piece
    on_end: Last
    watches: bool
    place: int


class Pace(Protocol):
    """How fast a body may pass."""

    def take(self, size: int) -> int:
        """How many of ``size`` bytes may pass now. Where it is fewer, the rest waits, its sender held back, until
        ``Body.flow`` is called; but it may be asked again before that, when more has come."""

    def put_back(self, size: int) -> None:
        """Of those that it has let pass, so many do not, because somebody else does not let them."""


def _no_more() -> bytes:
    return b""


class Body:
    """One message's body. The exchange feeds it (``pass_on``), filters use the other methods."""

    __slots__ = (
        "_chunk",
        "_ended",
        "_flow",
        "_gather",
        "_limit",
        "_message",
        "_paces",
        "_paused",
        "_stages",
        "again",
        "broken",
    )

    def __init__(self, message: HttpRequest | HttpResponse) -> None:
        self._message = message
        self._stages: list[_Stage] = []
        self._gather: tuple[Callable[[bytes | None], object], int] | None = None
        self._limit = 0
        self._paused = 0
        self._chunk = 0
        self._ended = False
        self.broken = False
        """A filter has failed at it, and its connection is about to be closed."""
        self.again = b""
        """What has passed all who change it, and is to be sent a second time."""
        self._paces: list[Pace] = []
        self._flow: Callable[[], object] = bool

    # For filters

    def watch(self, on_data: Callable[[bytes], object], on_end: Callable[[], object] | None = None) -> None:
        """Call ``on_data`` with each piece of the body as it passes, and ``on_end`` behind the last one. A body that is
        broken off has no end."""

        def see(data: bytes) -> bytes:
            on_data(data)
            return data

        def ended() -> bytes:
            if on_end is not None:
                on_end()
            return b""

        self._stages.append(_Stage(see, ended, True, self._message._place))

    def change(self, on_data: Piece, on_end: Last = _no_more, *, length: int | None = None) -> None:
        """Put what ``on_data`` returns (it may be empty) in the place of each piece, and what ``on_end`` returns behind
        the last one. The body then has no length that is known beforehand, unless ``length`` says it."""
        self._stages.append(_Stage(on_data, on_end, False, self._message._place))
        self.set_length(length)

    def set_length(self, length: int | None) -> None:
        """What the fields say of the body's length."""
        message = self._message
        message.content_length = length
        if length is None:
            message.headers.discard("content-length")
        else:
            message.headers["Content-Length"] = str(length)

    def gather(self, limit: int, done: Callable[[bytes | None], object]) -> None:
        """Of a message that this filter holds: call ``done(body)`` as soon as all of it has come, or ``done(None)``
        when it is longer than ``limit``. The body goes on with the message, whichever it was. Possibly called at
        once."""
        self._gather, self._limit = (done, self._message._place), limit
        self._flow()

    def pause(self) -> None:
        """No piece goes on until ``resume``; the sender is held back. Each pause needs its resume."""
        self._paused += 1

    def resume(self) -> None:
        self._paused -= 1
        if not self._paused:
            self._flow()

    def pace(self, pace: Pace) -> None:
        """Let only so many bytes pass as ``pace`` says."""
        self._paces.append(pace)

    def in_chunks(self, size: int) -> None:
        """Let no more than so many bytes pass at a time, and more only as long as the receiver is not full: for a
        ``change`` that makes much of little."""
        self._chunk = min(self._chunk or size, size)

    def flow(self) -> None:
        """More may pass than before."""
        self._flow()

    # For the exchange

    @property
    def paused(self) -> bool:
        return self._paused > 0 or self.broken

    @property
    def paced(self) -> bool:
        return bool(self._paces) or self._chunk > 0

    def may_pass(self, size: int) -> int:
        """How many bytes of ``size`` that wait may pass now. They do, then."""
        if self._chunk:
            size = min(size, self._chunk)
        taken: list[tuple[Pace, int]] = []
        for pace in self._paces:
            taken.append((pace, may := pace.take(size)))
            size = may
        for pace, may in taken:
            if may > size:
                pace.put_back(may - size)
        return size

    @property
    def touched(self) -> bool:
        """Somebody sees, changes or slows the pieces."""
        return bool(self._stages) or self.paced

    def gathering(self, limit: int) -> int:
        """How many bytes may wait for a held message."""
        return self._limit if self._gather is not None else limit

    def gathered(self, pieces: list[bytes], size: int, end: bool) -> None:
        """What waits of the body of a held message."""
        if self._gather is not None and (end or size > self._limit):
            (done, place), self._gather = self._gather, None
            try:
                done(b"".join(pieces) if size <= self._limit else None)
            except Exception as error:
                self._failed(place, error)

    def flow_by(self, flow: Callable[[], object]) -> None:
        """What to call when a pause is over, or a filter begins to gather."""
        self._flow = flow

    def pass_on(self, data: bytes, end: bool) -> bytes:
        """A piece on its way: return what goes on in its place."""
        if self._ended:
            return data
        self._ended = end
        for stage in self._stages:
            try:
                if data:
                    data = stage.on_data(data)
                if end:
                    data += stage.on_end()
                elif not data:
                    break
            except Exception as error:
                if not self._failed(stage.place, error, watches=stage.watches):
                    return b""
        return data

    def _failed(self, place: int, error: Exception, *, watches: bool = False) -> bool:
        """A filter raised. Return True when the body may pass all the same."""
        request: Any = getattr(self._message, "request", self._message)
        if place < 0 or request.exchange is None:
            raise error
        chain = request.exchange.host.chain
        goes_on: bool = chain.failed_at(request, place, error)
        if goes_on and watches:
            self._stages = [stage for stage in self._stages if stage.place != place]
            return True
        if goes_on:
            chain.end("http", "filter_error", flush=False, message=repr(error))
        self.broken = True
        return False
