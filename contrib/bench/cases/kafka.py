"""Kafka with everything counted that the kafka filter counts, against proxies that understand nothing of it.

The broker is a real one. The load sends one request on each connection and waits for its response, so nothing is
batched that the request does not batch itself.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from bench import Bench
from case import CPU_SHARES, Case, Column, Sample
from errors import BenchError
from kafka_server import KafkaServer, kafka_server
from measure import memory, usage
from peers import L4proxy, Peer
from programs import Work

__all__ = ["CASES"]

CONNECTIONS = 8
TOPIC = "bench"
FETCHED = "bench-fetch"
PREFIX = "tenant."
"""Of a tenant's topics, whose requests name them without it."""
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request of which each connection sends one after the other; ``moved`` bytes go through the proxy with it."""

    request: bytes
    moved: int


class Kafka(Case):
    """l4proxy twice, with and without the kafka filter, and the other peers."""

    def __init__(
        self,
        name: str,
        title: str,
        batch: int,
        *,
        fetch: bool = False,
        per_byte: bool = False,
        connections: int = CONNECTIONS,
    ) -> None:
        self.connections = connections
        self.per_byte = per_byte
        self.batch = batch
        self.fetch = fetch
        columns = (
            Column("cpu", "CPU us/MB" if per_byte else "CPU us/req", 1, "ratio"),
            Column("rate", "MB/s" if per_byte else "req/s", 0),
            Column("p50", "p50 us", 0, "ratio"),
            Column("rss", "RSS MiB", 1),
            *CPU_SHARES,
        )
        super().__init__(name, title, columns)

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        ours = (
            L4proxy("kafka", filters=("kafka",)),
            L4proxy("kafka_proxy", terminal="kafka_proxy"),
            L4proxy("l4proxy"),
        )
        others = [peer for peer in chosen if not isinstance(peer, L4proxy)]
        return [*(ours if len(others) < len(chosen) else ()), *others]

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        server = kafka_server(bench)
        exchange = _prepare(server, self.batch, self.fetch)
        work = Work("frames", self.connections, len(exchange.request), exchange.request)
        with bench.proxy(peer, upstream=server.port) as proxy, bench.load(proxy, work) as client:
            of_load = usage(client.pid, server.pid)
            of_proxy = usage(proxy.pid)
            result = client.run()
            window = of_proxy.until(usage(proxy.pid))
            load_window = of_load.until(usage(client.pid, server.pid))
            resident = memory(proxy.pid)["rss"] / 1024
        units = result.units * (exchange.moved / MEGABYTE if self.per_byte else 1)
        return {
            "cpu": window.cpu / units * 1e6,
            "rate": units / result.seconds,
            "p50": result.p50,
            "rss": resident,
            "busy": window.busy,
            "load_busy": load_window.busy,
            "waited": window.share_waited,
        }


@cache
def _prepare(server: KafkaServer, batch: int, fetch: bool) -> Exchange:
    """Make what the requests need on the broker, and the request."""
    from l4proxy.protocols.kafka.apis import BY_NAME
    from l4proxy.protocols.kafka.messages import encode_request

    topic = f"{FETCHED}-{batch}" if fetch else TOPIC
    tenants = f"{PREFIX}{topic}"
    wanted = [{"name": name, "num_partitions": 1, "replication_factor": 1} for name in (topic, tenants)]
    server.ask(encode_request(BY_NAME["CreateTopics"], 5, 1, "bench", topics=wanted, timeout_ms=10_000))
    records = _batch(batch)
    partition = {"index": 0, "records": records}
    produce, to_tenants = (
        encode_request(
            BY_NAME["Produce"], 9, 1, "bench", acks=1, timeout_ms=10_000,
            topic_data=[{"name": name, "partition_data": [partition]}],
        )
        for name in (topic, tenants)
    )  # fmt: skip
    for frame in (produce, to_tenants):
        _until_written(server, frame)
    if not fetch:
        return Exchange(produce, len(produce))
    for _ in range(2 * 1024 * 1024 // len(records)):
        server.ask(produce)
        server.ask(to_tenants)
    partitions = [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1024 * 1024, "current_leader_epoch": -1}]
    request = encode_request(
        BY_NAME["Fetch"], 11, 1, "bench", max_wait_ms=500, min_bytes=1, max_bytes=1024 * 1024, session_epoch=-1,
        topics=[{"topic": topic, "partitions": partitions}],
    )  # fmt: skip
    return Exchange(request, len(server.ask(request)))


def _until_written(server: KafkaServer, produce: bytes) -> None:
    """A topic that was just made has no leader for a moment."""
    from l4proxy.protocols.kafka.apis import BY_NAME
    from l4proxy.protocols.kafka.messages import decode_response

    for _ in range(100):
        answer = decode_response(BY_NAME["Produce"], 9, server.ask(produce)[5:])
        error = answer["responses"][0]["partition_responses"][0]["error_code"]
        if not error:
            return
        time.sleep(0.05)
    raise BenchError(f"the broker refuses a batch: error {error}")


def _batch(size: int) -> bytes:
    """A record batch of ``size`` bytes, of one record that is not compressed (KIP-98)."""
    from l4proxy.protocols.crc32c import crc32c

    value = bytes(size - 61 - 14)
    body = b"\0\0\0\1" + _varint(len(value)) + value + b"\0"
    record = _varint(len(body)) + body
    head = struct.pack(">hiqqqhii", 0, 0, 1_700_000_000_000, 1_700_000_000_000, -1, -1, -1, 1)
    return struct.pack(">qiibI", 0, len(head + record) + 9, 0, 2, crc32c(head + record)) + head + record


def _varint(value: int) -> bytes:
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _filtered(name: str, *filters: Mapping[str, object]) -> L4proxy:
    return L4proxy(name, terminal="kafka_proxy", options={"filters": filters})


class KafkaFilters(Kafka):
    """`kafka_proxy` without message filters, with one that wants none of these requests, and with some that do."""

    def peers(self, chosen: Sequence[Peer]) -> Sequence[Peer]:
        rules = {"use": "topic_rules", "action": "deny", "policies": {"secrets": {"topics": ["secret*"]}}}
        return [
            L4proxy("kafka_proxy", terminal="kafka_proxy"),
            _filtered("unconcerned", {"use": "fault", "delay": "1s", "apis": ["CreateTopics"]}),
            _filtered("topic_rules", rules),
            _filtered("prefix", {"use": "prefix", "prefix": PREFIX}),
            _filtered("produce_rules", {"use": "produce_rules", "max_batch_size": "10MiB"}),
        ]


KIB16, MB = 16 * 1024, 1_000_000
EACH = f"a request, {CONNECTIONS} connections"
CASES = (
    Kafka("kafka_produce", f"Kafka: one record of 100 bytes {EACH}", 180),
    Kafka("kafka_produce_alone", "Kafka: one record of 100 bytes a request, 1 connection", 180, connections=1),
    Kafka("kafka_produce_16k", f"Kafka: a batch of 16 KiB {EACH}", KIB16, per_byte=True),
    Kafka("kafka_produce_1m", f"Kafka: a batch of 1 MB {EACH}", MB, per_byte=True),
    Kafka("kafka_fetch_16k", f"Kafka: 1 MiB in batches of 16 KiB {EACH}", KIB16, fetch=True, per_byte=True),
    Kafka("kafka_fetch_1m", f"Kafka: 1 MB in one batch {EACH}", MB, fetch=True, per_byte=True),
    KafkaFilters("kafka_filters", f"Kafka filters: one record of 100 bytes {EACH}", 180),
    KafkaFilters("kafka_filters_1m", f"Kafka filters: a batch of 1 MB {EACH}", MB, per_byte=True),
    KafkaFilters("kafka_filters_fetch", f"Kafka filters: 1 MB in one batch {EACH}", MB, fetch=True, per_byte=True),
)
