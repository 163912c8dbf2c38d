"""A Kafka broker as the upstream: jars from Maven Central, started when a case first needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from bench import Bench
from errors import BenchError

from proxy_process import free_port

__all__ = ["KafkaServer", "kafka_server"]

VERSION = "4.1.1"
PATIENCE = 60.0
CACHE = Path(os.environ.get("L4PROXY_CACHE", Path.home() / ".cache" / "l4proxy")) / f"kafka-{VERSION}"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>local</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging><dependencies>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
 </dependencies></project>
"""
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={directory}/data
offsets.topic.replication.factor=1
num.partitions=1
log.retention.ms=-1
log.retention.bytes=268435456
log.segment.bytes=67108864
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=0
"""


class KafkaServer:
    """A running broker. What is produced is thrown away again when there is much of it."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def ask(self, frame: bytes) -> bytes:
        """Send a request, return the response without its size."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(frame)
            reader = connection.makefile("rb")
            return reader.read(int.from_bytes(reader.read(4), "big"))


_SERVERS: dict[int, KafkaServer] = {}


def kafka_server(bench: Bench) -> KafkaServer:
    """The broker that all cases of this bench share. Raises BenchError where it cannot be had."""
    if id(bench) not in _SERVERS:
        _SERVERS[id(bench)] = bench.servers.enter_context(_running(bench.directory / "kafka"))
    return _SERVERS[id(bench)]


@contextmanager
def _running(directory: Path) -> Iterator[KafkaServer]:
    directory.mkdir()
    port, controller = free_port(), free_port()
    properties = directory / "server.properties"
    properties.write_text(_PROPERTIES.format(port=port, controller=controller, directory=directory))
    java = [_program("java"), "-Xmx1g", "-XX:+UseSerialGC", f"-Dkafka.logs.dir={directory}", "-cp", f"{_jars()}/*"]
    log = (directory / "log").open("wb")
    storage = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", str(properties)]
    subprocess.run([*java, *storage], check=True, stdout=log, stderr=log)
    process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
    server = KafkaServer(process.pid, port)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the Kafka broker does not start: {(directory / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()
        log.close()


def _answers(server: KafkaServer) -> bool:
    with suppress(OSError):
        return bool(server.ask(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff"))
    return False


@cache
def _jars() -> Path:
    if not any(CACHE.glob("kafka_*.jar")):
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "pom.xml").write_text(_POM)
        maven = [_program("mvn"), "-q", "-B", "-f", str(CACHE / "pom.xml"), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*maven, "-DincludeScope=runtime", f"-DoutputDirectory={CACHE}"], capture_output=True, text=True
        )
        if done.returncode:
            raise BenchError(f"Maven cannot fetch Kafka {VERSION}: {(done.stdout + done.stderr)[-300:]}")
    return CACHE


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"{name} is not installed, which a Kafka broker needs")
    return path
