"""The table of states, all pairs, against the law of RFC 9113 section 5.1."""

from __future__ import annotations

import itertools

import pytest

from l4proxy.protocols.http2.stream_state import NEXT, TRANSITIONS, Fault, Input, State

SENDS = [event for event in Input if event.name.startswith("SEND")]
PAIRS = list(itertools.product(State, Input))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_the_law(state: State, event: Input) -> None:
    """What the RFC says in sentences, and not in rows and columns."""
    after = TRANSITIONS[state][event]
    ours, what = event in SENDS, event.name.split("_", 1)[1]
    we_ended = state in (State.HALF_CLOSED_LOCAL, State.CLOSED)
    they_ended = state in (State.HALF_CLOSED_REMOTE, State.CLOSED)
    ended = we_ended if ours else they_ended
    if state is State.IDLE and not what.startswith("HEADERS"):
        assert after is (Fault.LOCAL if ours else Fault.NOT_OPENED)
    elif what == "RST_STREAM":
        assert after is (Fault.LOCAL if ours and state is State.CLOSED else State.CLOSED)
    elif what == "WINDOW_UPDATE":
        assert after is state
    elif ended:
        gone = Fault.GONE if state is State.CLOSED else Fault.STREAM_CLOSED
        assert after is (Fault.LOCAL if ours else gone)
    elif not what.endswith("_END"):
        assert after is (State.OPEN if state is State.IDLE else state)
    elif state in (State.IDLE, State.OPEN):
        assert after is (State.HALF_CLOSED_LOCAL if ours else State.HALF_CLOSED_REMOTE)
    else:
        assert after is State.CLOSED


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_the_two_forms_agree(state: State, event: Input) -> None:
    assert NEXT[state << 4 | event] == TRANSITIONS[state][event]


def test_closed_is_for_ever_and_idle_never_again() -> None:
    assert not any(after in (State.IDLE,) for row in TRANSITIONS.values() for after in row.values())
    assert {after for after in TRANSITIONS[State.CLOSED].values() if isinstance(after, State)} == {State.CLOSED}


def test_whatever_is_above_closed_is_a_fault() -> None:
    assert max(State) == State.CLOSED < min(Fault)
