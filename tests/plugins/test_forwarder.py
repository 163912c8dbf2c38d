"""What every forwarder does once it has chosen: connect, fail, time out. Tried with ``tcp_proxy``."""

from __future__ import annotations

from errno import ECONNREFUSED
from typing import Any

import pytest

from l4proxy import CloseReason
from l4proxy.plugins.tcp_proxy import TcpProxy
from l4proxy.testing import Harness, use
from memory_cluster import MemoryCluster, memory_cluster

__all__ = ["memory_cluster"]


def start(where: MemoryCluster, *, cluster: dict[str, Any] | None = None, **options: Any) -> Harness:
    return where.start(use(TcpProxy, cluster="c", **options), cluster=cluster)


def end(h: Harness) -> CloseReason:
    assert h.closed is not None
    return h.closed


def test_bytes_run_both_ways_with_half_closes(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster)
    (upstream,) = memory_cluster.ends
    h.client.send(b"question")
    h.client.eof()
    assert upstream.received == b"question"
    assert upstream.got_eof
    upstream.send(b"answer")
    upstream.eof()
    assert h.client.received == b"answer"
    assert h.client.got_eof
    assert (end(h).who, end(h).detail) == ("client", "eof")


def test_what_comes_early_waits_in_order(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster)
    h.client.send(b"a", b"b")
    h.client.eof()
    (upstream,) = memory_cluster.ends
    assert upstream.received == b""
    memory_cluster.accept_all()
    assert upstream.received == b"ab"
    assert upstream.got_eof


def test_a_client_that_goes_while_it_is_connected(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster)
    h.client.reset()
    assert h.finished
    assert end(h).phase == "connecting"
    assert memory_cluster.ends[0].closed
    assert memory_cluster.cluster.connecting == 0


def test_a_failure_tells_everything(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = ECONNREFUSED
    h = start(memory_cluster, max_connect_attempts=3)
    reason = end(h)
    assert (reason.who, reason.phase, reason.detail) == ("upstream", "connecting", "connect_refused")
    assert (reason.errno, reason.flags) == (ECONNREFUSED, ("UF", "URX"))
    assert (h.connection.cluster, h.connection.attempts) == ("c", 3)
    assert h.connection.endpoint in memory_cluster.cluster.endpoints.current
    assert h.connection.endpoint in reason.message
    assert h.client.got_eof


def test_a_second_endpoint_that_accepts_at_once_is_the_second_attempt(memory_cluster: MemoryCluster) -> None:
    memory_cluster.first_answers = [ECONNREFUSED]
    h = start(memory_cluster, max_connect_attempts=2)
    assert h.closed is None
    assert h.connection.attempts == 2


def test_attempts_may_be_spaced(memory_cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    memory_cluster.answer = ECONNREFUSED
    h = start(memory_cluster, max_connect_attempts=3, connect_backoff="1s")
    stats = memory_cluster.cluster.stats
    seen = [stats.connect_failed_total["connect_refused"]]
    for _ in range(4):
        h.advance(1.05)
        seen.append(stats.connect_failed_total["connect_refused"])
    assert seen == [1, 2, 2, 2, 3]
    assert h.connection.attempts == 3


def test_no_endpoint(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster, cluster={"endpoints": [{"address": "192.0.2.1:1", "weight": 0}]})
    assert (end(h).detail, end(h).flags, h.connection.attempts) == ("no_healthy_upstream", ("UH",), 0)


def test_an_idle_connection_is_closed(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster, idle_timeout="8s")
    for _ in range(5):
        h.advance(6)
        h.client.send(b"x")
        h.advance(6)
        memory_cluster.ends[0].send(b"y")
    h.advance(7.9)
    seen = h.closed
    h.advance(2.5)
    assert seen is None
    assert (end(h).who, end(h).detail, end(h).flags) == ("proxy", "idle_timeout", ())
    h.client.eof()
    assert h.finished


def test_bytes_that_trickle_to_a_slow_client_are_no_idleness(memory_cluster: MemoryCluster) -> None:
    h = start(memory_cluster, idle_timeout="4s")
    h.client.stop_reading()
    memory_cluster.ends[0].send(b"x" * 100)
    for _ in range(10):
        h.advance(3)
        h.client.stop_reading(room=1)
        h.poller.happened(h.client.sock)
        h.run()
    assert h.closed is None
    h.advance(6)
    assert end(h).detail == "idle_timeout"


def test_connecting_is_not_idle(memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = "wait"
    h = start(memory_cluster, idle_timeout="1s", cluster={"connect_timeout": "60s"})
    h.advance(10)
    memory_cluster.accept_all()
    assert h.closed is None
    h.advance(1.6)
    assert end(h).detail == "idle_timeout"


@pytest.mark.parametrize("option", ["idle_timeout", "max_connection_duration"])
def test_zero_is_never(option: str, memory_cluster: MemoryCluster) -> None:
    options: dict[str, Any] = {"idle_timeout": 0, option: 0}
    h = start(memory_cluster, **options)
    h.advance(100)
    assert h.closed is None
    assert h.connection._timers is None


@pytest.mark.parametrize("answer", ["accept", "wait"])
def test_a_connection_that_is_too_old_is_closed(answer: Any, memory_cluster: MemoryCluster) -> None:
    memory_cluster.answer = answer
    h = start(memory_cluster, max_connection_duration="9s", cluster={"connect_timeout": "60s"})
    for _ in range(8):
        h.advance(1)
        h.client.send(b"x")
    seen = h.closed
    h.advance(1.2)
    assert seen is None
    assert (end(h).who, end(h).detail, end(h).flags) == ("proxy", "max_connection_duration", ("DT",))
    assert end(h).phase == ("relay" if answer == "accept" else "connecting")
    h.advance(10)
    assert h.finished
    assert memory_cluster.ends[0].closed
    assert memory_cluster.cluster.connecting == 0
