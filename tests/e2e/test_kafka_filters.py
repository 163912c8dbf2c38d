"""Message filters of Kafka between real brokers and real clients."""

from __future__ import annotations

import contextlib
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from e2e.kafka_jobs import consume, consumer, producer
from e2e.test_kafka import create, ends
from e2e.test_kafka_proxy import front
from proxy_process import wait_until
from services.kafka import PLAIN_USER, SCRAM_USER, KafkaCluster
from services.needs import needs, program
from services.process import HOST, free_port

confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

CLUSTERS = ("kafka", "older_kafka")


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture(params=CLUSTERS)
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    found: KafkaCluster = request.getfixturevalue(request.param)
    return found


def delivered(sender: Any, topic: str, count: int = 10, value: bytes = b"value", **options: Any) -> list[str]:
    """Send records, and return the errors that there were."""
    errors: list[str] = []

    def report(error: Any, _message: Any) -> None:
        if error is not None:
            errors.append(error.name())

    for number in range(count):
        sender.produce(topic, value, key=str(number), on_delivery=report, **options)
    assert sender.flush(30) == 0
    return errors


def _read(reader: Any, count: int) -> tuple[int, set[str]]:
    """Read until there were so many records, and an error; return how many there were, and the errors."""
    seen, errors = 0, set()
    for _ in range(100):
        for message in reader.consume(100, 0.2):
            if message.error():
                errors.add(message.error().name())
            else:
                seen += 1
        if errors and seen >= count:
            break
    return seen, errors


def test_topic_rules(cluster: KafkaCluster, tmp_path: Path, name: str) -> None:
    """Clients of all kinds hear of what they may not, at once and with Kafka's own error; the rest works."""
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import TopicAuthorizationFailedError

    allowed, denied = f"{name}-open", f"{name}-secret"
    for topic in (allowed, denied):
        create(cluster.bootstrap, topic)
    direct = producer(cluster.bootstrap)
    assert delivered(direct, denied) == []
    policies = {"secrets": {"topics": [denied]}, "spies": {"groups": [f"{name}-spies"]}}
    rules = {"use": "topic_rules", "action": "deny", "policies": policies}
    with front(tmp_path, cluster.ports, filters=[rules]) as proxied:
        sender = producer(proxied.bootstrap)
        assert delivered(sender, allowed) == []
        assert set(delivered(sender, denied)) == {"TOPIC_AUTHORIZATION_FAILED"}
        for topic, protocol in ((allowed, "classic"), (allowed, "consumer")):
            if protocol == "consumer" and cluster.version.startswith("3"):
                continue
            reader = consumer(proxied.bootstrap, f"{name}-{protocol}", topic, **{"group.protocol": protocol})
            assert consume(reader, 10) == 10
            reader.commit(asynchronous=False)
            reader.close()
        both = consumer(proxied.bootstrap, f"{name}-both", allowed)
        both.subscribe([allowed, denied])
        assert _read(both, 10) == (10, {"TOPIC_AUTHORIZATION_FAILED"})
        both.close()
        spy = consumer(proxied.bootstrap, f"{name}-spies", allowed)
        assert _read(spy, 0) == (0, {"GROUP_AUTHORIZATION_FAILED"})
        spy.close()
        python = KafkaProducer(bootstrap_servers=proxied.bootstrap)
        python.send(allowed, b"value").get(30)
        with pytest.raises(TopicAuthorizationFailedError):
            python.send(denied, b"value").get(30)
        python.close()
        options = {"bootstrap_servers": proxied.bootstrap, "auto_offset_reset": "earliest"}
        listing = KafkaConsumer(**options)
        assert allowed in listing.topics()
        assert denied not in listing.topics()
        listing.close()
    assert sum(ends(cluster, denied, 3).values()) == 10


@needs("kcat")
def test_topic_rules_by_principal(kafka: KafkaCluster, tmp_path: Path, name: str) -> None:
    user, password = PLAIN_USER
    create(kafka.bootstrap, f"{name}-hers")
    create(kafka.bootstrap, f"{name}-other")
    policy = {"topics": [f"{name}-hers"], "principals": [user], "operations": ["write"]}
    rules = {"use": "topic_rules", "action": "allow", "policies": {"hers": policy}}
    with front(tmp_path, kafka.sasl_ports, filters=[rules]) as proxied:
        sasl = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", f"sasl.username={user}"]
        words = [word for option in (*sasl, f"sasl.password={password}") for word in ("-X", option)]

        def kcat(*more: str, data: str = "") -> subprocess.CompletedProcess[str]:
            argv = [program("kcat"), "-b", proxied.bootstrap, *words, *more]
            return subprocess.run(argv, input=data, capture_output=True, text=True, timeout=60)

        assert kcat("-P", "-t", f"{name}-hers", data="line\n").returncode == 0
        assert "authorization failed" in kcat("-P", "-t", f"{name}-other", data="line\n").stderr.lower()
        assert "authorization failed" in kcat("-C", "-t", f"{name}-hers", "-e").stderr.lower()
        listing = kcat("-L").stdout
        assert f"{name}-hers" in listing
        assert f"{name}-other" not in listing
    assert sum(ends(kafka, f"{name}-hers", 3).values()) == 1


def test_faults(kafka: KafkaCluster, tmp_path: Path, name: str) -> None:
    """Producers come again after an error that passes, and nothing is lost or written twice."""
    create(kafka.bootstrap, name)
    fault = {"use": "fault", "apis": ["Produce"], "error": "NOT_LEADER_OR_FOLLOWER", "error_percent": 40}
    with front(tmp_path, kafka.ports, filters=[fault]) as proxied:
        sender = producer(proxied.bootstrap, **{"enable.idempotence": True, "retry.backoff.ms": 20, "linger.ms": 0})
        for _ in range(10):
            assert delivered(sender, name, 5) == []
    assert sum(ends(kafka, name, 3).values()) == 50


def test_produce_rules(kafka: KafkaCluster, tmp_path: Path, name: str) -> None:
    """Producers of two kinds hear of what is wrong and do not try again; what obeys is written."""
    from kafka import KafkaProducer
    from kafka.errors import InvalidRecordError, MessageSizeTooLargeError

    create(kafka.bootstrap, name)
    rules = {"use": "produce_rules", "topics": [name], "required_headers": ["id"], "max_record_size": 1000}
    with front(tmp_path, kafka.ports, filters=[rules]) as proxied:
        sender = producer(proxied.bootstrap, **{"compression.type": "gzip"})
        headers = [("id", b"1")]
        assert delivered(sender, name, headers=headers) == []
        assert set(delivered(sender, name)) == {"INVALID_RECORD"}
        for codec in ("snappy", "lz4", "zstd"):
            packing = producer(proxied.bootstrap, **{"compression.type": codec})
            assert delivered(packing, name, value=b"x" * 500, headers=headers) == []
            assert set(delivered(packing, name, value=b"x" * 500)) == {"INVALID_RECORD"}
        python = KafkaProducer(bootstrap_servers=proxied.bootstrap, retries=0)
        python.send(name, b"value", headers=headers).get(30)
        with pytest.raises(InvalidRecordError):
            python.send(name, b"value").get(30)
        with pytest.raises(MessageSizeTooLargeError):
            python.send(name, bytes(1001), headers=headers).get(30)
        python.close()
    assert sum(ends(kafka, name, 3).values()) == 41


def test_quota(kafka: KafkaCluster, tmp_path: Path, name: str) -> None:
    """A producer takes the time that the quota allows, because it is told to."""
    create(kafka.bootstrap, name)
    quota = {"use": "quota", "produce_rate": 100_000, "burst": "500ms", "per": "client_id"}
    with front(tmp_path, kafka.ports, filters=[quota]) as proxied:
        throttled: list[float] = []
        sender = producer(
            proxied.bootstrap, throttle_cb=lambda event: throttled.append(event.throttle_time), **{"linger.ms": 0}
        )
        began = time.monotonic()
        for _ in range(25):
            sender.produce(name, bytes(10_000))
            sender.flush(30)
        assert time.monotonic() - began > 1.4  # 250,000 bytes, of which 50,000 are saved up
        assert throttled
    assert sum(ends(kafka, name, 3).values()) == 25


def test_mirror(kafka: KafkaCluster, older_kafka: KafkaCluster, tmp_path: Path, name: str) -> None:
    """Another cluster, of another version, which wants to know who the proxy is, has the same records in the same
    order; when it is not there, nobody waits for it."""
    for cluster in (kafka, older_kafka):
        create(cluster.bootstrap, name)
    others = [{"name": "copies", "endpoints": [f"{HOST}:{port}" for port in older_kafka.sasl_ports]},
              {"name": "nowhere", "endpoints": [f"{HOST}:{free_port()}"]}]  # fmt: skip
    login = {"username": SCRAM_USER[0], "password": SCRAM_USER[1], "mechanism": "SCRAM-SHA-256"}
    copies = {"use": "mirror", "cluster": "copies", "topics": [name], "login": login}
    filters = [copies, {"use": "mirror", "cluster": "nowhere"}]
    with front(tmp_path, kafka.ports, filters=filters, clusters=others) as proxied:
        for codec in ("none", "zstd"):
            sender = producer(proxied.bootstrap, **{"enable.idempotence": True, "compression.type": codec})
            assert delivered(sender, name, 100, value=b"x" * 200) == []
        wait_until(lambda: ends(older_kafka, name, 3) == ends(kafka, name, 3), "every record is copied")
    values = []
    for cluster in (kafka, older_kafka):
        reader = consumer(cluster.bootstrap, f"{name}-reader", name)
        keys: dict[int, list[bytes]] = {}
        while sum(map(len, keys.values())) < 200:
            for message in reader.consume(100, 0.2):
                keys.setdefault(message.partition(), []).append(message.key())
        reader.close()
        values.append(keys)
    assert values[0] == values[1]


def test_two_tenants_of_one_cluster(cluster: KafkaCluster, tmp_path: Path, name: str) -> None:
    """Both use the same names, and neither sees anything of the other; the cluster has all with their prefixes."""
    from confluent_kafka.admin import AdminClient

    tenants = [f"{name}-{number}." for number in (1, 2)]
    with contextlib.ExitStack() as running:
        fronts = []
        for number, prefix in enumerate(tenants):
            (directory := tmp_path / str(number)).mkdir()
            use = {"use": "prefix", "prefix": prefix}
            fronts.append(running.enter_context(front(directory, cluster.ports, filters=[use])))
        for number, proxied in enumerate(fronts):
            _tenant(cluster, proxied.bootstrap, 10 + number)
        for number, proxied in enumerate(fronts):
            admin = AdminClient({"bootstrap.servers": proxied.bootstrap})
            assert set(admin.list_topics(timeout=30).topics) == {"orders", "logs-1"}
            groups = {one.group_id for one in admin.list_consumer_groups().result(30).valid}
            assert groups == {"classic", "regex"} | ({"new"} if _has_new_groups(cluster) else set())
            described = admin.describe_consumer_groups(["classic"])["classic"].result(30)
            assert described.group_id == "classic"
            reader = consumer(proxied.bootstrap, "asker", "orders")
            offsets = [reader.get_watermark_offsets(confluent.TopicPartition("orders", part)) for part in range(3)]
            assert sum(high for _, high in offsets) == 2 * (10 + number) + 1
            reader.close()
        words = ["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", fronts[0].bootstrap]
        assert cluster.run(*words, "--list").split() == ["logs-1", "orders"]
        assert "Topic: orders" in cluster.run(*words, "--describe", "--topic", "orders")
        words = [
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "--bootstrap-server",
            fronts[1].bootstrap,
        ]
        table = cluster.run(*words, "--describe", "--group", "classic")
        assert "orders" in table
        assert name not in table
        admin = AdminClient({"bootstrap.servers": fronts[0].bootstrap})
        for deleted in admin.delete_topics(["logs-1"]).values():
            deleted.result(30)
    direct = AdminClient({"bootstrap.servers": cluster.bootstrap})
    there = {topic for topic in direct.list_topics(timeout=30).topics if topic.startswith(name)}
    assert there == {f"{tenants[0]}orders", f"{tenants[1]}orders", f"{tenants[1]}logs-1"}
    groups = {one.group_id for one in direct.list_consumer_groups().result(30).valid}
    assert {f"{tenant}classic" for tenant in tenants} <= groups


def _has_new_groups(cluster: KafkaCluster) -> bool:
    return not cluster.version.startswith("3")


def _tenant(cluster: KafkaCluster, bootstrap: str, count: int) -> None:
    """What a tenant does: produce, in a transaction, too; consume in groups of every kind; ask for names."""
    create(bootstrap, "orders")
    create(bootstrap, "logs-1")
    sender = producer(bootstrap, **{"enable.idempotence": True})
    assert delivered(sender, "orders", count) == []
    assert delivered(sender, "logs-1", count) == []
    reader = consumer(bootstrap, "classic", "orders")
    assert consume(reader, count) == count
    transactional = producer(bootstrap, **{"transactional.id": "tx"})
    transactional.init_transactions(30)
    transactional.begin_transaction()
    for _ in range(count):
        transactional.produce("orders", b"value", partition=0)
    offsets = reader.position(reader.assignment())
    transactional.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), 30)
    transactional.commit_transaction(30)
    committed = reader.committed(reader.assignment(), 30)
    assert [one.offset for one in committed] == [one.offset for one in offsets]
    reader.close()
    for group, protocol in GROUPS if _has_new_groups(cluster) else GROUPS[:1]:
        reader = consumer(bootstrap, group, "^(orders|logs-.*)$", **{"group.protocol": protocol})
        assert consume(reader, 3 * count) == 3 * count
        reader.commit(asynchronous=False)
        reader.close()


GROUPS = (("regex", "classic"), ("new", "consumer"))
