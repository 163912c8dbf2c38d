"""Kafka: real brokers, real clients, and numbers that equal the brokers' own."""

from __future__ import annotations

import json
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.kafka_jobs import CODECS, Job, consume, consumer, java_clients, kafkajs, producer
from e2e.kafka_watch import Watched, watch
from l4proxy.protocols.kafka.apis import APIS, BY_NAME, api_name
from l4proxy.protocols.kafka.messages import decode_response, encode_request
from proxy_process import wait_until
from services.certs import Certs
from services.kafka import PLAIN_USER, SCRAM_USER, KafkaCluster, broker_killed, start_kafka
from services.needs import needs, program
from services.process import HOST

confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

CLUSTERS = ("kafka", "older_kafka")


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    found: KafkaCluster = request.getfixturevalue(getattr(request, "param", "kafka"))
    return found


@pytest.fixture
def watched(cluster: KafkaCluster, tmp_path: Path) -> Iterator[Watched]:
    with cluster.door() as doors, watch(tmp_path, doors) as watched:
        yield watched


def create(bootstrap: str, topic: str, partitions: int = 3, replicas: int = 1, **options: Any) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, **options})
    for made in admin.create_topics([NewTopic(topic, partitions, replicas)]).values():
        made.result(30)


def filled(ends: dict[int, int]) -> dict[int, int]:
    """The partitions with records: a client that spreads them as it likes may leave one out."""
    return {number: end for number, end in ends.items() if end}


def ends(cluster: KafkaCluster, topic: str, partitions: int) -> dict[int, int]:
    """The brokers' own offsets, asked for with no proxy in between."""
    asker = confluent.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "asker"})
    try:
        return {
            number: asker.get_watermark_offsets(confluent.TopicPartition(topic, number), 30)[1]
            for number in range(partitions)
        }
    finally:
        asker.close()


@pytest.mark.parametrize("cluster", CLUSTERS, indirect=True)
def test_produced_fetched_and_committed_equal_the_brokers_offsets(
    cluster: KafkaCluster, watched: Watched, topic: str
) -> None:
    create(watched.bootstrap, topic)
    for codec in CODECS:
        sender = producer(watched.bootstrap, **{"compression.type": codec, "enable.idempotence": codec == "lz4"})
        for number in range(500):
            sender.produce(topic, b"x" * 50, key=str(number))
        assert sender.flush(30) == 0
    at_broker = ends(cluster, topic, 3)
    assert sum(at_broker.values()) == 500 * len(CODECS)
    assert watched.of_partitions("produced_records_total", topic) == at_broker
    group = f"group-{topic}"
    reader = consumer(watched.bootstrap, group, topic)
    assert consume(reader, 1000) == 1000
    reader.commit(asynchronous=False)
    committed = {
        found.partition: found.offset
        for found in reader.committed([confluent.TopicPartition(topic, number) for number in range(3)])
        if found.offset >= 0
    }
    expected = {number: at_broker[number] - offset for number, offset in committed.items()}
    assert watched.lag(group, topic) == expected
    assert sum(at_broker.values()) - sum(committed.values()) == 1500
    assert consume(reader, 1500) == 1500
    reader.commit(asynchronous=False)
    reader.close()
    assert watched.of_partitions("fetched_records_total", topic) == at_broker
    assert watched.of_partitions("partition_end_offset", topic) == at_broker
    assert set(watched.lag(group, topic).values()) == {0}
    metrics = watched.metrics()
    for codec in CODECS:
        assert metrics["codec_batches_total", topic, codec] > 0
    assert metrics["rebalances_total", group, "member_joined"] == 1
    assert metrics["consumer_group_members", group] == 0
    assert metrics["unknown_responses_total",] == metrics["opaque_requests_total",] == 0
    assert not [key for key in metrics if key[0] == "undecodable_frames_total"]


def test_lag_with_several_workers(cluster: KafkaCluster, tmp_path: Path, topic: str) -> None:
    """A producer, consumers and who resets a group's offsets are at different workers, as chance has it."""
    with cluster.door() as doors, watch(tmp_path, doors, workers=3) as watched:
        create(watched.bootstrap, topic, partitions=1)
        sender = producer(watched.bootstrap)
        for _ in range(100):
            sender.produce(topic, b"value")
        assert sender.flush(30) == 0
        groups = {f"group{number}-{topic}": 10 * number for number in range(1, 7)}
        for group, count in groups.items():
            reader = consumer(watched.bootstrap, group, topic)
            assert consume(reader, count) == count
            reader.commit(offsets=[confluent.TopicPartition(topic, 0, count)], asynchronous=False)
            assert watched.lag(group, topic) == {0: 100 - count}
            assert watched.metrics()["consumer_group_members", group] == 1
            reader.close()
        for group in groups:
            resetting = confluent.Consumer({"bootstrap.servers": watched.bootstrap, "group.id": group})

            def is_reset(resetting: Any = resetting) -> bool:
                try:
                    resetting.commit(offsets=[confluent.TopicPartition(topic, 0, 5)], asynchronous=False)
                except confluent.KafkaException as error:
                    assert error.args[0].name() == "UNKNOWN_MEMBER_ID"  # noqa: PT017
                    return False
                return True

            wait_until(is_reset, "a group that its member has left")
            resetting.close()
            assert watched.lag(group, topic) == {0: 95}
        assert watched.of_partitions("produced_records_total", topic) == {0: 100}


@pytest.mark.parametrize("cluster", CLUSTERS, indirect=True)
def test_transactions(cluster: KafkaCluster, watched: Watched, topic: str) -> None:
    """Aborted records are in the log, too; markers are not records, and take offsets."""
    create(watched.bootstrap, topic, partitions=1)
    sender = producer(watched.bootstrap, **{"transactional.id": topic})
    sender.init_transactions(30)
    group = f"group-{topic}"
    reader = consumer(watched.bootstrap, group, topic, **{"isolation.level": "read_committed"})
    for number, end in enumerate([sender.commit_transaction, sender.abort_transaction] * 2):
        sender.begin_transaction()
        for _ in range(10 + number):
            sender.produce(topic, b"value")
        sender.flush(30)
        end(30)
    assert consume(reader, 10 + 12) == 22
    assert ends(cluster, topic, 1) == {0: 10 + 11 + 12 + 13 + 4}
    assert watched.of_partitions("produced_records_total", topic) == {0: 46}
    assert watched.of_partitions("fetched_control_batches_total", topic) == {0: 4}
    assert watched.of_partitions("fetched_records_total", topic) == {0: 46}
    sender.begin_transaction()
    positions = reader.position(reader.assignment())
    sender.send_offsets_to_transaction(positions, reader.consumer_group_metadata(), 30)
    assert ("consumer_group_committed_offset", group, topic, "0") not in watched.metrics()
    sender.commit_transaction(30)
    assert watched.metrics()["consumer_group_committed_offset", group, topic, "0"] == positions[0].offset == 35
    reader.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_rebalances_have_reasons(watched: Watched, topic: str, protocol: str) -> None:
    create(watched.bootstrap, topic, partitions=4)
    group = f"{protocol}-{topic}"
    options = {"group.protocol": protocol, **({"heartbeat.interval.ms": 300} if protocol == "classic" else {})}
    first = consumer(watched.bootstrap, group, topic, **options)
    wait_until(lambda: first.poll(0.1) is None and len(first.assignment()) == 4, "the first assignment")
    second = consumer(watched.bootstrap, group, topic, **options)

    def balanced() -> bool:
        first.poll(0.05)
        second.poll(0.05)
        return len(first.assignment()) == len(second.assignment()) == 2

    wait_until(balanced, "half of the partitions for each")
    assert watched.metrics()["consumer_group_members", group] == 2
    second.close()
    wait_until(lambda: first.poll(0.1) is None and len(first.assignment()) == 4, "all of them again")
    metrics = watched.metrics()
    assert metrics["consumer_group_members", group] == 1
    assert metrics["rebalances_total", group, "member_joined"] == 2
    assert metrics["rebalances_total", group, "member_left"] == 1
    assert metrics["consumer_group_generation", group] >= 3
    assert metrics["rebalance_seconds_count", group] >= 2
    first.close()


def test_a_consumer_that_dies_is_missed(watched: Watched, topic: str) -> None:
    create(watched.bootstrap, topic, partitions=2)
    group = f"group-{topic}"
    options = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300}
    script = f"""
import confluent_kafka, time
c = confluent_kafka.Consumer({{"bootstrap.servers": {watched.bootstrap!r}, "group.id": {group!r}, **{options!r}}})
c.subscribe([{topic!r}])
while True:
    c.poll(0.1)
"""
    with subprocess.Popen([program("python"), "-c", script]) as doomed:
        watched.wait_for("consumer_group_members", group)
        survivor = consumer(watched.bootstrap, group, topic, **options)
        wait_until(lambda: survivor.poll(0.1) is None and len(survivor.assignment()) == 1, "one partition")
        doomed.kill()
        wait_until(lambda: survivor.poll(0.1) is None and len(survivor.assignment()) == 2, "both partitions")
    assert watched.metrics()["rebalances_total", group, "member_expired"] == 1
    assert watched.metrics()["consumer_group_members", group] == 1
    survivor.close()


def test_kafka_python(cluster: KafkaCluster, watched: Watched, topic: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer

    sender = KafkaProducer(bootstrap_servers=watched.bootstrap, client_id="py", compression_type="gzip", acks="all")
    for number in range(200):
        sender.send(topic, b"value", key=str(number).encode(), headers=[("h", b"1")])
    sender.flush(30)
    sender.close()
    reader = KafkaConsumer(topic, bootstrap_servers=watched.bootstrap, group_id=topic, auto_offset_reset="earliest",
                           consumer_timeout_ms=10_000)  # fmt: skip
    assert [number for number, _ in zip(range(200), reader, strict=False)][-1] == 199
    reader.commit()
    reader.close()
    at_broker = ends(cluster, topic, 3)
    assert watched.of_partitions("produced_records_total", topic) == filled(at_broker)
    assert watched.metrics()["client_produced_records_total", "py"] == 200


@needs("kcat")
def test_kcat(cluster: KafkaCluster, watched: Watched, topic: str) -> None:
    kcat = [program("kcat"), "-b", watched.bootstrap, "-X", "client.id=kcat"]
    lines = "".join(f"line {number}\n" for number in range(100))
    subprocess.run([*kcat, "-P", "-t", topic, "-z", "gzip"], input=lines, text=True, check=True, timeout=60)
    read = subprocess.run(
        [*kcat, "-C", "-t", topic, "-e", "-q", "-o", "beginning"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert sorted(read.stdout.splitlines()) == sorted(lines.splitlines())
    assert sum(watched.of_partitions("produced_records_total", topic).values()) == 100
    assert sum(watched.of_partitions("fetched_records_total", topic).values()) == 100
    listed = subprocess.run([*kcat, "-L", "-J"], capture_output=True, text=True, check=True, timeout=60)
    assert [one["name"] for one in json.loads(listed.stdout)["brokers"]] == [watched.bootstrap]
    assert watched.metrics()["software_connections_total", "librdkafka", "2.0.2"] > 0


@pytest.mark.parametrize("job", [java_clients, kafkajs], ids=lambda job: job.__name__)
def test_clients_in_other_languages(cluster: KafkaCluster, watched: Watched, topic: str, job: Job) -> None:
    create(watched.bootstrap, topic)
    consumed = job(cluster, watched.bootstrap, topic)
    at_broker = ends(cluster, topic, 3)
    assert consumed == sum(at_broker.values())
    assert watched.of_partitions("produced_records_total", topic) == filled(at_broker)
    assert watched.of_partitions("fetched_records_total", topic) == filled(at_broker)
    assert set(watched.lag(f"group-{topic}", topic).values()) == {0}


def test_without_acknowledgements(cluster: KafkaCluster, watched: Watched, topic: str) -> None:
    create(watched.bootstrap, topic, partitions=1)
    sender = producer(watched.bootstrap, acks=0)
    for _ in range(100):
        sender.produce(topic, b"value", partition=0)
    assert sender.flush(30) == 0
    wait_until(lambda: ends(cluster, topic, 1) == {0: 100}, "100 records")
    assert watched.of_partitions("produced_records_total", topic) == {0: 100}
    assert watched.metrics()["requests_in_flight",] == 0


def be_refused(bootstrap: str, **options: Any) -> None:
    errors: list[Any] = []
    client = producer(bootstrap, error_cb=errors.append, **options)
    wait_until(lambda: bool(client.poll(0.1) or errors), "a refusal")


@pytest.mark.parametrize(("mechanism", "user"), [("PLAIN", PLAIN_USER), ("SCRAM-SHA-256", SCRAM_USER)])
def test_sasl(cluster: KafkaCluster, tmp_path: Path, topic: str, mechanism: str, user: tuple[str, str]) -> None:
    sasl: Any = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism, "sasl.username": user[0]}
    with cluster.door(sasl=True) as doors, watch(tmp_path, doors) as watched:
        create(watched.bootstrap, topic, **{**sasl, "sasl.password": user[1]})
        metrics = watched.metrics()
        assert metrics["authentications_total", mechanism, "success"] >= 1
        assert metrics["principal_requests_total", user[0]] >= 2
        be_refused(watched.bootstrap, **{**sasl, "sasl.password": "wrong"})
        assert watched.wait_for("authentications_total", mechanism, "failure") >= 1
        assert watched.metrics()["errors_total", "SaslAuthenticate", "SASL_AUTHENTICATION_FAILED"] >= 1
        assert user[1] not in watched.proxy.log


def test_tls_that_ends_at_the_proxy(cluster: KafkaCluster, tmp_path: Path, certs: Certs, topic: str) -> None:
    listener = {"tls": {"cert": str(certs.server.cert), "key": str(certs.server.key)}}
    options: Any = {"security.protocol": "SSL", "ssl.ca.location": str(certs.ca)}
    with cluster.door() as doors, watch(tmp_path, doors, listener=listener) as watched:
        create(watched.bootstrap, topic, partitions=1, **options)
        sender = producer(watched.bootstrap, **options)
        sender.produce(topic, b"value")
        assert sender.flush(30) == 0
        assert watched.of_partitions("produced_records_total", topic) == {0: 1}


@pytest.mark.parametrize("cluster", CLUSTERS, indirect=True)
def test_all_that_a_broker_offers_is_known(cluster: KafkaCluster) -> None:
    request = encode_request(
        BY_NAME["ApiVersions"], 3, 1, "asker", client_software_name="a", client_software_version="1"
    )
    with (
        socket.create_connection((HOST, cluster.ports[0]), timeout=30) as connection,
        connection.makefile("rb") as reader,
    ):
        connection.sendall(request)
        answer = reader.read(int.from_bytes(reader.read(4), "big"))
    offered = decode_response(BY_NAME["ApiVersions"], 3, answer[4:])["api_keys"]
    assert len(offered) > 50
    unknown = {
        api_name(one["api_key"]): (one["min_version"], one["max_version"])
        for one in offered
        if one["api_key"] not in APIS or not APIS[one["api_key"]].knows(one["max_version"])
    }
    assert not unknown


def test_a_topic_that_is_made_anew_begins_at_0(cluster: KafkaCluster, watched: Watched, topic: str) -> None:
    from confluent_kafka.admin import AdminClient

    sender = producer(watched.bootstrap)
    admin = AdminClient({"bootstrap.servers": watched.bootstrap})
    for count in (5, 3):
        create(watched.bootstrap, topic, partitions=1)
        for _ in range(count):
            sender.produce(topic, b"value")
        assert sender.flush(30) == 0
        assert watched.of_partitions("partition_end_offset", topic) == {0: count}
        admin.delete_topics([topic])[topic].result(30)
        assert watched.of_partitions("partition_end_offset", topic) == {}
        wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, "the end of the topic")


def test_three_brokers_through_thick_and_thin(tmp_path: Path) -> None:
    """A broker dies and comes back, a leader moves, a partition is added, while records flow; none is counted wrong."""
    topic = "orders"
    with start_kafka("4.1.1", tmp_path / "kafka", count=3) as cluster, cluster.door() as doors:
        (tmp_path / "proxy").mkdir()
        with watch(tmp_path / "proxy", doors) as watched:
            _live_through(cluster, watched, topic)


def _live_through(cluster: KafkaCluster, watched: Watched, topic: str) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    create(watched.bootstrap, topic, partitions=3, replicas=3)
    sender = producer(watched.bootstrap, **{"metadata.max.age.ms": 1000, "topic.metadata.refresh.interval.ms": 1000})
    sent = 0

    def send(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            sender.produce(topic, b"value", partition=sent % 3)
            sent += 1
        assert sender.flush(60) == 0

    send(300)
    with broker_killed(cluster, 2):
        send(300)
    send(300)
    election = ["org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", cluster.bootstrap]
    wait_for_replicas(cluster, topic)
    cluster.run(*election, "--election-type", "preferred", "--all-topic-partitions")
    send(300)
    admin = AdminClient({"bootstrap.servers": watched.bootstrap})
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(30)
    wait_until(lambda: len(sender.list_topics(topic, 10).topics[topic].partitions) == 4, "the new partition")
    for _ in range(50):
        sender.produce(topic, b"value", partition=3)
    assert sender.flush(60) == 0
    at_broker = ends(cluster, topic, 4)
    assert at_broker[3] == 50
    produced = watched.of_partitions("produced_records_total", topic)
    unanswered = watched.metrics()["unanswered_records_total",]
    assert sum(at_broker.values()) - unanswered <= sum(produced.values()) <= sum(at_broker.values())
    assert {number: watched.of_partitions("partition_end_offset", topic)[number] for number in range(4)} == at_broker
    assert watched.metrics()["leader_changes_total", topic] >= 2


def wait_for_replicas(cluster: KafkaCluster, topic: str) -> None:
    """Until three replicas of each partition are in sync; a broker may not even have heard of a new topic yet."""
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})

    def in_sync() -> bool:
        partitions = admin.list_topics(topic, 10).topics[topic].partitions.values()
        return bool(partitions) and all(len(part.isrs) == 3 for part in partitions)

    wait_until(in_sync, "all replicas in sync")
