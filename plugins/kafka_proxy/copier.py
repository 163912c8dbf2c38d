"""Records for another cluster, sent beside the connections that they come from, and never in their way.

One task per use takes what waits, in rounds: of each partition one batch, all for one broker in one request, all
brokers at the same time. What there is no room for is dropped and counted, and so is what cannot be delivered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from l4proxy.codec import RemoteProtocolError
from l4proxy.errors import UpstreamError
from l4proxy.logging_setup import once_per
from l4proxy.plugins.kafka_proxy.asking import Line
from l4proxy.plugins.kafka_proxy.brokers import brokers_of
from l4proxy.plugins.requested_hosts import HostRequest
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.declarations.cluster import METADATA
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.errors import error_name
from l4proxy.protocols.kafka.wire import UNREADABLE
from l4proxy.stats import Stats, counter, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.plugins.kafka_proxy.login import KafkaLogin
    from l4proxy.server import Server

__all__ = ["Copier", "Item", "KafkaMirrorStats"]

log = logging.getLogger("l4proxy.kafka_mirror")

ROUND = 4 * 1024 * 1024
"""Bytes of one round, if it is more than one batch."""
ATTEMPTS = 3
TIMEOUT = 10.0
PAUSE = 0.5
"""Seconds after a round in which nothing could be delivered."""
LOG_PAUSE = 10.0
ANSWER_LIMIT = 16 * 1024 * 1024
ACKS_LEADER = 1
PRODUCE_VERSION = 7
METADATA_VERSION = 4
MOVED = {3, 5, 6, 9}
"""Errors after which Metadata is asked again: the topic is being made, or has another leader."""
CLIENT = b"l4proxy-mirror"
UNREACHABLE = (OSError, UpstreamError, RemoteProtocolError, *UNREADABLE)


class KafkaMirrorStats(Stats, subsystem="kafka_mirror", labels=("cluster",)):
    """Copies for one cluster."""

    copied_batches_total = counter("Batches that the other cluster has taken.")
    copied_bytes_total = counter("Bytes of these.")
    dropped_batches_total = labelled_counter("Batches of which there is no copy, by reason.", label="reason")
    waiting_bytes = gauge("Bytes that wait to be sent.")


class Item(NamedTuple):
    """A batch for a partition."""

    topic: str
    partition: int
    records: bytes


class Copier:
    def __init__(self, cluster: str, limit: int, server: Server, login: KafkaLogin | None = None) -> None:
        self.stats = server.stats.group(KafkaMirrorStats, cluster=cluster)
        self._name = cluster
        self._limit = limit
        self._login = login
        self._server = server
        self._waiting: deque[Item] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._links: dict[int, _Link] = {}
        """Connections to brokers, by their ids; -1: to any of them."""
        self._leaders: dict[tuple[str, int], int] = {}

    def send(self, item: Item) -> None:
        """Send a copy, some time. Never waits."""
        if self._size + len(item.records) > self._limit:
            self.stats.dropped_batches_total.add("overflow")
            return
        self._waiting.append(item)
        self._size += len(item.records)
        self.stats.waiting_bytes = self._size
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._hang_up()

    async def _run(self) -> None:
        try:
            while self._waiting:
                items = self._take()
                for attempt in range(ATTEMPTS):
                    items = await self._deliver(items, last=attempt == ATTEMPTS - 1)
                    if not items:
                        break
                    await asyncio.sleep(PAUSE)
        finally:
            self._task = None

    def _take(self) -> list[Item]:
        """What makes a round: no partition twice, so that each keeps its order."""
        taken: list[Item] = []
        seen: set[tuple[str, int]] = set()
        size = 0
        while self._waiting:
            item = self._waiting[0]
            place = (item.topic, item.partition)
            if place in seen or (taken and size + len(item.records) > ROUND):
                break
            seen.add(place)
            taken.append(self._waiting.popleft())
            size += len(item.records)
        self._size -= size
        self.stats.waiting_bytes = self._size
        return taken

    async def _deliver(self, items: list[Item], *, last: bool) -> list[Item]:
        """Deliver what can be; return what to try again."""
        failed: dict[Item, str] = {}
        try:
            if missing := {item.topic for item in items if (item.topic, item.partition) not in self._leaders}:
                await self._ask(missing)
        except UNREACHABLE as error:
            self._lost(error)
            failed = dict.fromkeys(items, "unreachable")
        else:
            by_leader: dict[int, list[Item]] = {}
            for item in items:
                node = self._leaders.get((item.topic, item.partition))
                if node is None:
                    failed[item] = "unknown_partition"
                else:
                    by_leader.setdefault(node, []).append(item)
            for outcome in await asyncio.gather(*(self._produce(node, some) for node, some in by_leader.items())):
                failed |= outcome
        if last:
            for reason in failed.values():
                self.stats.dropped_batches_total.add(reason)
            return []
        return list(failed)

    async def _ask(self, topics: set[str]) -> None:
        """Ask who leads the partitions of topics."""
        named = [{"name": name} for name in sorted(topics)]
        values = {"topics": named, "allow_auto_topic_creation": True}
        answer = await (await self._link(-1)).ask(METADATA, METADATA_VERSION, values)
        listed = [(one["node_id"], one["host"].encode(), one["port"]) for one in answer["brokers"]]
        brokers_of(self._server.clusters.find(self._name), self._server).learn(listed, all=True)
        for topic in answer["topics"]:
            for partition in topic["partitions"]:
                if partition["leader_id"] >= 0:
                    self._leaders[topic["name"], partition["partition_index"]] = partition["leader_id"]

    async def _produce(self, node: int, items: list[Item]) -> dict[Item, str]:
        """Send batches to their leader; return those that it has not taken, with the reason."""
        topics: dict[str, list[dict[str, Any]]] = {}
        for item in items:
            topics.setdefault(item.topic, []).append({"index": item.partition, "records": item.records})
        topic_data = [{"name": name, "partition_data": partitions} for name, partitions in topics.items()]
        values = {"acks": ACKS_LEADER, "timeout_ms": int(TIMEOUT * 1000), "topic_data": topic_data}
        try:
            answer = await (await self._link(node)).ask(PRODUCE, PRODUCE_VERSION, values)
        except UNREACHABLE as error:
            self._lost(error)
            return dict.fromkeys(items, "unreachable")
        codes = {
            (topic["name"], partition["index"]): partition["error_code"]
            for topic in answer["responses"]
            for partition in topic["partition_responses"]
        }
        failed = {}
        for item in items:
            code = codes.get((item.topic, item.partition), -1)
            if code in MOVED:
                self._leaders.pop((item.topic, item.partition), None)
                failed[item] = error_name(code).lower()
            elif code:
                self.stats.dropped_batches_total.add(error_name(code).lower())
            else:
                self.stats.copied_batches_total += 1
                self.stats.copied_bytes_total += len(item.records)
        return failed

    async def _link(self, node: int) -> _Link:
        link = self._links.get(node)
        if link is None or link.lost:
            configured = self._server.clusters.find(self._name)
            if node < 0:
                line = await Line.open(configured, ANSWER_LIMIT, self._login)
            else:
                brokers = brokers_of(configured, self._server)
                address = brokers.address(node)
                if address is None:
                    raise UpstreamError("NR", "unknown_broker", f"broker {node} of {self._name} is not known")
                spec = brokers.endpoint(address) or await brokers.look_up(address)
                to_one = HostRequest(host=spec)
                line = await Line.open(brokers.cluster(configured), ANSWER_LIMIT, self._login, to_one)
            link = self._links[node] = _Link(line)
        return link

    def _lost(self, error: Exception) -> None:
        self._hang_up()
        self._leaders.clear()
        if times := once_per(LOG_PAUSE, f"mirror {self._name}"):
            log.warning("copies for cluster %s are not delivered: %s (%d times)", self._name, error, times)

    def _hang_up(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()


class _Link:
    """The requests of the copier to one broker, one at a time."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._number = 0

    @property
    def lost(self) -> bool:
        return not self._line.is_open

    async def ask(self, api: Api, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and return its response. Raises OSError and what a response that is none raises."""
        self._number += 1
        frame = await self._line.ask(plain.request(api, version, values, self._number, CLIENT), TIMEOUT)
        return plain.decode(api.response, version, frame, 4)

    def close(self) -> None:
        self._line.close()
