"""The life of a stream (RFC 9113 section 5.1), as a table.

The two reserved states are missing: they belong to server push, which is refused (a PUSH_PROMISE is an error of the
connection, section 8.4). Streams that are over are not kept; the last column is for what still arrives for one, or
happens to one in the frames of a single read. Who has reset a stream ignores what was on its way meanwhile
(section 5.1, "closed"); that is for the connection to remember, since the table cannot.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["NEXT", "TRANSITIONS", "Fault", "Input", "State"]


class State(IntEnum):
    IDLE = 0
    OPEN = 1
    HALF_CLOSED_LOCAL = 2
    """We have sent END_STREAM."""
    HALF_CLOSED_REMOTE = 3
    """The peer has."""
    CLOSED = 4


class Fault(IntEnum):
    """What an input is where it has no place."""

    LOCAL = 8
    """Ours: a bug."""
    STREAM_CLOSED = 9
    """An error of the stream, STREAM_CLOSED."""
    GONE = 10
    """An error of the connection, STREAM_CLOSED."""
    NOT_OPENED = 11
    """An error of the connection, PROTOCOL_ERROR."""


class Input(IntEnum):
    """What happens to a stream. ``_END``: with END_STREAM set."""

    SEND_HEADERS = 0
    SEND_HEADERS_END = 1
    SEND_DATA = 2
    SEND_DATA_END = 3
    SEND_RST_STREAM = 4
    RECV_HEADERS = 5
    RECV_HEADERS_END = 6
    RECV_DATA = 7
    RECV_DATA_END = 8
    RECV_RST_STREAM = 9
    RECV_WINDOW_UPDATE = 10


_I, _O, _L, _R, _C = State
_BUG, _SHUT, _GONE, _NEW = Fault

_TABLE: dict[Input, tuple[State | Fault, ...]] = {
    #                         IDLE  OPEN  HALF_CLOSED_LOCAL  HALF_CLOSED_REMOTE  CLOSED
    Input.SEND_HEADERS:       (_O,   _O,   _BUG,              _R,                 _BUG),
    Input.SEND_HEADERS_END:   (_L,   _L,   _BUG,              _C,                 _BUG),
    Input.SEND_DATA:          (_BUG, _O,   _BUG,              _R,                 _BUG),
    Input.SEND_DATA_END:      (_BUG, _L,   _BUG,              _C,                 _BUG),
    Input.SEND_RST_STREAM:    (_BUG, _C,   _C,                _C,                 _BUG),
    Input.RECV_HEADERS:       (_O,   _O,   _L,                _SHUT,              _GONE),
    Input.RECV_HEADERS_END:   (_R,   _R,   _C,                _SHUT,              _GONE),
    Input.RECV_DATA:          (_NEW, _O,   _L,                _SHUT,              _GONE),
    Input.RECV_DATA_END:      (_NEW, _R,   _C,                _SHUT,              _GONE),
    Input.RECV_RST_STREAM:    (_NEW, _C,   _C,                _C,                 _C),
    Input.RECV_WINDOW_UPDATE: (_NEW, _O,   _L,                _R,                 _C),
}  # fmt: skip

TRANSITIONS: dict[State, dict[Input, State | Fault]] = {
    state: {event: row[state] for event, row in _TABLE.items()} for state in State
}
"""State and input to the next state, or to what is wrong."""

NEXT: tuple[int, ...] = tuple(
    int(TRANSITIONS[State(at >> 4)][Input(at & 15)]) if at & 15 < len(Input) else Fault.LOCAL
    for at in range(len(State) << 4)
)
"""The same for the byte path: ``NEXT[state << 4 | input]``. Whatever is above ``State.CLOSED`` is a `Fault`."""
