"""Kafka, seen: a cluster, producers, consumers of which one lags behind, and one command that shows it all.

python contrib/demo
python contrib/demo --keep       # leaves you at the live table, until q
python contrib/demo --mock       # without Java

What is shown is checked while it is shown: the last scene asks the brokers whether the numbers are right.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from clients import CONSUMERS, PRODUCERS
from cluster import Cluster, running_cluster
from confluent_kafka import Consumer, TopicPartition
from picture import draw
from screen import OnScreen, Screen

from l4proxy.demo.stage import Stage
from services.process import free_port

SIZE = (124, 13)
PICTURED = "Three tables of the live view: topics with their rates, consumer groups, and the lag of one of them."
SHOWN = 3
"""Lines of each of these."""
METRICS = (
    "l4proxy_kafka_produced_records_total",
    "l4proxy_kafka_consumer_group_lag",
    "l4proxy_kafka_consumer_group_members",
    "l4proxy_kafka_rebalances_total",
    "l4proxy_kafka_errors_total",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the live table to you, until q")
    parser.add_argument("--mock", action="store_true", help="use librdkafka's mock cluster")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="draw what was shown as an SVG")
    parser.add_argument("--look", metavar="SECONDS", type=float, default=2.0, help="how long to look at each table")
    args = parser.parse_args()
    stage = Stage()
    stage.title("l4proxy sniff kafka: a Kafka cluster, its clients, and one command that shows what passes")
    with tempfile.TemporaryDirectory(prefix="l4proxy-") as directory:
        stage.scene("A Kafka cluster")
        stage.say("It is started now; Apache Kafka takes some ten seconds for that.")
        begin = time.monotonic()
        with running_cluster(Path(directory) / "kafka", mock=args.mock) as cluster:
            stage.fact("it is", cluster.what)
            stage.fact("its addresses", cluster.bootstrap)
            stage.fact("started in", f"{time.monotonic() - begin:.1f} s")
            if args.keep and sys.stdout.isatty():
                _keep(stage, cluster)
            else:
                _watch(stage, cluster, args.look, args.picture)
    return 0


def _command(stage: Stage, cluster: Cluster) -> tuple[list[str], int, int]:
    """The command, the port that clients connect to, and that of the admin interface."""
    port, admin = 19092 if not _listens(19092) else free_port(), free_port()
    command = [sys.executable, "-m", "l4proxy", "sniff", "kafka", cluster.bootstrap.split(",")[0]]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    stage.scene("One command")
    stage.quote(" ".join(["l4proxy", *command[3:]]))
    stage.say("It is a proxy, and leads clients to all brokers, through itself. Nothing in them is changed.")
    return command, port, admin


def _keep(stage: Stage, cluster: Cluster) -> None:
    """The live table on this terminal, with all clients at work."""
    command, port, admin = _command(stage, cluster)
    with subprocess.Popen(command) as sniff:
        while not _listens(admin):
            time.sleep(0.1)
        with _clients(f"127.0.0.1:{port}"):
            sniff.wait()


def _watch(stage: Stage, cluster: Cluster, look: float, picture: Path | None) -> None:
    command, port, admin = _command(stage, cluster)
    shown = OnScreen(command, os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else SIZE)
    try:
        shown.see("connect clients to")
        stage.fact("connect clients to", f"127.0.0.1:{port}")
        stage.scene("Clients")
        for name, (topic, rate, _, options) in PRODUCERS.items():
            stage.fact(name, f"produces {rate} records a second to {topic}, {options['compression.type']}")
        for name, (group, topics, seconds) in CONSUMERS.items():
            slow = f", and needs {seconds * 1000:.0f} ms for each record" if seconds else ""
            stage.fact(name, f"reads {' and '.join(topics)} in the group {group}{slow}")
        with _clients(f"127.0.0.1:{port}") as producers:
            shown.see("orders")
            stage.scene("The live table")
            screens = _look_around(stage, shown, look)
            if picture:
                draw(picture, "l4proxy sniff kafka", PICTURED, screens[:3])
            for producer in producers:
                _end(producer)
            _metrics(stage, cluster, admin)
    finally:
        shown.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _clients(bootstrap: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """All of them at work; gives the producers."""
    script = str(Path(__file__).with_name("clients.py"))
    running = {
        name: subprocess.Popen([sys.executable, script, name, bootstrap], stdin=subprocess.PIPE)
        for name in (*PRODUCERS, *CONSUMERS)
    }
    try:
        yield [running[name] for name in PRODUCERS]
    finally:
        for process in running.values():
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _look_around(stage: Stage, shown: OnScreen, look: float) -> list[Screen]:
    """Some tables, as somebody would look at them."""
    live = sys.stdout.isatty()
    if live:
        sys.stdout.write("\x1b[?1049h\x1b[2J")
        shown.mirror = True
        shown.keys("\x0c")  # draws everything anew
    screens = []
    for keys, pattern, what in (
        ("", "clicks", "Topics, and what is written to and read from them:"),
        ("3", "audit", "Groups, their members and their lag:"),
        ("/audit\r\r", "audit +clicks", "The lag of audit, by partition (Enter opens a row):"),
        ("6", "audit", "Clients, by client id:"),
        ("8", "error", "Errors, by API:"),
    ):
        shown.keys(keys)
        shown.see(pattern)
        time.sleep(look)
        screens.append(_copy(shown.screen))
        if not live:
            stage.say(what)
            stage.quote("\n".join(shown.screen.text))
    if live:
        shown.mirror = False
        sys.stdout.write("\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        stage.say("That was it. With --keep (make demo ARGS=--keep) it stays, and the keys are yours.")
    return screens


def _copy(screen: Screen) -> Screen:
    copy = Screen(screen.columns, len(screen.rows))
    copy.rows = [list(row) for row in screen.rows]
    return copy


def _metrics(stage: Stage, cluster: Cluster, admin: int) -> None:
    stage.scene("For Prometheus")
    url = f"http://127.0.0.1:{admin}/stats/prometheus"
    time.sleep(1)
    lines = _scrape(url)
    stage.say("Of each metric the largest values:")
    stage.quote("\n".join([f"curl -s {url}", *(line for metric in METRICS for line in _largest(lines, metric))]))
    stage.scene("Are the numbers right?")
    stage.say(
        "The producers have stopped. The brokers are asked, with no proxy in between, where their partitions end."
    )
    asker = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "asker", "log_level": 0})
    for topic, found in asker.list_topics(timeout=10).topics.items():
        if topic.startswith("_") or topic not in {wanted for wanted, *_ in PRODUCERS.values()}:
            continue
        ends = sum(asker.get_watermark_offsets(TopicPartition(topic, at), 10)[1] for at in found.partitions)
        counted = sum(int(line.split()[-1]) for line in lines if line.startswith(f'{METRICS[0]}{{topic="{topic}"'))
        stage.fact(topic, f"{counted:,} records counted, {ends:,} at the brokers")
        if ends != counted:
            raise SystemExit("the demo fails: they are not the same")
    asker.close()
    print()
    stage.say("In front of a broker of yours it is one command, too: l4proxy sniff kafka BROKER:9092")


def _largest(lines: list[str], metric: str) -> list[str]:
    """Lines of a metric as Prometheus gets them, and dots where there are more."""
    found = sorted((line for line in lines if line.startswith(f"{metric}{{")), key=lambda line: -int(line.split()[-1]))
    return [*found[:SHOWN], *(["..."] if len(found) > SHOWN else [])]


def _scrape(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=10) as response:
        text: str = response.read().decode()
    return text.splitlines()


if __name__ == "__main__":
    sys.exit(main())
