"""Kafka, seen from everywhere: by the proxy that leads to all brokers, on the interface, in tcpdump's capture, and in a
recording. In a network namespace, so that nothing else is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.kafka import NEWEST, kafka_jars
from services.needs import needs, program
from sniffing import environment
from source_tree import ROOT

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

PORTS = ",".join(map(str, range(29092, 29100)))
SNIFF = [sys.executable, "-m", "l4proxy", "sniff", "kafka"]

# Runs in a namespace of its own: a broker, the proxy, a passive sniffer, tcpdump, and clients.
SCRIPT = f"""
import signal, subprocess, sys, time
from pathlib import Path

directory, tcpdump, sniff, ports = Path(sys.argv[1]), sys.argv[2], sys.argv[4:], {PORTS!r}
sys.path.insert(0, sys.argv[3])
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

from confluent_kafka.admin import AdminClient, NewTopic
from e2e.kafka_jobs import confluent_classic_group, confluent_codecs, confluent_transactions, kafka_python
from services.kafka import start_kafka

running = []

def start(ready, *words, out=None):
    stdout = open(directory / out, "wb") if out else None
    process = subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE)
    running.append(process)
    said = b""
    while ready not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process

try:
    with start_kafka({NEWEST!r}, directory / "kafka") as cluster:
        proxy = start(b"connect clients to", *sniff, cluster.bootstrap, "--listen", "127.0.0.1:29092", "--json",
                      "--record", str(directory / "recording.jsonl"), out="proxy.json")
        passive = start(b"port", *sniff, "--interface", "lo", "--port", ports, "--json", out="interface.json")
        dump = start(b"listening on", tcpdump, "-i", "lo", "-U", "-B", "32768", "-w", str(directory / "a.pcap"),
                     "tcp", "portrange", "29092-29100")
        admin = AdminClient({{"bootstrap.servers": "127.0.0.1:29092"}})
        for job in (confluent_codecs, confluent_transactions, confluent_classic_group, kafka_python):
            admin.create_topics([NewTopic(job.__name__, 3, 1)])[job.__name__].result(60)
            job(cluster, "127.0.0.1:29092", job.__name__)
        del admin
        for process in (proxy, passive, dump):  # the proxy first, so that all see its connections end
            if process is dump:
                time.sleep(1.5)  # the kernel hands tcpdump what it has captured after a second
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            sys.stderr.write(said.decode())
            assert process.wait() == 0, said
finally:
    for process in running:
        process.kill()
"""


def exchanges(output: bytes) -> dict[str, list[tuple[Any, ...]]]:
    """What each client's connection asked and was answered, in order."""
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for line in output.splitlines():
        one = json.loads(line)
        if "message" in one:  # a notice, which may belong to any of several connections
            continue
        names = ("api", "version", "client_id", "topics", "partitions", "records", "group", "error", "request_bytes",
                 "response_bytes")  # fmt: skip
        seen.setdefault(one["client"], []).append(tuple(str(one[name]) for name in names))
    return seen


def sniff(*words: str) -> bytes:
    done = subprocess.run([*SNIFF, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("netns", "ip", "tcpdump", "java")
def test_every_source_sees_the_same(tmp_path: Path) -> None:
    kafka_jars(NEWEST)
    done = subprocess.run(
        [program("unshare"), "--net", sys.executable, "-c", SCRIPT, str(tmp_path), program("tcpdump"),
         str(ROOT / "tests"), *SNIFF],
        capture_output=True, env={**environment(), "PYTHONUNBUFFERED": "1"}, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    said = done.stderr.decode()
    assert "dropped " not in said.replace("dropped by kernel", "")
    assert "undecodable" not in said
    seen = exchanges((tmp_path / "proxy.json").read_bytes())
    calls = [call for calls in seen.values() for call in calls]
    produced = sum(int(call[5]) for call in calls if call[0] == "Produce" and not call[7])
    assert produced == 2500 + 615 + 1000 + 1000
    assert len(seen) > 20
    assert {"Produce", "Fetch", "JoinGroup", "OffsetCommit", "EndTxn", "Metadata"} <= {call[0] for call in calls}
    assert exchanges((tmp_path / "interface.json").read_bytes()) == seen
    assert exchanges(sniff("--pcap", str(tmp_path / "a.pcap"), "--port", PORTS, "--json")) == seen
    assert exchanges(sniff("--replay", str(tmp_path / "recording.jsonl"), "--json")) == seen
    assert os.path.getsize(tmp_path / "a.pcap") > 100_000
    codecs = ("--pcap", str(tmp_path / "a.pcap"), "--port", PORTS, "--topic", "confluent_codecs")
    shown = [json.loads(line) for line in sniff(*codecs, "--json", "--show", "values").splitlines()]
    taken = [one for one in shown if one.get("api") == "Produce" and not one["error"]]
    assert sum(one["records"] for one in taken) == sum(len(one["contents"]) for one in taken) == 2500
    assert not [one for one in shown if "not_shown" in one]
