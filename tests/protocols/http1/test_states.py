"""The law of the tables, over all pairs."""

from __future__ import annotations

import itertools

import pytest

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.http1 import ClientCodec, ServerCodec
from l4proxy.protocols.http1.states import TRANSITIONS, Part, State

PAIRS = list(itertools.product(State, Part))


@pytest.mark.parametrize("codec", [ServerCodec, ClientCodec])
@pytest.mark.parametrize(("state", "part"), PAIRS)
def test_a_pair_is_a_transition_or_the_error_of_whoever_did_it(
    codec: type[ServerCodec] | type[ClientCodec], state: State, part: Part
) -> None:
    one = codec()
    one.reading = one.sending = state
    following = TRANSITIONS[state].get(part)
    if following is None:
        with pytest.raises(RemoteProtocolError):
            one._read(part)
        with pytest.raises(LocalProtocolError):
            one._send(part)
        assert one.sending is state
    else:
        one._read(part)
        one._send(part)
        assert one.reading is one.sending is following


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert TRANSITIONS.keys() == set(State)
    reached = {State.IDLE, State.ERROR, *(to for row in TRANSITIONS.values() for to in row.values())}
    assert reached == set(State)


def test_a_broken_connection_stays_broken() -> None:
    codec = ServerCodec()
    with pytest.raises(RemoteProtocolError):
        codec.receive_data(b"GET / HTTP/3.0\r\n\r\n")
    assert codec.reading is State.ERROR
    assert codec.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
