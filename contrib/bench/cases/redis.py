"""Redis: commands of many clients over few connections, next to Envoy's ``redis_proxy``; and what watching costs.

The server is a real one. Keys are chosen by chance among 10,000, so that nothing is looked up by what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from statistics import median

from bench import CONNECTIONS, Bench
from case import CPU_SHARES, Case, Column, Sample
from measure import memory, usage
from peers import Envoy, L4proxy, Peer
from programs import Load, Work
from redis_server import RedisServer, redis_cluster, redis_server, redis_servers

from cases.half_load import HalfLoad
from proxy_process import ProxyProcess

__all__ = ["CASES"]

VALUE = 64
MEGABYTE = 1024 * 1024
SPARE = 50
SHORTEST = 0.05
"""Seconds of a turn where two proxies are measured in turns."""


def _work(mode: str, connections: int, *, value: int = VALUE, pipeline: int = 1) -> Work:
    return Work(mode, connections, value, redis_pipeline=pipeline)


class Redis(Case):
    """l4proxy and Envoy, both as proxies that understand Redis."""

    understands = True
    is_cluster = False

    def __init__(self, name: str, title: str, work: Work, **options: object) -> None:
        columns = (
            Column("cpu", "CPU us/command", 2, "ratio"),
            Column("rate", "commands/s", 0, "ratio"),
            Column("p50", "p50 us", 0),
            Column("p99", "p99 us", 0),
            Column("rss", "RSS MiB", 1),
            *CPU_SHARES,
        )
        super().__init__(name, title, columns)
        self.work = work
        self.options = options

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        return [
            L4proxy(peer.name, terminal="redis_proxy", options=self.options) if isinstance(peer, L4proxy) else peer
            for peer in chosen
            if isinstance(peer, L4proxy | Envoy)
        ]

    def servers(self, bench: Bench) -> Sequence[RedisServer]:
        return (redis_server(bench),)

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        with self.ready(bench, peer) as run:
            return run.sample()

    @contextmanager
    def ready(self, bench: Bench, peer: Peer) -> Iterator[Run]:
        """``peer`` with a load whose connections are open and warm."""
        servers = self.servers(bench)
        connections = max(1024, self.work.connections + SPARE)
        with (
            bench.proxy(
                peer,
                upstream=servers[0].port,
                connections=connections,
                redis=self.understands,
                shards=tuple(server.port for server in servers) if len(servers) > 1 else (),
                redis_cluster=self.is_cluster,
            ) as proxy,
            bench.load(proxy, self.work) as client,
        ):
            yield Run(proxy, client, servers)


@dataclass(frozen=True, slots=True)
class Run:
    """A proxy and its load, which wait to be measured."""

    proxy: ProxyProcess
    client: Load
    servers: Sequence[RedisServer]

    def sample(self) -> Sample:
        pids = (self.client.pid, *(server.pid for server in self.servers))
        of_load = usage(*pids)
        of_proxy = usage(self.proxy.pid)
        result = self.client.run()
        window = of_proxy.until(usage(self.proxy.pid))
        load_window = of_load.until(usage(*pids))
        return {
            "cpu": window.cpu / result.units * 1e6,
            "rate": result.units / result.seconds,
            "p50": result.p50,
            "p99": result.p99,
            "rss": memory(self.proxy.pid)["rss"] / 1024,
            "busy": window.busy,
            "load_busy": load_window.busy,
            "waited": window.share_waited,
        }


class Hashed(Redis):
    """Keys are divided among three servers that know nothing of each other."""

    def servers(self, bench: Bench) -> Sequence[RedisServer]:
        return redis_servers(bench)


class Clustered(Redis):
    """The same with a Redis Cluster of three."""

    is_cluster = True

    def servers(self, bench: Bench) -> Sequence[RedisServer]:
        return redis_cluster(bench)


class ManyClients(Redis):
    """As many connections as the limit of open files allows, over eight to the server."""

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        self.work = replace(self.work, connections=bench.many_connections)
        return super().sample(bench, peer)


class Watching(Redis):
    """l4proxy against itself, with and without the ``redis`` filter in front of ``tcp_proxy``.

    What watching costs is a small part of what passing on costs, and less than what another program on the machine can
    make of the latter from one second to the next. So both proxies are up at the same time, and are measured in turns
    of a fraction of a second; a round's figures are the medians of its turns."""

    understands = False
    turns = 15

    def __init__(self, name: str, title: str, work: Work) -> None:
        super().__init__(name, title, work)
        self._samples: dict[str, Sample] = {}
        """Of this round, of peers whose turn in it is still to come."""

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        if not any(isinstance(peer, L4proxy) for peer in chosen):
            return ()
        return (L4proxy("none"), L4proxy("redis", filters=("redis",)))

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        if peer.name not in self._samples:
            self._samples = self._round(bench)
        return self._samples.pop(peer.name)

    def _round(self, bench: Bench) -> dict[str, Sample]:
        bench = replace(bench, seconds=max(bench.seconds / self.turns, SHORTEST))
        with ExitStack() as stack:
            runs = {peer.name: stack.enter_context(self.ready(bench, peer)) for peer in self.peers([L4proxy()])}
            samples: dict[str, list[Sample]] = {name: [] for name in runs}
            for turn in range(self.turns):
                for name in sorted(runs, reverse=turn % 2 == 1):
                    samples[name].append(runs[name].sample())
        return {
            name: {key: median(sample[key] for sample in several) for key in several[0]}
            for name, several in samples.items()
        }


EACH = f"values of {VALUE} bytes, 32 connections"
_SINGLE = Redis("redis", f"GET and SET, {EACH}", _work("asks", 32))
CASES = (
    _SINGLE,
    Redis("redis_1", f"GET and SET, values of {VALUE} bytes, 1 connection", _work("asks", 1)),
    Redis("redis_pipeline", f"sixteen GETs or SETs in one write, {EACH}", _work("asks", 32, pipeline=16)),
    Redis("redis_woven", f"sixteen GETs and SETs in turn in one write, {EACH}", _work("woven", 32, pipeline=16)),
    Redis("redis_1m", "GET and SET of 1 MiB, 8 connections", _work("asks", 8, value=MEGABYTE)),
    ManyClients(
        "redis_10k",
        "GET and SET from 10,000 connections in turn, 32 at a time, over 8 connections",
        _work("turns", CONNECTIONS),
        connections=8,
    ),
    HalfLoad("redis_half", "GET and SET at half of the slowest proxy's limit, 500 connections", _SINGLE, 500),
    Hashed("redis_hashed", f"GET and SET, keys divided among three servers, {EACH}", _work("asks", 32)),
    Hashed("redis_hashed_pipeline", f"the same, sixteen in one write, {EACH}", _work("asks", 32, pipeline=16)),
    Hashed("redis_hashed_woven", f"the same, GETs and SETs in turn, {EACH}", _work("woven", 32, pipeline=16)),
    Clustered("redis_cluster", f"GET and SET, a Redis Cluster of three, {EACH}", _work("asks", 32)),
    Clustered("redis_cluster_pipeline", f"the same, sixteen in one write, {EACH}", _work("asks", 32, pipeline=16)),
    Clustered("redis_cluster_woven", f"the same, GETs and SETs in turn, {EACH}", _work("woven", 32, pipeline=16)),
    Watching("redis_watch", f"the redis filter: GET and SET, {EACH}", _work("asks", 32)),
    Watching("redis_watch_pipeline", f"the redis filter: sixteen in one write, {EACH}", _work("asks", 32, pipeline=16)),
    Watching(
        "redis_watch_1m", "the redis filter: GET and SET of 1 MiB, 8 connections", _work("asks", 8, value=MEGABYTE)
    ),
)
