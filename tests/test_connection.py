"""How connections end: what is flushed, what is a reset."""

from __future__ import annotations

import pytest

from l4proxy.connection import FLUSH_TIMEOUT
from l4proxy.testing import Harness, harness


def ended_by_both(*, room: int = 0) -> Harness:
    """A connection that both sides have ended, with 1000 bytes for the client, who takes ``room`` of them."""
    h = harness()
    h.client.stop_reading(room)
    h.upstream.send(bytes(1000))
    h.upstream.eof()
    h.client.eof()
    assert str(h.closed) == "upstream:eof phase=relay"
    return h


def take(h: Harness, size: int) -> None:
    """The client reads a little."""
    h.client.stop_reading(size)
    h.poller.happened(h.client.sock)
    h.run()


def test_a_client_that_takes_nothing_more_is_reset() -> None:
    h = ended_by_both(room=999)
    assert not h.client.closed
    h.advance(2 * FLUSH_TIMEOUT)
    assert h.client.got_reset
    assert h.finished


def test_a_slow_client_gets_everything_as_long_as_it_takes_something() -> None:
    h = ended_by_both()
    for size in range(100, 1000, 100):
        take(h, 100)
        assert len(h.client.received) == size
        h.advance(0.9 * FLUSH_TIMEOUT)
    take(h, 100)
    assert h.client.received == bytes(1000)
    assert h.finished
    assert not h.client.got_reset


@pytest.mark.parametrize(("upstream_ends", "looks_complete"), [(False, False), (True, True)])
def test_what_is_cut_off_looks_complete_only_where_it_is(upstream_ends: bool, looks_complete: bool) -> None:
    h = harness()
    h.upstream.send(b"some of it")
    if upstream_ends:
        h.upstream.eof()
    h.connection.cut_off("drain_timeout")
    h.run()
    assert h.client.received == b"some of it"
    assert h.client.got_reset is not looks_complete
    assert str(h.closed) == "proxy:drain_timeout phase=relay"
    assert h.finished


def test_a_flush_can_be_cut_off_and_keeps_its_reason() -> None:
    h = ended_by_both()
    h.connection.cut_off("drain_timeout")
    h.run()
    assert h.finished
    assert h.client.got_reset
    assert str(h.closed) == "upstream:eof phase=relay"
