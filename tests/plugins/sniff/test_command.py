"""The command as a user has it: a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from captures import Wire, pcap
from proxy_process import wait_until
from services.process import free_port
from sniffing import command, environment, run, write_plugin

LINES = [
    "22:13:20.004000 192.0.2.1:40000 GET 2.000ms asked=a answer=1",
    "22:13:20.008000 192.0.2.1:40000 PUT 2.000ms no asked=b answer=no",
]


@pytest.fixture
def plugin_dir(tmp_path: Path) -> Path:
    return write_plugin(tmp_path / "plugins")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(Wire().talk([(0, b"GET a\n"), (1, b"OK 1\n"), (0, b"PUT b\n"), (1, b"ERR no\n")])))
    return path


def test_which_protocols_there_are(plugin_dir: Path) -> None:
    done = run(plugin_dir)
    assert done.returncode == 0
    assert re.search(rb"^line +7777 +Read conversations in lines\.$", done.stdout, re.MULTILINE)


def test_help_of_a_protocol(plugin_dir: Path) -> None:
    done = run(plugin_dir, "line", "--help")
    text = " ".join(done.stdout.decode().split())
    assert text.startswith("usage: l4proxy sniff line")
    parts = ["Read conversations in lines.", "--word WORD only this word", "--text TEXT only what was asked"]
    parts += ["--longest N Bytes of a line; a longer one is none. (default 1000)", "(default: 7777)"]
    for part in parts:
        assert part in text


def test_lines_where_there_is_no_terminal(plugin_dir: Path, capture: Path) -> None:
    done = run(plugin_dir, "line", "--pcap", str(capture))
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == LINES
    said = done.stderr.decode()
    assert f"line: {capture}, port 7777" in said
    assert re.search(r"^connections +1$", said, re.MULTILINE)
    assert re.search(r"^GET +1 +\d", said, re.MULTILINE)


def test_json_of_what_was_chosen(plugin_dir: Path, capture: Path) -> None:
    done = run(plugin_dir, "line", "--pcap", "-", "--json", "--errors", stdin=capture.read_bytes())
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["word"], line["error"], line["client"]) == ("PUT", "no", "192.0.2.1:40000")


def test_nothing_but_the_summary(plugin_dir: Path, capture: Path) -> None:
    done = run(plugin_dir, "line", "--pcap", str(capture), "--quiet")
    assert done.stdout == b""
    assert b"connections     1\n" in done.stderr


def test_recording_and_replaying(plugin_dir: Path, capture: Path, tmp_path: Path) -> None:
    recording = tmp_path / "a.jsonl"
    done = run(plugin_dir, "line", "--pcap", str(capture), "--record", str(recording))
    assert f"recorded        9 lines in {recording}" in done.stderr.decode()
    assert run(plugin_dir, "line", "--replay", str(recording)).stdout.decode().splitlines() == LINES
    assert run(plugin_dir, "line", "--replay", "-", stdin=recording.read_bytes()).stdout.decode().splitlines() == LINES


@pytest.mark.parametrize(("words", "problem"), [
    (["lin"], "unknown inspector 'lin' (did you mean 'line'?); l4proxy sniff lists what there is"),
    (["line"], "say where to look: UPSTREAM, --interface, --pcap or --replay"),
    (["line", "a:1", "--pcap", "b"], "--pcap or --replay, and not UPSTREAM and --pcap at once"),
    (["line", "--pcap", "/nowhere"], "/nowhere: No such file or directory"),
    (["line", "--pcap", "/dev/null", "--port", "x"], "--port: 'x' is not a port (1 to 65535, or all)"),
    (["line", "--pcap", "/dev/null", "--longest", "x"], "--longest: expected a whole number"),
    (["line", "--pcap", "/dev/null", "--prometheus", "x"], "--prometheus: 'x' has no port"),
    (["line", "--pcap", "/dev/null", "--prometheus", "192.0.2.1:1"], "--prometheus: cannot listen on 192.0.2.1:1"),
    (["line", "--pcap", "/dev/null", "--record", "/nowhere/a"], "--record /nowhere/a: No such file or directory"),
    (["line", "--pcpa", "a"], "there is no option --pcpa (did you mean '--pcap'?)"),
    (["line", "--json", "--lines"], "argument --lines: not allowed with argument --json"),
])  # fmt: skip
def test_what_is_wrong(words: list[str], problem: str, plugin_dir: Path) -> None:
    done = run(plugin_dir, *words)
    assert done.returncode == 2
    assert problem in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_capture_that_is_damaged_is_read_as_far_as_it_goes(plugin_dir: Path, capture: Path) -> None:
    capture.write_bytes(capture.read_bytes() + b"\xff" * 16)
    done = run(plugin_dir, "line", "--pcap", str(capture))
    assert done.returncode == 2
    assert done.stdout.decode().splitlines() == LINES
    assert b"connections     1\n" in done.stderr
    assert b"this is no pcap file, or a damaged one" in done.stderr


def test_a_reader_who_has_seen_enough(plugin_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(Wire(mss=60_000).talk([(0, b"QUIET a\n" * 50_000)])))
    process = subprocess.Popen(
        command(plugin_dir, "line", "--pcap", str(path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert b"Traceback" not in said
    assert b"not understood" not in said


# Live


class Running:
    """``l4proxy sniff`` in front of a server that answers lines."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def say(self, line: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.sendall(line)
            return client.makefile("rb").readline()

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Status, output and what was said beside it."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()


@pytest.fixture
def line_server() -> Iterator[int]:
    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as lines:
                for _ in lines:
                    connection.sendall(b"OK 1\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def start(plugin_dir: Path, server: int, *words: str) -> Running:
    port = free_port()
    process = subprocess.Popen(
        command(plugin_dir, "line", f"127.0.0.1:{server}", "--listen", f"127.0.0.1:{port}", *words),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    assert process.stderr is not None
    assert b"connect clients to" in process.stderr.readline()
    return Running(process, port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_proxy_until_somebody_stops_it(number: int, plugin_dir: Path, line_server: int) -> None:
    running = start(plugin_dir, line_server)
    assert running.say(b"GET a\n") == b"OK 1\n"
    assert running.process.stdout is not None
    first = running.process.stdout.readline().decode()
    status, _, said = running.stop(number)
    assert status == 0
    assert re.fullmatch(r"\S+ 127\.0\.0\.1:\d+ GET \S+ms asked=a answer=1\n", first)
    assert re.search(r"^accepted +1$", said, re.MULTILINE)
    assert re.search(r"^GET +1 +\d", said, re.MULTILINE)


@pytest.mark.parametrize("view", ["--json", "--lines"])
def test_traffic_goes_on_where_nobody_reads_what_is_told(view: str, plugin_dir: Path, line_server: int) -> None:
    running = start(plugin_dir, line_server, view)
    requests = 3000
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        replies = client.makefile("rb")
        for _ in range(requests // 100):
            client.sendall(b"GET a\n" * 100)
            assert [replies.readline() for _ in range(100)] == [b"OK 1\n"] * 100
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=30) == 0
    _, said = running.process.communicate()
    assert re.search(rf"^GET +{requests:,} ", said.decode(), re.MULTILINE)
    assert re.search(
        r"^not shown +[\d,]+ lines: standard output was not read fast enough$", said.decode(), re.MULTILINE
    )


def test_metrics(plugin_dir: Path, line_server: int) -> None:
    port = free_port()
    running = start(plugin_dir, line_server, "--quiet", "--prometheus", f"127.0.0.1:{port}")
    running.say(b"GET a\n")

    def metrics() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    wait_until(lambda: 'l4proxy_line_requests_total{kind="GET"} 1\n' in metrics(), "the request is counted")
    assert 'l4proxy_inspection_connections_total{protocol="line"} 1\n' in metrics()
    assert running.stop()[0] == 0


def test_it_stops_by_itself(plugin_dir: Path, line_server: int) -> None:
    running = start(plugin_dir, line_server, "--duration", "100ms")
    running.process.communicate(timeout=30)
    assert running.process.returncode == 0


def test_a_terminal_that_can_do_nothing_gets_lines(plugin_dir: Path, capture: Path) -> None:
    master, slave = pty.openpty()
    env = {**environment(), "TERM": "dumb"}
    done = subprocess.run(command(plugin_dir, "line", "--pcap", str(capture)), stdin=slave, stdout=slave,
                          stderr=subprocess.DEVNULL, env=env, timeout=60)  # fmt: skip
    assert done.returncode == 0
    os.close(slave)
    assert os.read(master, 4096).decode().splitlines() == LINES
    os.close(master)
