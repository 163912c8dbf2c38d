"""The states of a connection, as tables: which part of a message may follow which.

A codec has two of them: one for the messages it reads, one for those it sends. The tables are the specification; the
codec only looks up. What is not in a table is an error: the peer's when it was read, ours when it was to be sent.

=========== =====================================================================================================
IDLE        between messages
BODY        a head has passed, its body has not ended
DONE        the message is complete; the next one waits until the other direction is done, too (``next_cycle``)
MUST_CLOSE  the message is complete, and no other one can follow on this connection
TUNNEL      the bytes are no longer HTTP
CLOSED      the side has ended
ERROR       something was wrong; nothing more is read or sent
=========== =====================================================================================================
"""

from __future__ import annotations

from enum import IntEnum, auto

__all__ = ["TRANSITIONS", "Part", "State"]


class State(IntEnum):
    IDLE = auto()
    BODY = auto()
    DONE = auto()
    MUST_CLOSE = auto()
    TUNNEL = auto()
    CLOSED = auto()
    ERROR = auto()


class Part(IntEnum):
    """What can pass."""

    INTERIM = auto()
    """The head of a 1xx response, which is whole."""
    HEAD = auto()
    """The head of a message with a body."""
    WHOLE = auto()
    """A message without a body: head and end at once."""
    DATA = auto()
    END = auto()
    SWITCH = auto()
    """Both sides have agreed on another protocol."""
    LAST = auto()
    """This message is the last of the connection (``Connection: close``, HTTP/1.0, a body until the end)."""
    NEXT = auto()
    """Both directions are done: a new cycle begins."""
    EOF = auto()


S, P = State, Part

TRANSITIONS: dict[State, dict[Part, State]] = {
    S.IDLE: {P.INTERIM: S.IDLE, P.HEAD: S.BODY, P.WHOLE: S.DONE, P.SWITCH: S.TUNNEL, P.EOF: S.CLOSED},
    S.BODY: {P.DATA: S.BODY, P.END: S.DONE},
    S.DONE: {P.LAST: S.MUST_CLOSE, P.SWITCH: S.TUNNEL, P.NEXT: S.IDLE, P.EOF: S.MUST_CLOSE},
    S.MUST_CLOSE: {P.EOF: S.CLOSED},
    S.TUNNEL: {P.DATA: S.TUNNEL, P.EOF: S.CLOSED},
    S.CLOSED: {P.EOF: S.CLOSED},
    S.ERROR: {},
}
