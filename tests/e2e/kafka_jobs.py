"""What Kafka clients do through a proxy in tests: each job produces to a topic and reads it again, with one client.

A job is ``job(cluster, bootstrap, topic)``: ``bootstrap`` is the proxy, ``cluster`` the brokers behind it. It returns
how many records its consumers were given. Its group is ``group-TOPIC``.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from proxy_process import wait_until
from services.kafka import KafkaCluster
from services.kafkajs import kafkajs_modules
from services.needs import program
from source_tree import ROOT

__all__ = [
    "CODECS",
    "JOBS",
    "Job",
    "consume",
    "consumer",
    "java_clients",
    "kafkajs",
    "producer",
]

Job = Callable[[KafkaCluster, str, str], int]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
EACH = 500
"""Records with each codec."""


def producer(bootstrap: str, **options: Any) -> Any:
    import confluent_kafka

    return confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "client.id": "producer", "linger.ms": 5, **options}
    )


def consumer(bootstrap: str, group: str, topic: str, **options: Any) -> Any:
    import confluent_kafka

    defaults = {"auto.offset.reset": "earliest", "enable.auto.commit": False, "session.timeout.ms": 6000}
    if options.get("group.protocol") == "consumer":
        del defaults["session.timeout.ms"]
    made = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group, **defaults, **options})
    made.subscribe([topic])
    return made


def consume(made: Any, count: int) -> int:
    """Read until there were so many records, and return how many there were."""
    seen = 0
    for _ in range(300):
        if seen >= count:
            break
        messages = made.consume(min(500, count - seen), 0.2)
        assert not [message.error() for message in messages if message.error()]
        seen += len(messages)
    return seen


def _read_all(bootstrap: str, topic: str, count: int, **options: Any) -> int:
    reader = consumer(bootstrap, f"group-{topic}", topic, **options)
    seen = consume(reader, count)
    reader.commit(asynchronous=False)
    reader.close()
    return seen


def confluent_codecs(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    for codec in CODECS:
        sender = producer(bootstrap, **{"compression.type": codec})
        for number in range(EACH):
            sender.produce(topic, b"x" * 50, key=str(number))
        assert sender.flush(60) == 0
    return _read_all(bootstrap, topic, EACH * len(CODECS))


def confluent_idempotent(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    sender = producer(bootstrap, **{"enable.idempotence": True, "compression.type": "lz4"})
    for number in range(EACH):
        sender.produce(topic, b"x" * 50, key=str(number))
    assert sender.flush(60) == 0
    return _read_all(bootstrap, topic, EACH)


def confluent_without_acks(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    sender = producer(bootstrap, acks=0)
    for number in range(EACH):
        sender.produce(topic, b"x" * 50, key=str(number))
    assert sender.flush(60) == 0
    return _read_all(bootstrap, topic, EACH)


def confluent_transactions(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    """Aborted records are in the log, and are sent to consumers, who drop them."""
    sender = producer(bootstrap, **{"transactional.id": topic})
    sender.init_transactions(60)
    for number, end in enumerate([sender.commit_transaction, sender.abort_transaction] * 3):
        sender.begin_transaction()
        for at in range(100 + number):
            sender.produce(topic, b"value", key=str(at))
        sender.flush(60)
        end(60)
    return _read_all(bootstrap, topic, 100 + 102 + 104, **{"isolation.level": "read_committed"})


def _rebalancing(bootstrap: str, topic: str, **options: Any) -> int:
    """One member reads a half; then a second one joins and leaves; what is left is read and committed."""
    sender = producer(bootstrap)
    for number in range(EACH * 2):
        sender.produce(topic, b"value", key=str(number))
    assert sender.flush(60) == 0
    group = f"group-{topic}"
    first = consumer(bootstrap, group, topic, **options)
    seen = consume(first, EACH)
    first.commit(asynchronous=False)
    second = consumer(bootstrap, group, topic, **options)
    got = [seen]

    def both_have_some() -> bool:
        for one in (first, second):
            got[0] += len(one.consume(100, 0.05))
        return bool(first.assignment()) and bool(second.assignment())

    wait_until(both_have_some, "partitions for both")
    for one in (first, second):
        _commit(one)
    second.close()
    deadline = time.monotonic() + 30
    while got[0] < EACH * 2 and time.monotonic() < deadline:
        got[0] += len(first.consume(100, 0.1))
    wait_until(lambda: first.poll(0.1) is None and len(first.assignment()) == 3, "all partitions again")
    _commit(first)
    first.close()
    return got[0]


def _commit(reader: Any) -> None:
    """What it has read of its partitions; it may be nothing."""
    import confluent_kafka

    try:
        reader.commit(asynchronous=False)
    except confluent_kafka.KafkaException as error:
        if error.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
            raise


def confluent_classic_group(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    return _rebalancing(bootstrap, topic, **{"heartbeat.interval.ms": 300})


def confluent_new_group(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    """The new protocol of groups (KIP-848)."""
    return _rebalancing(bootstrap, topic, **{"group.protocol": "consumer"})


def kafka_python(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    from kafka import KafkaConsumer, KafkaProducer

    for codec in (None, "gzip"):
        sender = KafkaProducer(
            bootstrap_servers=bootstrap, client_id="py", compression_type=codec, acks="all", enable_idempotence=True
        )
        for number in range(EACH):
            sender.send(topic, b"value", key=str(number).encode(), headers=[("h", b"1")])
        sender.flush(60)
        sender.close()
    reader = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=f"group-{topic}", auto_offset_reset="earliest",
                           enable_auto_commit=False, consumer_timeout_ms=20_000)  # fmt: skip
    seen = sum(1 for _ in zip(range(EACH * 2), reader, strict=False))
    reader.commit()
    reader.close()
    return seen


def kcat(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    words = [program("kcat"), "-b", bootstrap, "-X", "client.id=kcat"]
    lines = "".join(f"{number}:line {number}\n" for number in range(EACH))
    for codec in CODECS:
        argv = [*words, "-P", "-t", topic, "-K", ":", "-z", codec]
        subprocess.run(argv, input=lines, text=True, check=True, timeout=60)
    argv = [*words, "-C", "-t", topic, "-e", "-q", "-o", "beginning"]
    read = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return len(read.stdout.splitlines())


def java_clients(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    """Kafka's own clients: the performance tools, with each codec, and the console producer."""
    tools = "org.apache.kafka.tools"
    for codec in CODECS:
        options = [f"bootstrap.servers={bootstrap}", f"compression.type={codec}", "client.id=java", "linger.ms=5"]
        words = ["--topic", topic, "--num-records", str(EACH), "--record-size", "100", "--throughput", "-1"]
        cluster.run(f"{tools}.ProducerPerformance", *words, "--producer-props", *options)
    console = f"{tools}.ConsoleProducer" if cluster.version.startswith("4.") else "kafka.tools.ConsoleProducer"
    lines = "".join(f"line {number}\n" for number in range(EACH))
    cluster.run(console, "--bootstrap-server", bootstrap, "--topic", topic, input=lines)
    total = EACH * (len(CODECS) + 1)
    printed = cluster.run(
        f"{tools}.ConsumerPerformance", "--bootstrap-server", bootstrap, "--topic", topic,
        "--messages", str(total), "--group", f"group-{topic}", "--timeout", "30000",
    )  # fmt: skip
    return int(printed.splitlines()[-1].split(",")[4])


def java_transactions(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    options = [f"bootstrap.servers={bootstrap}", "client.id=java", "enable.idempotence=true"]
    words = ["--topic", topic, "--num-records", str(EACH), "--record-size", "100", "--throughput", "2000"]
    transactional = ["--transactional-id", topic, "--transaction-duration-ms", "50"]
    cluster.run("org.apache.kafka.tools.ProducerPerformance", *words, *transactional, "--producer-props", *options)
    return _read_all(bootstrap, topic, EACH, **{"isolation.level": "read_committed"})


def kafkajs(cluster: KafkaCluster, bootstrap: str, topic: str) -> int:
    """Without compression and with gzip, which is all that it brings; in a group of its own."""
    script = ROOT / "tests" / "e2e" / "clients" / "kafka.mjs"
    done = subprocess.run(
        [program("node"), str(script), bootstrap, topic, str(EACH * 2)],
        env={**os.environ, "NODE_PATH": str(kafkajs_modules())}, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: int = json.loads(done.stdout)["consumed"]
    return found


JOBS: dict[str, Job] = {
    "confluent-kafka, every codec": confluent_codecs,
    "confluent-kafka, idempotent": confluent_idempotent,
    "confluent-kafka, acks=0": confluent_without_acks,
    "confluent-kafka, transactions, half aborted": confluent_transactions,
    "confluent-kafka, classic group, rebalances": confluent_classic_group,
    "confluent-kafka, KIP-848 group, rebalances": confluent_new_group,
    "kafka-python, none and gzip, idempotent": kafka_python,
    "kcat, every codec": kcat,
    "Java, every codec, console": java_clients,
    "Java, transactions": java_transactions,
    "kafkajs, none and gzip, idempotent": kafkajs,
}
