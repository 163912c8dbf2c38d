"""What does it cost to read Kafka? In this process, without a network: CPU time of the observer and of its walkers.

python contrib/bench/kafka_reading.py

**reading** is what the walkers take to find topics, partitions, records and errors in a request and its response;
**observed** is all that the `kafka` filter does with the two, its metrics included. Both are straight lines: so much
for the messages, so much for each partition in them. The last line is the longest that one response holds up the loop.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from kafka_messages import batch, request, response
from l4proxy.filter import Peer
from l4proxy.inspector import Link
from l4proxy.plugins.kafka.config import KafkaConfig
from l4proxy.plugins.kafka.conversation import KafkaConversation
from l4proxy.plugins.kafka.inspector import KafkaInspector
from l4proxy.stats_registry import StatsRegistry

FEW, MANY = 1, 101
TOPICS, PARTITIONS = 1000, 30
Messages = tuple[bytes, bytes]


def produce(partitions: int) -> Messages:
    asked = [{"index": at, "records": batch()} for at in range(partitions)]
    answered = [{"index": at, "base_offset": 5} for at in range(partitions)]
    return (
        request("Produce", 9, 1, acks=1, topic_data=[{"name": "bench", "partition_data": asked}]),
        response("Produce", 9, 1, responses=[{"name": "bench", "partition_responses": answered}]),
    )


def fetch(partitions: int) -> Messages:
    asked = [{"partition": at} for at in range(partitions)]
    answered = [{"partition_index": at, "high_watermark": 5, "records": batch()} for at in range(partitions)]
    return (
        request("Fetch", 12, 1, topics=[{"topic": "bench", "partitions": asked}]),
        response("Fetch", 12, 1, responses=[{"topic": "bench", "partitions": answered}]),
    )


def metadata(topics: int, partitions: int, leader: int) -> Messages:
    laid_out = [
        {"partition_index": at, "leader_id": leader, "replica_nodes": [1, 2, 3], "isr_nodes": [1, 2, 3]}
        for at in range(partitions)
    ]
    found = [
        {"name": f"topic-{at}", "topic_id": at.to_bytes(16, "big"), "partitions": laid_out} for at in range(topics)
    ]
    return request("Metadata", 12, 1, topics=None), response("Metadata", 12, 1, topics=found)


def cpu(work: Callable[[], object], times: int, rounds: int) -> float:
    """Microseconds for each time, the median of some rounds."""
    found = []
    for _ in range(rounds):
        begin = time.process_time_ns()
        for _ in range(times):
            work()
        found.append((time.process_time_ns() - begin) / times / 1000)
    return statistics.median(found)


def conversation() -> KafkaConversation:
    inspector = KafkaInspector(KafkaConfig(), StatsRegistry(100_000))
    return inspector.conversation(Link(1, Peer("192.0.2.1", 40000)))


def observing(messages: Messages, rounds: int) -> float:
    heard, now = conversation(), time.time()
    asked, answered = messages

    def both() -> None:
        heard.client_data(asked, now)
        heard.server_data(answered, now)

    return cpu(both, 2_000_000 // (200 + len(answered)), rounds)


def reading(messages: Messages, rounds: int) -> float:
    asked, answered = messages
    plan: Any = conversation().view.plans[int.from_bytes(asked[4:8], "big")]
    begin = 4 + 8 + 2 + len(b"test") + plan.tagged_request
    end = 4 + 4 + plan.tagged_response

    def both() -> None:
        if plan.walk_request is not None:
            plan.walk_request(asked, begin, len(asked))
        plan.walk_response(answered, end, len(answered))

    return cpu(both, 2_000_000 // (200 + len(answered)), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"{'CPU us':10} {'reading':>10} {'+ partition':>12} {'observed':>10} {'+ partition':>12}")
    for name, make in (("Produce 9", produce), ("Fetch 12", fetch)):
        figures = []
        for measure in (reading, observing):
            few, many = measure(make(FEW), rounds), measure(make(MANY), rounds)
            each = (many - few) / (MANY - FEW)
            figures += [few - FEW * each, each]
        print(f"{name:10} {figures[0]:10.2f} {figures[1]:12.2f} {figures[2]:10.2f} {figures[3]:12.2f}")
    heard, now = conversation(), time.time()
    times = []
    for leader in (1, 1, 2, 2):  # topics that are new, that are known, and whose leaders have changed
        asked, answered = metadata(TOPICS, PARTITIONS, leader)
        heard.client_data(asked, now)
        longest = 0.0
        for start in range(0, len(answered), 256 * 1024):
            begin = time.process_time()
            heard.server_data(answered[start : start + 256 * 1024], now)
            longest = max(longest, time.process_time() - begin)
        times.append(longest * 1000)
    new, known, changed = times[0], times[1], times[2]
    print(
        f"Metadata of {TOPICS:,} topics with {PARTITIONS} partitions, {len(answered):,} bytes: the longest chunk of 256"
        f" KiB takes {new:.1f} ms of CPU where they are new, {known:.1f} where known, {changed:.1f} with new leaders"
    )


if __name__ == "__main__":
    main()
