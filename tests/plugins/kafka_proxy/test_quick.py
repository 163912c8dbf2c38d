from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

from e2e.proxies import tcp
from services.kafka import KafkaCluster
from services.needs import needs, program
from services.process import HOST, neighbouring_ports


@needs("kcat")
def test_the_command(tmp_path: Path, kafka: KafkaCluster) -> None:
    """Clients see a topic without the prefix that it has at the brokers."""
    first = neighbouring_ports(5)
    topic = f"quick-{uuid.uuid4().hex[:8]}"
    at = f"{HOST}:{first}-{first + 4}"
    with tcp(tmp_path, kafka.ports[0], "--kafka", "prefix:prefix=team.", listen=at, command="kafka"):
        kcat("-b", f"{HOST}:{first}", "-P", "-t", topic, text="hello\n")
        assert kcat("-b", f"{HOST}:{first}", "-C", "-t", topic, "-o", "beginning", "-e", "-q") == "hello\n"
    assert f'topic "team.{topic}"' in kcat("-b", f"{HOST}:{kafka.ports[0]}", "-L", "-t", f"team.{topic}")


def kcat(*arguments: str, text: str = "") -> str:
    command = [program("kcat"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout
