"""Apache Kafka: jars from Maven Central, brokers in KRaft mode.

The jars are kept in ``~/.cache/l4proxy`` (or ``L4PROXY_CACHE``), outside the repository: 60 MB for each version, which
are fetched once. Where Java or Maven are missing, or Maven Central is not reached, tests are skipped and say so.

A client that has asked a broker for its cluster connects to the addresses that it was told. So a broker here has a few
**doors**: listeners of its own, each advertised under another port, on which a test starts a proxy in front of it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pickle
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest

from services.certs import Certs
from services.needs import program
from services.process import HOST, free_port, running

__all__ = [
    "NEWEST",
    "OLDER",
    "PLAIN_USER",
    "SCRAM_USER",
    "Door",
    "KafkaCluster",
    "broker_killed",
    "kafka",
    "kafka_jars",
    "older_kafka",
    "start_kafka",
]

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
OLDER = "3.9.1"
NEWEST = "4.1.1"
DOORS = 4
"""Tests that may have a proxy in front of the shared broker at a time."""
PLAIN_USER = ("alice", "alice-secret")
SCRAM_USER = ("bob", "bob-secret")

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>local</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
 <dependencies>{dependencies}</dependencies></project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_LOGGING = {
    "3": [("org.slf4j", "slf4j-reload4j", "1.7.36")],
    "4": [
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3"),
        ("org.apache.logging.log4j", "log4j-1.2-api", "2.24.3"),
    ],
}
_LOG4J = """log4j.rootLogger=WARN, A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d %p %c %m%n
"""
_LOG4J2 = """rootLogger.level=warn
rootLogger.appenderRef.stdout.ref=STDOUT
appender.console.name=STDOUT
appender.console.type=Console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c %m%n
"""


def kafka_jars(version: str) -> Path:
    """The directory with the jars of a broker and of Kafka's tools; skips the test where it cannot be had."""
    cache = Path(os.environ.get("L4PROXY_CACHE", Path.home() / ".cache" / "l4proxy"))
    jars = cache / f"kafka-{version}"
    jars.mkdir(parents=True, exist_ok=True)
    with _locked(jars / ".lock"):  # the test processes of a run want them at the same time
        if not (jars / ".complete").exists():
            _fetch(version, jars)
    return jars


def _fetch(version: str, jars: Path) -> None:
    maven = program("mvn")
    wanted = [("org.apache.kafka", "kafka_2.13", version), ("org.apache.kafka", "kafka-tools", version)]
    dependencies = "".join(_DEPENDENCY.format(*names) for names in [*wanted, *_LOGGING[version[0]]])
    (jars / "pom.xml").write_text(_POM.format(dependencies=dependencies))
    argv = [maven, "-q", "-B", "--no-transfer-progress", "-f", str(jars / "pom.xml"), "dependency:copy-dependencies"]
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    done = subprocess.run([*argv, *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Maven could not fetch Kafka {version}: {(done.stdout + done.stderr)[-500:]}")
    (jars / ".complete").touch()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        yield lock


@dataclass(frozen=True, slots=True)
class Door:
    """A listener of a broker, and the port that it is advertised under: where a proxy belongs."""

    broker_port: int
    proxy_port: int

    @property
    def upstream(self) -> str:
        return f"{HOST}:{self.broker_port}"

    @property
    def address(self) -> str:
        """For clients: that of the proxy."""
        return f"{HOST}:{self.proxy_port}"


@dataclass(frozen=True, slots=True)
class KafkaCluster:
    """Brokers 1 to n. ``ports`` are their plain listeners, straight, and so are ``sasl_ports`` and ``tls_ports``, which
    only clients with a certificate get into; ``sasl_doors`` and ``sasl_ports`` speak PLAIN (alice) and SCRAM-SHA-256
    (bob). One cluster serves all tests of a run: use topics and groups of your own."""

    version: str
    directory: Path
    jars: Path
    ports: tuple[int, ...]
    doors: tuple[tuple[Door, ...], ...]
    sasl_doors: tuple[tuple[Door, ...], ...]
    sasl_ports: tuple[int, ...] = ()
    tls_ports: tuple[int, ...] = ()
    revived: contextlib.ExitStack | None = None
    """Holds brokers that were started again."""

    @property
    def bootstrap(self) -> str:
        """Its address, with no proxy in between."""
        return ",".join(f"{HOST}:{port}" for port in self.ports)

    def java(self, *words: str) -> list[str]:
        """The command that runs a class of Kafka's."""
        return _java(self.jars, self.directory, *words)

    def run(self, *words: str, input: str | None = None) -> str:
        """What a tool of Kafka's prints (``org.apache.kafka.tools.ConsumerGroupCommand`` and its options)."""
        done = subprocess.run(self.java(*words), input=input, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def door(self, *, sasl: bool = False) -> Iterator[tuple[Door, ...]]:
        """A door of each broker that no other test goes through meanwhile."""
        doors = self.sasl_doors if sasl else self.doors
        with contextlib.ExitStack() as held:
            while True:
                for number, door in enumerate(doors):
                    lock = (self.directory / f"door-{sasl}-{number}").open("w")
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        lock.close()
                        continue
                    held.enter_context(lock)
                    yield door
                    return
                time.sleep(0.1)


def _java(jars: Path, directory: Path, *words: str) -> list[str]:
    logs = [
        f"-Dlog4j.configuration=file:{directory}/log4j",
        f"-Dlog4j2.configurationFile={directory}/log4j2.properties",
    ]
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms64m", "-Xmx400m"]
    return [program("java"), *quick, *logs, f"-Dkafka.logs.dir={directory}", "-cp", f"{jars}/*", *words]


def _properties(number: int, count: int, cluster: KafkaCluster, controller: int) -> str:
    """The configuration of one broker; the first is the controller, too."""
    listeners = {"PLAINTEXT": (cluster.ports[number], cluster.ports[number])}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    for kind, doors, protocol in (("DOOR", cluster.doors, "PLAINTEXT"), ("SASL", cluster.sasl_doors, "SASL_PLAINTEXT")):
        for slot, door in enumerate(doors):
            name = f"{kind}{slot}"
            listeners[name] = (door[number].broker_port, door[number].proxy_port)
            protocols[name] = protocol
    for name, ports, protocol in (("SASL", cluster.sasl_ports, "SASL_PLAINTEXT"), ("TLS", cluster.tls_ports, "SSL")):
        if ports:
            listeners[name] = (ports[number], ports[number])
            protocols[name] = protocol
    bound = [f"{name}://{HOST}:{port}" for name, (port, _) in listeners.items()]
    if not number:
        bound.append(f"CONTROLLER://{HOST}:{controller}")
    modules = "org.apache.kafka.common.security"
    lines = {
        "process.roles": "broker" if number else "broker,controller",
        "node.id": number + 1,
        "broker.rack": f"rack{number + 1}",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": ",".join(bound),
        "advertised.listeners": ",".join(f"{name}://{HOST}:{port}" for name, (_, port) in listeners.items()),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "log.dirs": cluster.directory / f"data{number}",
        "offsets.topic.replication.factor": min(count, 3),
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": min(count, 3),
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "group.consumer.min.heartbeat.interval.ms": 200,
        "group.consumer.heartbeat.interval.ms": 300,
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        "num.partitions": 3,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
    }
    if cluster.version.startswith("4."):
        lines["share.coordinator.state.topic.replication.factor"] = min(count, 3)
        lines["share.coordinator.state.topic.min.isr"] = 1
        lines["share.coordinator.state.topic.num.partitions"] = 4
        lines["group.share.enable"] = "true"
        lines["unstable.api.versions.enable"] = "true"
    for name, protocol in protocols.items():
        if protocol == "SASL_PLAINTEXT":
            prefix = f"listener.name.{name.lower()}"
            plain = f'{modules}.plain.PlainLoginModule required user_{PLAIN_USER[0]}="{PLAIN_USER[1]}";'
            lines[f"{prefix}.plain.sasl.jaas.config"] = plain
            lines[f"{prefix}.scram-sha-256.sasl.jaas.config"] = f"{modules}.scram.ScramLoginModule required;"
        if protocol == "SSL":
            prefix = f"listener.name.{name.lower()}.ssl"
            lines[f"{prefix}.keystore.type"] = lines[f"{prefix}.truststore.type"] = "PEM"
            lines[f"{prefix}.keystore.location"] = cluster.directory / "server.pem"
            lines[f"{prefix}.truststore.location"] = cluster.directory / "ca.pem"
            lines[f"{prefix}.client.auth"] = "required"
    return "".join(f"{key}={value}\n" for key, value in lines.items())


@contextlib.contextmanager
def start_kafka(
    version: str, directory: Path, count: int = 1, doors: int = 1, certs: Certs | None = None
) -> Iterator[KafkaCluster]:
    """Start a cluster of ``count`` brokers in an empty ``directory``, and stop it at the end of the block. With
    ``certs`` they listen for TLS, too."""
    jars = kafka_jars(version)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "log4j").write_text(_LOG4J)
    (directory / "log4j2.properties").write_text(_LOG4J2)

    def make_doors() -> tuple[tuple[Door, ...], ...]:
        return tuple(tuple(Door(free_port(), free_port()) for _ in range(count)) for _ in range(doors))

    ports, sasl_ports, tls_ports = (tuple(free_port() for _ in range(count)) for _ in range(3))
    if certs is None:
        tls_ports = ()
    else:
        (directory / "server.pem").write_text(certs.server.key.read_text() + certs.server.cert.read_text())
        (directory / "ca.pem").write_text(certs.ca.read_text())
    cluster = KafkaCluster(version, directory, jars, ports, make_doors(), make_doors(), sasl_ports, tls_ports)
    controller = free_port()
    for number in range(count):
        (directory / f"server{number}.properties").write_text(_properties(number, count, cluster, controller))
    with contextlib.ExitStack() as started:
        cluster = replace(cluster, revived=started)
        # Most of it is the start of Java. A process dies with the thread that has started it, so these stay.
        pool = started.enter_context(ThreadPoolExecutor(count))
        for step in (_format, _start):
            list(pool.map(step, [cluster] * count, range(count)))
        yield cluster


def _format(cluster: KafkaCluster, number: int) -> None:
    scram = f"SCRAM-SHA-256=[name={SCRAM_USER[0]},password={SCRAM_USER[1]}]"
    properties = str(cluster.directory / f"server{number}.properties")
    features = ["--feature", "share.version=1"] if cluster.version.startswith("4.") else []
    words = ["format", "-t", CLUSTER_ID, "-c", properties, "--add-scram", scram, *features]
    cluster.run("kafka.tools.StorageTool", *words)


def _start(cluster: KafkaCluster, number: int) -> None:
    argv = cluster.java("kafka.Kafka", str(cluster.directory / f"server{number}.properties"))
    log = cluster.directory / f"broker{number}.log"
    assert cluster.revived is not None
    # Nobody needs its data any more: killing it is quicker than an orderly end.
    answers = lambda: _answers(cluster.ports[number])  # noqa: E731
    process = cluster.revived.enter_context(running(argv, log=log, ready=answers, stop=signal.SIGKILL))
    (cluster.directory / f"broker{number}.pid").write_text(str(process.pid))


@contextlib.contextmanager
def broker_killed(cluster: KafkaCluster, number: int) -> Iterator[None]:
    """Kill a broker of a cluster of one's own; it comes back at the end of the block."""
    os.kill(int((cluster.directory / f"broker{number}.pid").read_text()), signal.SIGKILL)
    while _answers(cluster.ports[number]):
        time.sleep(0.05)
    yield
    _start(cluster, number)


def _answers(port: int) -> bool:
    """Whether a broker answers ApiVersions: it listens for a while before it does."""
    request = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff"
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(request)
        return len(connection.recv(8)) == 8
    return False


# One broker for all test processes of a run


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker of the newest version."""
    yield from _shared(NEWEST, tmp_path_factory)


@pytest.fixture(scope="session")
def older_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker of the last version that speaks with old clients."""
    yield from _shared(OLDER, tmp_path_factory)


def _shared(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Whoever comes first starts it, and stops it when nobody uses it any more."""
    program("java")
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    path = root / f"kafka-{version}.users"
    with contextlib.ExitStack() as ours:
        with _locked(path) as file:
            state = json.loads(file.read() or '{"users": 0, "started": 0}')
            mine = not state["users"]
            if mine:
                state["started"] += 1
                cluster = ours.enter_context(
                    start_kafka(version, root / f"kafka-{version}-{state['started']}", 1, DOORS)
                )
                state["cluster"] = base64.b64encode(pickle.dumps(replace(cluster, revived=None))).decode()
            cluster = pickle.loads(base64.b64decode(state["cluster"]))
            _write(file, state, +1)
        yield cluster
        with _locked(path) as file:
            _write(file, json.loads(file.read()), -1)
        while mine and json.loads(path.read_text())["users"]:
            time.sleep(0.2)


def _write(file: IO[str], state: dict[str, Any], change: int) -> None:
    state["users"] += change
    file.seek(0)
    file.truncate()
    file.write(json.dumps(state))
    file.flush()
