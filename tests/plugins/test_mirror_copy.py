"""What becomes of a copy, whatever its client, its cluster and the connection between them do."""

from __future__ import annotations

from errno import ECONNREFUSED
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l4proxy.plugins.mirror import Mirror
from l4proxy.plugins.mirror_copy import LINGER, MirrorStats
from l4proxy.testing import Harness, use
from memory_cluster import MemoryCluster, memory_cluster

__all__ = ["memory_cluster"]

KIB = 1024


def stats(h: Harness) -> MirrorStats:
    return h.stats.group(MirrorStats, cluster="c")


def start(where: MemoryCluster, **options: Any) -> Harness:
    return where.start(use(Mirror, cluster="c", **options))


def given_up(h: Harness) -> dict[str, int]:
    assert stats(h).copies_active == 0
    assert h.server.uses[0].shared.active == set()
    return stats(h).given_up_total.values


def test_what_the_client_sends_is_copied_and_the_answer_dropped(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    (copy,) = memory_cluster.ends
    h.client.send(b"a", b"b")
    copy.send(b"wrong")
    h.upstream.send(b"right")
    h.client.eof()
    assert copy.received == h.upstream.received == b"ab"
    assert copy.got_eof
    assert h.client.received == b"right"
    assert stats(h).copies_active == 1
    copy.eof()
    assert (copy.closed, copy.got_reset) == (True, False)
    assert h.closed is None, "the original goes on"
    assert given_up(h) == {}


def test_it_waits_for_its_connection_in_order(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster)
    h.client.send(b"a", b"b")
    h.client.eof()
    assert h.upstream.received == b"ab", "the original does not wait for it"
    memory_cluster.accept_all()
    (copy,) = memory_cluster.ends
    assert copy.received == b"ab"
    assert copy.got_eof


def test_it_is_delivered_also_when_the_original_is_over(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster)
    h.client.send(b"a")
    h.client.eof()
    h.upstream.eof()
    assert h.finished
    memory_cluster.accept_all()
    (copy,) = memory_cluster.ends
    assert copy.received == b"a"
    copy.eof()
    assert copy.closed
    assert given_up(h) == {}


def test_an_answer_that_never_ends_is_not_waited_for(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    h.client.send(b"a")
    h.client.eof()
    h.upstream.eof()
    (copy,) = memory_cluster.ends
    h.advance(LINGER - 0.2)
    copy.send(b"still talking")
    assert stats(h).copies_active == 1
    h.advance(0.5)
    assert copy.closed
    assert given_up(h) == {}


def test_a_copy_that_the_other_side_does_not_take_in_time(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    (copy,) = memory_cluster.ends
    copy.stop_reading()
    h.client.send(b"a")
    h.client.eof()
    h.upstream.eof()
    h.advance(LINGER + 0.2)
    assert copy.got_reset
    assert given_up(h) == {"timeout": 1}


@pytest.mark.parametrize("waits", [True, False])
def test_a_copy_that_falls_behind_is_given_up(waits: bool, memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait" if waits else "accept"
    h = start(memory_cluster, buffer_limit="64KiB")
    (copy,) = memory_cluster.ends
    copy.stop_reading()
    h.client.send(*[bytes(KIB)] * 64)
    assert stats(h).copies_active == 1
    h.client.send(b"x")
    assert given_up(h) == {"overflow": 1}
    assert copy.closed
    h.client.send(b"and on")
    assert len(h.upstream.received) == 64 * KIB + 7
    assert h.connection.client.on_data == h.connection.upstream.write, "nobody reads it any more"


def test_a_cluster_that_refuses(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = ECONNREFUSED
    h = start(memory_cluster)
    h.client.send(b"a")
    h.upstream.send(b"b")
    assert (h.upstream.received, h.client.received) == (b"a", b"b")
    assert given_up(h) == {"connect_refused": 1}


def test_a_cluster_that_does_not_answer(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster)
    h.client.send(b"a")
    h.advance(5.2)
    assert given_up(h) == {"connect_timeout": 1}
    h.client.send(b"b")
    assert h.upstream.received == b"ab"


def test_a_cluster_that_breaks_off(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    h.client.send(b"a")
    memory_cluster.ends[0].reset()
    h.client.send(b"b")
    assert h.upstream.received == b"ab"
    assert given_up(h) == {"reset": 1}


def test_a_cluster_that_ends_first_may_still_be_listening(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    (copy,) = memory_cluster.ends
    copy.eof()
    h.client.send(b"a")
    assert copy.received == b"a"
    h.client.reset()
    assert copy.closed


def test_a_clients_reset_is_copied(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    h.client.send(b"half a reque")
    h.client.reset()
    assert h.finished
    assert memory_cluster.ends[0].got_reset
    assert given_up(h) == {}


def test_a_client_that_resets_before_its_copy_is_connected(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster)
    h.client.reset()
    assert memory_cluster.ends[0].closed
    assert memory_cluster.cluster.connecting == 0
    assert given_up(h) == {}


@pytest.mark.parametrize("answer", ["accept", "wait"])
def test_when_the_configuration_goes_so_do_its_copies(answer: Any, memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = answer
    h = start(memory_cluster)
    h.client.send(b"a")
    h.client.eof()
    h.upstream.eof()
    h.server.uses[0].cleanup()
    assert memory_cluster.ends[0].closed
    assert memory_cluster.cluster.connecting == memory_cluster.cluster.endpoints.open == 0
    assert given_up(h) == {}
    h.advance(10)


ACTIONS = ["send", "end", "reset", "upstream_end", "accept", "copy_end", "copy_reset", "copy_stops", "time"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["accept", "wait"]), st.lists(st.sampled_from(ACTIONS), max_size=12))
def test_whatever_happens_the_original_is_whole_and_nothing_is_left(
    memory_cluster: MemoryCluster, answer: Any, actions: list[str]
) -> None:
    memory_cluster.answer = answer
    h = start(memory_cluster, buffer_limit="4KiB")
    (copy,) = memory_cluster.ends
    sent, ended = b"", False
    for action in actions:
        if action == "send" and not ended:
            sent += b"x" * 1500
            h.client.send(b"x" * 1500)
        elif action in ("end", "reset"):
            ended = True
            h.client.eof() if action == "end" else h.client.reset()
        elif action == "upstream_end":
            h.upstream.eof()
        elif action == "accept":
            memory_cluster.accept_all()
        elif action == "copy_end":
            copy.eof()
        elif action == "copy_reset":
            copy.reset()
        elif action == "copy_stops":
            copy.stop_reading()
        else:
            h.advance(1)
        assert sent.startswith(copy.received)
    if "reset" not in actions:
        assert h.upstream.received == sent
    h.client.reset()
    h.upstream.reset()
    h.advance(20)
    assert h.finished
    assert copy.closed
    assert stats(h).copies_active == memory_cluster.cluster.connecting == memory_cluster.cluster.endpoints.open == 0
