"""Apache Kafka: jars from Maven Central, brokers in KRaft mode.

The jars are kept in ``~/.cache/l4proxy`` (or ``L4PROXY_CACHE``), outside the repository: 60 MB for each version, which
are fetched once. Where Java or Maven are missing, or Maven Central is not reached, tests are skipped and say so.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from services.needs import program

__all__ = ["NEWEST", "OLDER", "kafka_jars"]

OLDER = "3.9.1"
NEWEST = "4.1.1"

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


def kafka_jars(version: str) -> Path:
    """The directory with the jars of a broker and of Kafka's tools; skips the test where it cannot be had."""
    cache = Path(os.environ.get("L4PROXY_CACHE", Path.home() / ".cache" / "l4proxy"))
    jars = cache / f"kafka-{version}"
    jars.mkdir(parents=True, exist_ok=True)
    with (jars / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes of a run want them at the same time
        if not (jars / ".complete").exists():
            _fetch(version, jars)
    return jars


def _fetch(version: str, jars: Path) -> None:
    maven = program("mvn")
    wanted = [("org.apache.kafka", "kafka_2.13", version), ("org.apache.kafka", "kafka-tools", version)]
    dependencies = "".join(_DEPENDENCY.format(*names) for names in [*wanted, *_LOGGING[version[0]]])
    (jars / "pom.xml").write_text(_POM.format(dependencies=dependencies))
    argv = [maven, "-q", "-B", "--no-transfer-progress", "-f", str(jars / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*argv, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"Maven could not fetch Kafka {version}: {(done.stdout + done.stderr)[-500:]}")
    (jars / ".complete").touch()
