from __future__ import annotations

import socket

from clusters import Runtime, run, running, until
from l4proxy.address import Address
from l4proxy.cluster import ClusterStats
from l4proxy.dial import lost_detail
from l4proxy.endpoint import Endpoint, EndpointSpec
from l4proxy.endpoint_set import EndpointSet
from l4proxy.stream import Stream


def spec(port: int, weight: int = 1) -> EndpointSpec:
    return EndpointSpec.of_address(Address("127.0.0.1", port), weight=weight)


def endpoint_set(runtime: Runtime) -> EndpointSet:
    return EndpointSet("c", runtime.stats, runtime.stats.group(ClusterStats, cluster="c"), runtime.timers)


class Connections:
    """Streams to endpoints; what the peer holds is in ``peers``."""

    def __init__(self, runtime: Runtime, endpoints: EndpointSet) -> None:
        self._runtime = runtime
        self._endpoints = endpoints
        self.peers: list[socket.socket] = []

    def open(self, endpoint: Endpoint) -> Stream:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        self.peers.append(peer)
        stream = Stream(ours, self._runtime.poller)
        self._endpoints.attempted(endpoint)
        self._endpoints.opened(endpoint, stream, 0.001)
        stream.start()
        return stream

    def close(self) -> None:
        self._endpoints.each(lambda stream: stream.close())
        for peer in self.peers:
            peer.close()


def shown(runtime: Runtime, metric: str) -> dict[str, object]:
    """A metric's values by endpoint."""
    return {one["labels"][1]: one["value"] for one in runtime.stats.snapshot()[f"l4proxy_endpoint_{metric}"]["samples"]}


def test_an_update_says_whether_the_choice_is_another() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            assert endpoints.update([spec(1), spec(2, weight=3)])
            assert not endpoints.update([spec(2, weight=3), spec(1)])
            assert endpoints.update([spec(1), spec(2, weight=4)])
            assert endpoints.update([spec(1)])
            assert endpoints.update([spec(1, weight=0)])
            assert endpoints.choosable() == []
            assert not endpoints.update([])

    run(main)


def test_the_same_name_stays_the_same_endpoint() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            endpoints.update([EndpointSpec("db:1", (Address("127.0.0.1", 1),), "db")])
            endpoint = endpoints.current["db:1"]
            assert not endpoints.update([EndpointSpec("db:1", (Address("127.0.0.2", 1),), "db")])
            assert endpoints.current["db:1"] is endpoint
            assert endpoint.targets[0].sockaddr == ("127.0.0.2", 1)

    run(main)


def test_of_two_with_one_name_the_first_counts() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            endpoints.update([spec(1, weight=5), spec(1, weight=6)])
            assert [one.weight for one in endpoints.choosable()] == [5]

    run(main)


def test_an_idle_endpoint_is_gone_at_once() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            endpoints.update([spec(1), spec(2)])
            endpoints.update([spec(2)])
            assert endpoints.removed == {}
            assert list(shown(runtime, "connections_total")) == ["127.0.0.1:2"]

    run(main)


def test_a_removed_endpoint_drains_until_its_last_connection_is_closed() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            connections = Connections(runtime, endpoints)
            endpoints.update([spec(1)])
            endpoint = endpoints.current["127.0.0.1:1"]
            one, other = connections.open(endpoint), connections.open(endpoint)
            endpoints.update([])
            assert endpoint.draining
            assert endpoints.removed == {endpoint.name: endpoint}
            assert runtime.stats.group(ClusterStats, cluster="c").endpoints_draining == 1
            assert shown(runtime, "connections_active") == {endpoint.name: 2}
            one.close()
            assert endpoints.removed
            assert not other.closed
            other.close()
            assert endpoints.removed == {}
            assert shown(runtime, "connections_active") == {}
            assert runtime.stats.group(ClusterStats, cluster="c").endpoints_draining == 0
            connections.close()

    run(main)


def test_connections_that_outlive_their_endpoint_for_too_long_are_cut() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            endpoints.drain_time = 0.05
            connections = Connections(runtime, endpoints)
            endpoints.update([spec(1)])
            stream = connections.open(endpoints.current["127.0.0.1:1"])
            lost: list[OSError] = []
            stream.on_lost = lost.append
            endpoints.update([])
            await until(lambda: lost)
            assert lost_detail(lost[0]) == "endpoint_removed"
            assert stream.closed
            assert (endpoints.removed, endpoints.open) == ({}, 0)
            connections.close()

    run(main)


def test_an_endpoint_that_comes_back_is_the_same_and_is_not_cut() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            endpoints.drain_time = 3600
            connections = Connections(runtime, endpoints)
            endpoints.update([spec(1)])
            endpoint = endpoints.current["127.0.0.1:1"]
            stream = connections.open(endpoint)
            endpoints.update([])
            endpoints.update([spec(1)])
            assert endpoints.current == {endpoint.name: endpoint}
            assert not endpoint.draining
            assert endpoints.removed == {}
            assert not endpoints._limits
            assert shown(runtime, "connections_active") == {endpoint.name: 1}
            stream.close()
            assert endpoints.current == {endpoint.name: endpoint}
            connections.close()

    run(main)


def test_an_attempt_keeps_a_removed_endpoint_until_it_is_over() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            endpoints.update([spec(1)])
            endpoint = endpoints.current["127.0.0.1:1"]
            endpoints.attempted(endpoint)
            endpoints.update([])
            assert endpoints.removed
            endpoints.released(endpoint)
            assert not endpoints.removed

    run(main)


def test_bytes_are_counted_while_connections_are_open_and_once_only() -> None:
    async def main() -> None:
        async with running() as runtime:
            endpoints = endpoint_set(runtime)
            runtime.stats.on_collect(endpoints.collect)
            totals = runtime.stats.group(ClusterStats, cluster="c")
            connections = Connections(runtime, endpoints)
            endpoints.update([spec(1)])
            endpoint = endpoints.current["127.0.0.1:1"]
            stream = connections.open(endpoint)
            stream.write(b"12345")
            connections.peers[0].sendall(b"123")
            await until(lambda: stream.received == 3)
            for _ in range(2):
                assert shown(runtime, "sent_bytes_total") == {endpoint.name: 5}
                assert shown(runtime, "received_bytes_total") == {endpoint.name: 3}
            stream.write(b"67")
            stream.close()
            assert shown(runtime, "sent_bytes_total") == {endpoint.name: 7}
            again = connections.open(endpoint)
            again.write(b"8")
            assert shown(runtime, "sent_bytes_total") == {endpoint.name: 8}
            endpoints.update([])
            again.close()
            assert shown(runtime, "sent_bytes_total") == {}
            assert (totals.sent_bytes_total, totals.received_bytes_total) == (8, 3)
            assert (totals.connections_total, totals.connections_active) == (2, 0)
            connections.close()

    run(main)
