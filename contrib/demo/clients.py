"""Clients of the demo, each a process: python clients.py ROLE BOOTSTRAP. They end when standard input does."""

from __future__ import annotations

import random
import sys
import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

Options = dict[str, Any]

PRODUCERS: dict[str, tuple[str, int, int, Options]] = {
    "checkout": ("orders", 120, 300, {"compression.type": "lz4", "enable.idempotence": True}),
    "web": ("clicks", 900, 120, {"compression.type": "zstd", "linger.ms": 50}),
}
"""Topic, records in a second, bytes of a record."""
CONSUMERS: dict[str, tuple[str, list[str], float]] = {
    "billing-1": ("billing", ["orders"], 0),
    "audit": ("audit", ["orders", "clicks"], 0.02),
    "search-1": ("search", ["clicks"], 0),
    "search-2": ("search", ["clicks"], 0),
    "old-report": ("reports", ["orders-2019"], 0),
}
"""Group, topics, seconds that a record takes. audit is too slow, and the topic of old-report is gone."""

stopped = threading.Event()


def produce(name: str, bootstrap: str) -> None:
    topic, rate, size, options = PRODUCERS[name]
    producer = Producer({"bootstrap.servers": bootstrap, "client.id": name, "log_level": 0, **options})
    chance = random.Random(name)
    begin, sent = time.monotonic(), 0
    while not stopped.wait(0.05):
        while sent < (time.monotonic() - begin) * rate:
            value = chance.randbytes(size // 4).hex()
            producer.produce(topic, value * 2, key=str(chance.randrange(1000)))
            sent += 1
        producer.poll(0)
    producer.flush(30)


def consume(name: str, bootstrap: str) -> None:
    group, topics, seconds = CONSUMERS[name]
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "client.id": name, "group.id": group, "auto.offset.reset": "earliest",
        "auto.commit.interval.ms": 500, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "log_level": 0,
        "max.partition.fetch.bytes": 32768, "queued.max.messages.kbytes": 1000,
        "topic.metadata.refresh.interval.ms": 1000,
    })  # fmt: skip
    consumer.subscribe(topics)
    while not stopped.is_set():
        message = consumer.poll(0.1)
        if message is not None and not message.error() and seconds:
            time.sleep(seconds)
    consumer.close()


def _stop_with_stdin() -> None:
    sys.stdin.read()
    stopped.set()


def main() -> None:
    role, bootstrap = sys.argv[1:]
    threading.Thread(target=_stop_with_stdin, daemon=True).start()
    try:
        (produce if role in PRODUCERS else consume)(role, bootstrap)
    except KafkaException as error:
        sys.exit(f"{role}: {error}")


if __name__ == "__main__":
    main()
