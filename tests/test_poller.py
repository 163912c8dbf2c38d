from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from l4proxy.poller import EDGE, PEER_ENDED, READ, Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def test_events_of_a_closed_descriptor_are_not_told_to_the_next_one_with_its_number(poller: Poller) -> None:
    told: list[str | int] = []
    first, first_peer = socket.socketpair()
    old, old_peer = socket.socketpair()
    new, new_peer = socket.socketpair()

    def close_the_other_and_open_one(_mask: int) -> None:
        poller.unregister(first.fileno())
        poller.unregister(old.fileno())
        os.dup2(new.fileno(), old.fileno())
        poller.register(old.fileno(), READ | EDGE | PEER_ENDED, told.append)

    poller.register(first.fileno(), READ, close_the_other_and_open_one)
    poller.register(old.fileno(), READ, lambda mask: told.append("old"))
    with first, first_peer, old, new, new_peer:
        first_peer.send(b"x")
        old_peer.close()
        new_peer.send(b"x")
        events = poller.epoll.poll(0)
        assert [fd for fd, _ in events] == [first.fileno(), old.fileno()]
        poller.dispatch(events)
        assert told == []
        poller.dispatch(poller.epoll.poll(0))
        assert told == [READ]
