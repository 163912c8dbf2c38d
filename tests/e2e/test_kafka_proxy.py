"""kafka_proxy: real brokers, real clients of every kind, and not one of them ever at a broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from connected import connected_to
from e2e.kafka_jobs import CODECS, JOBS, consume, consumer, producer
from e2e.kafka_watch import watch as observed
from e2e.proxies import Proxy, run
from e2e.test_kafka import create, ends, wait_for_replicas
from kafka_broker import Client
from kafka_messages import batch
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.schema import Field
from proxy_process import wait_until
from services.certs import Certs
from services.kafka import PLAIN_USER, SCRAM_USER, KafkaCluster, broker_killed, start_kafka
from services.needs import needs, program
from services.process import HOST, neighbouring_ports

confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

CLUSTERS = ("kafka", "older_kafka")
PORTS = 5
KAFKAJS = "kafkajs, none and gzip, idempotent"


class Front:
    """A proxy in front of a cluster; ``bootstrap`` is where its clients begin."""

    def __init__(self, proxy: Proxy, first: int) -> None:
        self.proxy = proxy
        self.first = first
        self.bootstrap = f"{HOST}:{first}"

    @property
    def processes(self) -> set[int]:
        return {self.proxy.process.pid, *self.proxy.processes()}


@contextlib.contextmanager
def front(
    directory: Path, upstreams: Sequence[int], *, workers: int = 1, tls: dict[str, str] | None = None, **options: Any
) -> Iterator[Front]:
    """``tls`` is that of the cluster; ``options`` are those of the filter, ``listener``, and further ``clusters``."""
    first = neighbouring_ports(PORTS)
    use = {
        "use": "kafka_proxy",
        "cluster": "kafka",
        **{k: v for k, v in options.items() if k not in ("listener", "clusters")},
    }
    listener = {"address": f"{HOST}:{first}-{first + PORTS - 1}", "filters": [use], **options.get("listener", {})}
    cluster: dict[str, Any] = {"name": "kafka", "endpoints": [f"{HOST}:{port}" for port in upstreams]}
    if tls is not None:
        cluster["tls"] = tls
    log = {"use": "file", "format": "json", "flush_interval": 0}
    config = {
        "listeners": [listener],
        "clusters": [cluster, *options.get("clusters", ())],
        "workers": workers,
        "access_log": [log],
    }
    with run(directory, config, first) as proxy:
        yield Front(proxy, first)


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    found: KafkaCluster = request.getfixturevalue(getattr(request, "param", "kafka"))
    return found


class Watch(threading.Thread):
    """Looks again and again who is connected to a broker's door for proxies, until the block ends. Tests themselves go
    through another one, to ask brokers what they know."""

    def __init__(self, cluster: KafkaCluster, allowed: Callable[[], set[int]]) -> None:
        super().__init__(daemon=True)
        self._doors = set(cluster.tls_ports)
        self._ports = {*self._doors, *cluster.ports}
        self._allowed = allowed
        self._over = threading.Event()
        self.looks = 0
        self.seen: set[int] = set()
        """Processes that were there."""
        self.strangers: set[str] = set()

    def run(self) -> None:
        while not self._over.wait(0.05):
            inside = connected_to(self._doors)
            self.seen |= inside
            others = connected_to(self._ports) - {os.getpid()}
            strangers = (inside | others) - self._allowed()
            self.strangers |= {name for pid in strangers if "kafka.Kafka" not in (name := _command(pid))}
            self.looks += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


# One broker, many ways


@pytest.mark.parametrize("cluster", CLUSTERS, indirect=True)
def test_all_that_is_produced_can_be_consumed(cluster: KafkaCluster, tmp_path: Path, topic: str) -> None:
    with front(tmp_path, cluster.ports) as proxied:
        create(proxied.bootstrap, topic)
        for codec in CODECS:
            sender = producer(proxied.bootstrap, **{"compression.type": codec, "enable.idempotence": codec == "lz4"})
            for number in range(200):
                sender.produce(topic, b"x" * 5000, key=str(number))
            assert sender.flush(30) == 0
        assert sum(ends(cluster, topic, 3).values()) == 200 * len(CODECS)
        reader = consumer(proxied.bootstrap, f"group-{topic}", topic)
        assert consume(reader, 200 * len(CODECS)) == 200 * len(CODECS)
        reader.commit(asynchronous=False)
        reader.close()
        transactional = producer(proxied.bootstrap, **{"transactional.id": f"txn-{topic}"})
        transactional.init_transactions(30)
        for ends_well in (True, False, True):
            transactional.begin_transaction()
            for _ in range(5):
                transactional.produce(topic, b"value")
            transactional.commit_transaction(30) if ends_well else transactional.abort_transaction(30)
        options = {"isolation.level": "read_committed"}
        reader = consumer(proxied.bootstrap, f"committed-{topic}", topic, **options)
        assert consume(reader, 200 * len(CODECS) + 10) == 200 * len(CODECS) + 10
        assert reader.poll(1) is None
        reader.close()


@pytest.mark.parametrize("cluster", CLUSTERS, indirect=True)
def test_kafka_python(cluster: KafkaCluster, tmp_path: Path, topic: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.admin import KafkaAdminClient

    with front(tmp_path, cluster.ports) as proxied:
        create(proxied.bootstrap, topic)
        sender = KafkaProducer(bootstrap_servers=proxied.bootstrap)
        for _ in range(100):
            sender.send(topic, b"value" * 100)
        sender.flush(30)
        sender.close()
        options = {"auto_offset_reset": "earliest", "group_id": f"group-{topic}", "consumer_timeout_ms": 20_000}
        reader = KafkaConsumer(topic, bootstrap_servers=proxied.bootstrap, **options)
        assert sum(1 for _ in zip(range(100), reader, strict=False)) == 100
        reader.close()
        admin = KafkaAdminClient(bootstrap_servers=proxied.bootstrap)
        brokers = {(one["host"], one["port"]) for one in admin.describe_cluster()["brokers"]}
        assert brokers == {(HOST, proxied.first + 2)}
        admin.close()


@needs("kcat")
def test_kcat(cluster: KafkaCluster, tmp_path: Path, topic: str) -> None:
    def kcat(*words: str, data: str = "") -> str:
        argv = [program("kcat"), "-b", proxied.bootstrap, *words]
        return subprocess.run(argv, input=data, capture_output=True, text=True, timeout=60, check=True).stdout

    with front(tmp_path, cluster.ports) as proxied:
        create(proxied.bootstrap, topic)
        kcat("-P", "-t", topic, "-z", "gzip", data="".join(f"line {number}\n" for number in range(100)))
        assert len(kcat("-C", "-t", topic, "-e", "-q").splitlines()) == 100
        assert f"broker 1 at {HOST}:{proxied.first + 2}" in kcat("-L", "-t", topic)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_clients_authenticate_with_the_brokers(
    cluster: KafkaCluster, tmp_path: Path, topic: str, mechanism: str
) -> None:
    user, password = PLAIN_USER if mechanism == "PLAIN" else SCRAM_USER
    sasl: Any = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism, "sasl.username": user}
    with front(tmp_path, cluster.sasl_ports) as proxied:
        create(proxied.bootstrap, topic, **{**sasl, "sasl.password": password})
        sender = producer(proxied.bootstrap, **{**sasl, "sasl.password": password})
        for _ in range(10):
            sender.produce(topic, b"value")
        assert sender.flush(30) == 0
        stranger = producer(proxied.bootstrap, **{**sasl, "sasl.password": "wrong"})
        stranger.produce(topic, b"value")
        proxied.proxy.wait_for_log(f"do not take {mechanism} as '{user}'")
        assert stranger.flush(0) == 1
        assert password not in proxied.proxy.log


def test_brokers_by_name_over_tls(
    cluster: KafkaCluster, tmp_path: Path, topic: str, certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One port for all: which broker is meant is said by SNI."""
    from kafka import KafkaConsumer, KafkaProducer

    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".example.test"):
            asked.append(host)
            host = HOST
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    tls = {"cert": str(certs.wildcard.cert), "key": str(certs.wildcard.key)}
    with front(tmp_path, cluster.ports, broker_names="broker{node}.example.test", listener={"tls": tls}) as proxied:
        create(cluster.bootstrap, topic)
        options = {
            "bootstrap_servers": f"kafka.example.test:{proxied.first}",
            "security_protocol": "SSL",
            "ssl_cafile": str(certs.ca),
        }
        sender = KafkaProducer(**options)
        for _ in range(10):
            sender.send(topic, b"value")
        sender.flush(30)
        sender.close()
        reader = KafkaConsumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=20_000, **options)
        assert sum(1 for _ in zip(range(10), reader, strict=False)) == 10
        reader.close()
        assert set(asked) == {"kafka.example.test", "broker1.example.test"}


def test_plain_clients_and_tls_do_not_hang(cluster: KafkaCluster, tmp_path: Path, certs: Certs) -> None:
    with front(tmp_path, cluster.ports) as proxied:
        context = ssl.create_default_context(cafile=str(certs.ca))
        with socket.create_connection((HOST, proxied.first)) as sock, pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(sock, server_hostname="localhost")
        proxied.proxy.wait_for_log("this is a TLS handshake")


def _new(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_share_groups(kafka: KafkaCluster, tmp_path: Path, topic: str) -> None:
    """Kafka's own consumer, as a member of a share group (KIP-932). It begins with what comes when it is there."""
    with (
        kafka.door() as doors,
        observed(tmp_path, doors) as watched,
        front(_new(tmp_path / "front"), [doors[0].proxy_port]) as proxied,
    ):
        create(proxied.bootstrap, topic, partitions=1)
        console = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
        words = ["--bootstrap-server", proxied.bootstrap, "--topic", topic, "--group", f"share-{topic}"]
        argv = kafka.java(console, *words, "--max-messages", "50")
        sender = producer(proxied.bootstrap)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as java:

            def is_done() -> bool:
                for number in range(10):
                    sender.produce(topic, f"value {number}")
                assert sender.flush(30) == 0
                return java.poll() is not None

            wait_until(is_done, "50 records in a share group")
            assert java.stdout is not None
            assert len(java.stdout.read().splitlines()) >= 50
        metrics = watched.metrics()
        assert metrics["requests_total", "ShareFetch", "1"] > 0
        assert metrics["requests_total", "ShareGroupHeartbeat", "1"] > 0
        assert metrics["fetched_records_total", topic, "0"] >= 50
        assert metrics["rebalances_total", f"share-{topic}", "member_joined"] == 1
        assert not [key for key in metrics if key[0] == "undecodable_frames_total"]
        assert metrics["opaque_requests_total",] == 0


# Three brokers


def test_no_client_passes_by(tmp_path: Path, certs: Certs, topic: str) -> None:
    """Three brokers that take nobody without a certificate, which only the proxy has; every kind of client; a broker
    that dies, and comes back, while they work. And the kernel is asked who is connected to a broker."""
    with start_kafka("4.1.1", tmp_path / "kafka", count=3, certs=certs) as cluster:
        (tmp_path / "proxy").mkdir()
        tls = {"ca": str(certs.ca), "cert": str(certs.client.cert), "key": str(certs.client.key)}
        with front(tmp_path / "proxy", cluster.tls_ports, workers=2, tls=tls) as proxied:
            with Watch(cluster, lambda: proxied.processes) as watch:
                _live_through(cluster, proxied, topic)
                asyncio.run(_ask_for_addresses(cluster, proxied, topic))
                for name in ("kafka-python, none and gzip, idempotent", "kcat, every codec", KAFKAJS):
                    mine = f"{topic}-{name.split(',')[0]}"
                    create(proxied.bootstrap, mine, partitions=3, replicas=3)
                    assert JOBS[name](cluster, proxied.bootstrap, mine) == sum(ends(cluster, mine, 3).values())
            assert not watch.strangers
            assert watch.seen & proxied.processes
            assert watch.looks > 20


def _live_through(cluster: KafkaCluster, proxied: Front, topic: str) -> None:
    create(proxied.bootstrap, topic, partitions=6, replicas=3)
    sender = producer(proxied.bootstrap, **{"topic.metadata.refresh.interval.ms": 1000})
    sent = 0
    partitions = 6

    def send(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            sender.produce(topic, b"x" * 1000, partition=sent % partitions)
            sent += 1
        assert sender.flush(60) == 0

    send(600)
    perf = "org.apache.kafka.tools.ProducerPerformance"
    servers = ["--producer-props", f"bootstrap.servers={proxied.bootstrap}"]
    options = ["--topic", topic, "--num-records", "20000", "--record-size", "500", "--throughput", "2000", *servers]
    argv = cluster.java(perf, *options)
    java = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with broker_killed(cluster, 2):
        send(600)
    send(600)
    wait_for_replicas(cluster, topic)
    election = ["org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", proxied.bootstrap]
    cluster.run(*election, "--election-type", "preferred", "--all-topic-partitions")
    send(600)
    partitions = add_partition(proxied.bootstrap, sender, topic, partitions)
    send(700)
    assert "20000 records sent" in java.communicate(timeout=120)[0]
    total = 20_000 + sent
    assert sum(ends(cluster, topic, partitions).values()) == total
    protocols = ("classic", "consumer") if cluster.version.startswith("4.") else ("classic",)
    for protocol in protocols:
        reader = consumer(proxied.bootstrap, f"{protocol}-{topic}", topic, **{"group.protocol": protocol})
        assert consume(reader, total) == total
        reader.commit(asynchronous=False)
        reader.close()
    console = ["org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", proxied.bootstrap]
    words = ["--topic", topic, "--from-beginning", "--max-messages", str(total), "--timeout-ms", "60000"]
    assert (
        len(cluster.run(*console, *words, "--consumer-property", f"group.protocol={protocols[-1]}").splitlines())
        == total
    )
    groups = ["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", proxied.bootstrap]
    assert f"classic-{topic}" in cluster.run(*groups, "--describe", "--all-groups")


def add_partition(bootstrap: str, sender: Any, topic: str, there: int) -> int:
    """Return how many there are, when the sender can see it."""
    from confluent_kafka.admin import AdminClient, NewPartitions

    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_partitions([NewPartitions(topic, there + 1)]).values():
        made.result(30)
    wait_until(lambda: len(sender.list_topics(topic, 10).topics[topic].partitions) == there + 1, "one more partition")
    return there + 1


# Every response with addresses


def _known(fields: Sequence[Field], version: int, values: dict[str, Any]) -> dict[str, Any]:
    """Those values for which a version has fields."""
    there = {field.name: field for field in fields if field.exists(version)}
    return {
        name: [_known(there[name].fields, version, one) if isinstance(one, dict) else one for one in value]
        if isinstance(value, list)
        else value
        for name, value in values.items()
        if name in there
    }


async def _leader(port: int, topic: str) -> int:
    """Who leads the topic's only partition, as soon as the broker behind ``port`` knows of it."""
    client = await Client.connect(port)
    async with asyncio.timeout(60):
        while True:
            (told,) = (await client.ask("Metadata", 1, topics=[{"name": topic}]))["topics"]
            for part in told["partitions"]:
                if part["leader_id"] > 0:
                    await client.close()
                    return int(part["leader_id"])
            await asyncio.sleep(0.02)


async def _ask_for_addresses(cluster: KafkaCluster, proxied: Front, topic: str) -> None:
    """Ask for each of them, in every version that the brokers have, and those for leaders where the leader is not."""
    places = {node: proxied.first + 1 + node for node in (1, 2, 3)}
    topic += "-unreplicated"  # replicas may be read from, too
    create(proxied.bootstrap, topic, partitions=1)
    everybody = {node: (HOST, port) for node, port in places.items()}
    leaders = [await _leader(place, topic) for place in places.values()]
    leader = leaders[0]
    assert leaders == [leader] * 3
    other = min({1, 2, 3} - {leader})
    client = await Client.connect(places[other])
    offered = {one["api_key"]: one for one in (await client.ask("ApiVersions", 0))["api_keys"]}
    seen = set()

    async def answers(name: str, first: int = 0, **values: Any) -> AsyncIterator[dict[str, Any]]:
        """To these values, in each version from ``first`` on; none where the brokers do not have the API."""
        versions = offered.get(BY_NAME[name].key)
        if versions is not None:
            for version in range(max(first, versions["min_version"]), versions["max_version"] + 1):
                known = _known(BY_NAME[name].request.fields, version, values)
                told = await client.ask(name, version, **known)
                seen.add(name)
                yield told

    async for told in answers("Metadata", topics=[{"name": topic}]):
        assert {one["node_id"]: (one["host"], one["port"]) for one in told["brokers"]} == everybody
    topic_id = told["topics"][0]["topic_id"]
    async for told in answers("FindCoordinator", key=topic, coordinator_keys=[topic]):
        (found,) = told.get("coordinators") or [told]
        assert found["error_code"] == 0
        assert (found["host"], found["port"]) == everybody[found["node_id"]]
    group = {"group_id": f"share-{topic}", "member_id": "AAAAAAAAAAAAAAAAAAAAAQ"}
    if BY_NAME["ShareGroupHeartbeat"].key in offered:
        found = await client.ask("FindCoordinator", 3, key=group["group_id"])
        keeper = await Client.connect(found["port"])
        joined = await keeper.ask("ShareGroupHeartbeat", 1, **group, member_epoch=0, subscribed_topic_names=[topic])
        assert joined["error_code"] == 0
        await keeper.close()
    async for told in answers("DescribeCluster", endpoint_type=1):
        assert {one["broker_id"]: (one["host"], one["port"]) for one in told["brokers"]} == everybody
    where = {"name": topic, "topic": topic, "topic_id": topic_id}
    part = {"partition": 0, "partition_index": 0, "partition_max_bytes": 1000, "current_leader_epoch": -1}
    topics = [{**where, "partitions": [part]}]
    fetched: dict[str, Any] = {"max_wait_ms": 2000, "max_bytes": 1000, "session_epoch": -1, "topics": topics}
    accepted = {**part, "acknowledgement_batches": [{"first_offset": 0, "last_offset": 0, "acknowledge_types": [1]}]}
    acknowledged = [{**where, "partitions": [accepted]}]
    produced = [{**where, "partition_data": [{"index": 0, "records": batch()}]}]
    share: dict[str, Any] = {**group, "max_records": 9, "batch_size": 9}
    for told_by in (
        answers("Produce", 10, acks=1, timeout_ms=1000, topic_data=produced),
        answers("Fetch", 16, **fetched),
        answers("ShareFetch", **share, **{**fetched, "share_session_epoch": 0}),
    ):
        async for told in told_by:
            assert [(one["node_id"], one["host"], one["port"]) for one in told["node_endpoints"]] == [
                (leader, HOST, places[leader])
            ], told
    async for told in answers(
        "ShareAcknowledge", **share, **{**fetched, "topics": acknowledged}, share_session_epoch=1
    ):
        # Only a broker that was the leader a moment ago names the new one here.
        assert told["responses"][0]["partitions"][0]["error_code"] == 3
        assert told["node_endpoints"] == []
    assert len(seen) == (7 if cluster.version.startswith("4.") else 5), seen
    await client.close()
