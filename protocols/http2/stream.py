"""One stream: its state, its windows, and what waits to be sent on it."""

from __future__ import annotations

from collections import deque
from typing import Any

from l4proxy.protocols.http2.priority import DEFAULT_URGENCY
from l4proxy.protocols.http2.stream_state import State
from l4proxy.protocols.http_fields import FieldBlock

__all__ = ["Http2Stream"]


class Http2Stream:
    """Made by a connection. What is not documented here is the connection's own."""

    __slots__ = ("abandoned", "body_allowed", "ends", "expected", "full", "has_head", "held",
                 "id", "moved", "moved_at", "opened_at", "owner", "queue", "queued", "recv_target", "recv_window",
                 "scheduled", "send_window", "sequential", "state", "trailers", "unacked", "urgency",
                 "withheld")  # fmt: skip

    def __init__(self, stream_id: int, state: int, recv_window: int, send_window: int, opened_at: float = 0.0) -> None:
        self.id = stream_id
        self.opened_at = opened_at
        self.state = state
        self.owner: Any = None
        """Whatever the owner of the connection keeps here: until the stream is over, where that leads back to it."""
        self.recv_window = recv_window
        self.recv_target = recv_window
        """What the receive window is opened to; grows while the reader keeps up."""
        self.unacked = 0
        """Bytes that were consumed, and not yet given back to the window."""
        self.held = False
        self.withheld = 0
        """Bytes that were consumed while it was held."""
        self.send_window = send_window
        self.expected = -1
        """Bytes of body that Content-Length has promised and that have not come; -1: any number."""
        self.has_head = False
        """Whether the peer's head has come; what follows are trailers."""
        self.body_allowed = True
        """False for the response to HEAD."""
        self.queue: deque[bytes | memoryview] | None = None
        self.queued = 0
        """Bytes of body that wait for a window or for the socket."""
        self.full = False
        """More is queued than should be: whoever makes more should wait."""
        self.ends = False
        """END_STREAM is to follow behind what is queued, with ``trailers`` if there are any."""
        self.trailers: FieldBlock | None = None
        self.abandoned: int | None = None
        """The code to reset it with behind its end."""
        self.scheduled = False
        self.moved = True
        self.moved_at = 0.0
        """Whether something was sent since the time was last looked at, and when that was so."""
        self.urgency = DEFAULT_URGENCY
        self.sequential = False
        """`priority` has what these two mean."""

    @property
    def remote_ended(self) -> bool:
        """The peer has ended its message, or all is over."""
        return self.state >= State.HALF_CLOSED_REMOTE

    @property
    def closed(self) -> bool:
        return self.state == State.CLOSED

    def __repr__(self) -> str:
        return f"<Http2Stream {self.id} {State(self.state).name}>"
