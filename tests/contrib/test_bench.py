"""The bench runs and reports. How fast anything is, no test says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.needs import needs, program
from services.redis import redis_server
from source_tree import ROOT

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), needs("cc")]

BENCH = ROOT / "contrib" / "bench"
STRICT = ["-O1", "-Wall", "-Wextra", "-Werror"]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("load.c", tmp_path_factory.mktemp("load") / "load")


@pytest.fixture
def upstream_port(tmp_path: Path) -> Iterator[str]:
    command = [build("upstream.c", tmp_path / "upstream")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


def build(source: str, target: Path, *flags: str) -> Path:
    subprocess.run([program("cc"), *STRICT, "-o", target, BENCH / source, *flags], check=True)
    return target


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH), "--rounds", "2", "--seconds", "0.05", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_load_builds_with_tls(tmp_path: Path) -> None:
    if not Path("/usr/include/openssl/ssl.h").exists():
        pytest.skip("OpenSSL's headers are not installed (Debian package libssl-dev)")
    build("load.c", tmp_path / "load", "-DTLS", "-lssl", "-lcrypto")


@needs("redis-server")
@pytest.mark.parametrize("mode", ["asks", "woven", "turns", "paced"])
def test_the_load_of_redis(tmp_path: Path, mode: str) -> None:
    program = build("redis_load.c", tmp_path / "redis_load")
    with redis_server(tmp_path, "--protected-mode", "no") as server:
        command = [str(program), mode, str(server.port), "3", "100", "0.01", "0.02", "4", "1000"]
        done = subprocess.run(command, input="\n\n", capture_output=True, text=True, check=True)
    ready, *results, _ = done.stdout.split("\n")
    assert ready == "ready"
    assert [json.loads(result)["units"] > 0 for result in results] == [True, True]


@pytest.mark.parametrize("protocol", ["http", "http2"])
@pytest.mark.parametrize("mode", ["get", "different", "paced"])
def test_the_loads_of_http(tmp_path: Path, protocol: str, mode: str) -> None:
    program = build(f"{protocol}_load.c", tmp_path / "load")
    command = [build(f"{protocol}_upstream.c", tmp_path / "upstream")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upstream:
        assert upstream.stdout
        load = [str(program), mode, upstream.stdout.readline().strip(), "3", "100", "0.01", "0.02", "1000"]
        done = subprocess.run(load, input="\n", capture_output=True, text=True)
        upstream.kill()
    assert done.returncode == 0, done.stderr
    ready, result, _ = done.stdout.split("\n")
    figures = json.loads(result)
    assert ready == "ready"
    assert figures["units"] > 0
    assert mode != "paced" or figures["units"] == 20, "as many as are due, however late"


@pytest.mark.parametrize("mode", ["ping", "churn", "down", "up", "both"])
def test_load_and_upstream_understand_each_other(load: Path, upstream_port: str, mode: str) -> None:
    command = [str(load), mode, upstream_port, "3", "100", "0.01", "0.02"]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, check=True)
    ready, result, _ = done.stdout.split("\n")
    figures = json.loads(result)
    assert ready == "ready"
    assert figures["units"] > 0
    assert figures["seconds"] >= 0.02
    assert 0 <= figures["p50"] <= figures["p99"]


def test_what_is_counted_has_no_errors_in_it(load: Path) -> None:
    command = [str(load), "ping", "1", "1", "100", "0", "0.01"]
    done = subprocess.run(command, input="\n", capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("load: cannot connect")


PORTS = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from proxy_process import free_port

port = free_port()
with socket.socket() as anybody:
    try:
        anybody.bind(("127.0.0.1", port))
    except OSError as error:
        print(error.strerror)
with socket.create_server(("127.0.0.1", port)):
    print("a server has it")
"""


def test_the_port_of_a_proxy_is_given_to_nobody_else() -> None:
    done = subprocess.run([sys.executable, "-c", PORTS, str(BENCH)], capture_output=True, text=True)
    assert done.stdout == "Address already in use\na server has it\n", done.stderr


def test_a_proxy_against_itself(tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    done = bench("--case", "small", "--peers", "l4proxy,l4proxy", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(file.read_text())["cases"]
    assert case["against"] == "l4proxy"
    assert list(case["peers"]) == ["l4proxy", "l4proxy#2"]
    for peer in case["peers"].values():
        assert len(peer["samples"]) == 2
        assert all(sample["cpu"] > 0 and sample["rate"] > 0 and sample["rss"] > 1 for sample in peer["samples"])
        assert peer["summary"]["cpu"]["min"] <= peer["summary"]["cpu"]["median"] <= peer["summary"]["cpu"]["max"]
    assert case["peers"]["l4proxy#2"]["summary"]["cpu"]["ratio"]["median"] > 0
    assert "x l4proxy" in done.stdout


def test_half_load_is_the_same_for_all_peers(tmp_path: Path) -> None:
    file = tmp_path / "half.json"
    done = bench("--case", "http_half", "--peers", "l4proxy,l4proxy", "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(file.read_text())["cases"]
    for peer in case["peers"].values():
        assert all(sample["rate"] > 0 and 0 < sample["p50"] <= sample["p99"] for sample in peer["samples"])
    assert case["peers"]["l4proxy#2"]["summary"]["p99"]["ratio"]["median"] > 0


def test_filters_are_compared_with_none(tmp_path: Path) -> None:
    file = tmp_path / "filters.json"
    done = bench("--case", "filters1", "--peers", "l4proxy", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(file.read_text())["cases"]
    assert case["against"] == "none"
    assert "difference" in case["peers"]["filters1"]["summary"]["cpu"]


def test_a_peer_that_fails_is_left_out_with_its_last_words() -> None:
    done = bench("--case", "start", "--peers", "l4proxy", "--command", "broken=sh -c 'echo no such thing; exit 3'")
    assert done.returncode == 1
    assert "broken: left out: broken does not start: no such thing" in done.stdout
    assert "listening ms" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--case", "smal"], "there is no case 'smal'; there are small, "),
        (["--peers", "envy"], "there is no peer 'envy'; there are l4proxy, envoy, "),
        (["--rounds", "0"], "must be from 1 to 100"),
    ],
)
def test_wrong_use(arguments: list[str], error: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert error in done.stderr


@needs("redis-server")
def test_watching_redis_is_compared_with_not_watching(tmp_path: Path) -> None:
    file = tmp_path / "redis.json"
    done = bench("--case", "redis_watch", "--case", "redis", "--peers", "l4proxy", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    cases = {case["name"]: case for case in json.loads(file.read_text())["cases"]}
    assert list(cases["redis_watch"]["peers"]) == ["none", "redis"]
    assert cases["redis"]["peers"]["l4proxy"]["summary"]["cpu"]["median"] > 0


def test_reading_kafka() -> None:
    command = [sys.executable, str(BENCH / "kafka_reading.py"), "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["CPU", "Produce", "Fetch", "Metadata"], (
        done.stderr
    )


def test_reading_captures() -> None:
    command = [sys.executable, str(BENCH / "capture.py"), "--megabytes", "3", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert re.fullmatch(
        r"-?\d+ MB per second of CPU, \d+ MB of memory\n-?[\d.]+ microseconds per packet, of \d+ bytes on average\n",
        done.stdout,
    ), done.stderr
