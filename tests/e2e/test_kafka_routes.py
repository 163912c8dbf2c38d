"""Two real clusters, of different versions, that clients see as one; both have a broker 1."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.kafka_jobs import consume, consumer, kafkajs, producer
from e2e.proxies import Proxy, run
from e2e.test_kafka import create, ends
from proxy_process import wait_until
from services.kafka import PLAIN_USER, SCRAM_USER, KafkaCluster
from services.needs import needs, program
from services.process import HOST, neighbouring_ports

confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

PORTS = 6


class Pair:
    def __init__(self, proxy: Proxy, bootstrap: str, main: KafkaCluster, logs: KafkaCluster) -> None:
        self.proxy = proxy
        self.bootstrap = bootstrap
        self.main = main
        self.logs = logs
        mark = uuid.uuid4().hex[:8]
        self.orders = f"orders-{mark}"
        self.log = f"log-{mark}"

    def create(self) -> None:
        for topic in (self.orders, self.log):
            create(self.bootstrap, topic)

    def ends(self) -> tuple[int, int]:
        """Records at both clusters, as their brokers count them."""
        return sum(ends(self.main, self.orders, 3).values()), sum(ends(self.logs, self.log, 3).values())


@pytest.fixture
def pair(kafka: KafkaCluster, older_kafka: KafkaCluster, tmp_path: Path) -> Iterator[Pair]:
    first = neighbouring_ports(PORTS)
    routes = [{"topics": ["log-*"], "groups": ["*log-*"], "transactional_ids": ["log-*"], "cluster": "logs"}]
    use = {"use": "kafka_proxy", "cluster": "main", "routes": routes}
    config = {
        "listeners": [{"address": f"{HOST}:{first}-{first + PORTS - 1}", "filters": [use]}],
        "clusters": [
            {"name": name, "endpoints": [f"{HOST}:{port}" for port in cluster.ports]}
            for name, cluster in (("main", kafka), ("logs", older_kafka))
        ],
        "workers": 2,
    }
    with run(tmp_path, config, first) as proxy:
        yield Pair(proxy, f"{HOST}:{first}", kafka, older_kafka)


def test_clients_and_the_proxy_log_in_everywhere(
    kafka: KafkaCluster, older_kafka: KafkaCluster, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex[:8]
    create(kafka.bootstrap, f"orders-{mark}")
    create(older_kafka.bootstrap, f"log-{mark}")
    first = neighbouring_ports(PORTS)
    login = {"username": PLAIN_USER[0], "password": PLAIN_USER[1], "mechanism": "PLAIN"}
    routes = [{"topics": ["log-*"], "groups": ["*log-*"], "cluster": "logs"}]
    logins = {"main": login, "logs": login}
    config = {
        "listeners": [
            {
                "address": f"{HOST}:{first}-{first + PORTS - 1}",
                "filters": [{"use": "kafka_proxy", "cluster": "main", "routes": routes, "logins": logins}],
            }
        ],
        "clusters": [
            {"name": name, "endpoints": [f"{HOST}:{port}" for port in cluster.sasl_ports]}
            for name, cluster in (("main", kafka), ("logs", older_kafka))
        ],
    }
    bob: Any = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256"}
    bob |= {"sasl.username": SCRAM_USER[0], "sasl.password": SCRAM_USER[1]}
    with run(tmp_path, config, first):
        bootstrap = f"{HOST}:{first}"
        send(bootstrap, 50, f"orders-{mark}", f"log-{mark}", **bob)
        for topic in (f"orders-{mark}", f"log-{mark}"):
            reader = consumer(bootstrap, f"group-{topic}", topic, **bob)
            assert consume(reader, 50) == 50
            reader.commit(asynchronous=False)
            reader.close()
        with pytest.raises(confluent.KafkaException, match="in the name of the proxy"):
            create(bootstrap, f"log-{mark}-2", **bob)


def send(bootstrap: str, count: int, *topics: str, **options: Any) -> None:
    sender = producer(bootstrap, **options)
    for number in range(count):
        for topic in topics:
            sender.produce(topic, b"value", key=str(number))
    assert sender.flush(30) == 0


def test_records_are_where_their_topics_are_routed_to(pair: Pair) -> None:
    pair.create()
    send(pair.bootstrap, 300, pair.orders, pair.log, **{"enable.idempotence": True})
    assert pair.ends() == (300, 300)
    for topic in (pair.orders, pair.log):
        for protocol in ("classic", "consumer") if topic == pair.orders else ("classic",):
            reader = consumer(pair.bootstrap, f"{topic}-{protocol}", topic, **{"group.protocol": protocol})
            assert consume(reader, 300) == 300
            reader.commit(asynchronous=False)
            reader.close()
    admin = confluent.admin.AdminClient({"bootstrap.servers": pair.bootstrap})
    listed = admin.list_topics(timeout=10)
    assert {pair.orders, pair.log} <= set(listed.topics)
    assert set(listed.brokers) == {2, 3}
    groups = {group.group_id for group in admin.list_consumer_groups().result(10).valid}
    assert {f"{pair.orders}-classic", f"{pair.log}-classic"} <= groups


def test_a_topic_of_the_same_name_elsewhere_is_not_seen(pair: Pair) -> None:
    create(pair.main.bootstrap, pair.log)
    create(pair.logs.bootstrap, pair.log, partitions=5)
    send(pair.bootstrap, 50, pair.log)
    assert sum(ends(pair.logs, pair.log, 5).values()) == 50
    assert sum(ends(pair.main, pair.log, 3).values()) == 0


def test_transactions_stay_at_their_cluster(pair: Pair) -> None:
    pair.create()
    for topic in (pair.orders, pair.log):
        sender = producer(pair.bootstrap, **{"transactional.id": topic})
        sender.init_transactions(30)
        for ends_well in (True, False):
            sender.begin_transaction()
            for _ in range(20):
                sender.produce(topic, b"value")
            sender.commit_transaction(30) if ends_well else sender.abort_transaction(30)
        reader = consumer(pair.bootstrap, f"{topic}-g", topic, **{"isolation.level": "read_committed"})
        assert consume(reader, 20) == 20
        reader.close()


def test_a_transaction_over_both_is_refused(pair: Pair) -> None:
    """With an error, and soon: not with a producer that tries for ever."""
    pair.create()
    sender = producer(pair.bootstrap, **{"transactional.id": pair.orders})
    sender.init_transactions(30)
    sender.begin_transaction()
    sender.produce(pair.log, b"value")
    started = time.monotonic()
    with pytest.raises(confluent.KafkaException, match=r"(?i)authori[sz]ation failed"):
        sender.commit_transaction(30)
    assert time.monotonic() - started < 20
    pair.proxy.wait_for_log(f"AddPartitionsToTxn at cluster main is refused: topic '{pair.log}' is at cluster logs")
    with contextlib.suppress(confluent.KafkaException):
        sender.abort_transaction(10)


def test_a_group_over_both_cannot_commit(pair: Pair) -> None:
    pair.create()
    send(pair.bootstrap, 10, pair.log)
    reader = consumer(pair.bootstrap, pair.orders, pair.log)
    with pytest.raises(confluent.KafkaException, match=r"(?i)authori[sz]ation failed"):
        wait_until(lambda: _commit(reader), "the refusal")
    reader.close()


def _commit(reader: Any) -> bool:
    message = reader.poll(0.5)
    if message is not None and message.error():
        raise confluent.KafkaException(message.error())
    if message is not None:
        reader.commit(message, asynchronous=False)
    return False


def test_kafka_python(pair: Pair) -> None:
    from kafka import KafkaConsumer, KafkaProducer

    pair.create()
    sender = KafkaProducer(bootstrap_servers=pair.bootstrap, enable_idempotence=True)
    for _ in range(100):
        sender.send(pair.orders, b"value")
        sender.send(pair.log, b"value")
    sender.flush(30)
    sender.close()
    assert pair.ends() == (100, 100)
    reader = KafkaConsumer(bootstrap_servers=pair.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    reader.subscribe([pair.orders, pair.log])
    assert sum(1 for _ in zip(range(200), reader, strict=False)) == 200
    reader.close()


@needs("node", "npm")
def test_kafkajs(pair: Pair) -> None:
    pair.create()
    for topic, cluster in ((pair.orders, pair.main), (pair.log, pair.logs)):
        assert kafkajs(cluster, pair.bootstrap, topic) > 0
    assert all(pair.ends())


def test_java(pair: Pair) -> None:
    """The tools of the newest version: topics of both are made, described, written, read and deleted."""
    program("java")
    tools, servers = "org.apache.kafka.tools", ("--bootstrap-server", pair.bootstrap)
    for topic in (pair.orders, pair.log):
        pair.main.run(f"{tools}.TopicCommand", *servers, "--create", "--topic", topic, "--partitions", "3")
        lines = "".join(f"line {number}\n" for number in range(50))
        pair.main.run(f"{tools}.ConsoleProducer", *servers, "--topic", topic, input=lines)
        words = ["--topic", topic, "--from-beginning", "--max-messages", "50", "--timeout-ms", "30000"]
        printed = pair.main.run(f"{tools}.consumer.ConsoleConsumer", *servers, *words, "--group", f"{topic}-g")
        assert len(printed.splitlines()) == 50
    assert pair.ends() == (50, 50)
    described = pair.main.run(f"{tools}.TopicCommand", *servers, "--describe", "--topic", f"{pair.orders}|{pair.log}")
    assert described.count("Leader: 2") == described.count("Leader: 3") == 3
    pair.main.run(f"{tools}.TopicCommand", *servers, "--delete", "--topic", pair.log)
    wait_until(lambda: pair.log not in _topics(pair.logs.bootstrap), "a topic less")
    assert pair.orders in _topics(pair.main.bootstrap)


def _topics(bootstrap: str) -> set[str]:
    return set(confluent.admin.AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)
