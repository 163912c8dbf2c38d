"""Real clients of a real Redis server, seen from everywhere: by the proxy that they pass, on the interface, in
tcpdump's capture, and in a recording. In a network namespace, so that nothing else is seen."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.needs import needs, program
from services.process import HOST, neighbouring_ports
from services.redis_cluster import RedisCluster
from sniffing import environment

SNIFF = [sys.executable, "-m", "l4proxy", "sniff", "redis"]

# Runs in a namespace of its own: the server, the proxy, a passive sniffer, tcpdump, and clients.
SCRIPT = """
import asyncio, json, signal, subprocess, sys
from pathlib import Path

directory, sniff, tcpdump, server, client, load = Path(sys.argv[1]), json.loads(sys.argv[2]), *sys.argv[3:]
running = []

async def start(ready, *words, out=None):
    process = await asyncio.create_subprocess_exec(
        *words, stdout=open(directory / out, "wb") if out else asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    running.append(process)
    said = b""
    while ready not in said:
        line = await (process.stderr if out or words[0] == tcpdump else process.stdout).readline()
        assert line, said
        said += line
    return process

async def cli(*words):
    process = await asyncio.create_subprocess_exec(client, "-p", "16379", *words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0

async def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    await start(b"Ready to accept", server, "--port", "6379", "--save", "", "--dir", str(directory))
    proxy = await start(b"connect clients to", *sniff, "127.0.0.1:6379", "--listen", "127.0.0.1:16379", "--json",
                        "--record", directory / "recording.jsonl", out="proxy.json")
    passive = await start(b"port 16379", *sniff, "--interface", "lo", "--port", "16379", "--json", out="interface.json")
    dump = await start(b"listening on", tcpdump, "-i", "lo", "-U", "-B", "32768", "-w", directory / "a.pcap", "tcp",
                       "port", "16379")
    await cli("set", "user:1", "ann")
    await cli("-3", "get", "user:1")
    await cli("lpop", "user:1")
    await cli("eval", "return redis.call('mget', KEYS[1], KEYS[2])", "2", "user:1", "user:2")
    benchmark = await asyncio.create_subprocess_exec(load, "-p", "16379", "-n", "200", "-c", "5", "-P", "4", "-r", "50",
        "-t", "set,get,lrange_100,mset", "--csv", stdout=asyncio.subprocess.DEVNULL)
    assert await benchmark.wait() == 0
    for process in (passive, proxy, dump):
        if process is dump:
            await asyncio.sleep(1.5)  # the kernel hands tcpdump what it has captured after a second
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        assert process.returncode == 0, said

try:
    asyncio.run(main())
finally:
    for process in running:
        try:
            process.kill()
        except ProcessLookupError:
            pass
"""


def exchanges(output: bytes) -> dict[str, list[tuple[Any, ...]]]:
    """What each client asked and was answered, in order."""
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for line in output.splitlines():
        one = json.loads(line)
        told = (one["command"], one["error"], tuple(one["keys"]), one["request_bytes"], one["response_bytes"])
        assert one["server"] is not None
        seen.setdefault(one["client"], []).append(told)
    return seen


def sniff(*options: str) -> bytes:
    return subprocess.run([*SNIFF, *options], capture_output=True, env=environment(), check=True, timeout=120).stdout


@needs("netns", "ip", "tcpdump", "redis-server", "redis-cli", "redis-benchmark")
def test_every_source_sees_the_same(tmp_path: Path) -> None:
    programs = [program(name) for name in ("tcpdump", "redis-server", "redis-cli", "redis-benchmark")]
    done = subprocess.run(
        [program("unshare"), "--net", sys.executable, "-c", SCRIPT, str(tmp_path), json.dumps(SNIFF), *programs],
        capture_output=True, env=environment(), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    seen = exchanges((tmp_path / "proxy.json").read_bytes())
    everything = [one for commands in seen.values() for one in commands]
    assert ("LPOP", "WRONGTYPE", ("user:1",)) in [one[:3] for one in everything]
    assert ("EVAL", "", ("user:1", "user:2")) in [one[:3] for one in everything]
    assert sum(one[0] == "GET" for one in everything) == 201
    assert sum(one[0] == "MSET" and len(one[2]) == 10 for one in everything) == 200
    assert exchanges((tmp_path / "interface.json").read_bytes()) == seen
    capture = ("--pcap", str(tmp_path / "a.pcap"), "--port", "16379", "--json")
    assert exchanges(sniff(*capture)) == seen
    assert exchanges(sniff("--replay", str(tmp_path / "recording.jsonl"), "--json")) == seen
    chosen = exchanges(sniff(*capture, "--key", "user:*", "--errors"))
    assert [one[:2] for commands in chosen.values() for one in commands] == [("LPOP", "WRONGTYPE")]


REDIS_PY = """
import sys
from redis import RedisCluster
for protocol in (2, 3):
    with RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), protocol=protocol) as cluster:
        for number in range(50):
            cluster.set(f"py:{number}", number)
        assert sum(int(cluster.get(f"py:{number}")) for number in range(50)) == 1225
        print(*sorted(node.port for node in cluster.get_nodes()))
"""


@needs("redis-server", "redis-cli")
def test_the_nodes_of_a_cluster_are_followed(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    """Clients that know of clusters go to each of its nodes, and none past the proxy."""
    pytest.importorskip("redis", reason="redis (redis-py) is not installed")
    redis_cluster.settle()
    first = neighbouring_ports(10)
    argv = [*SNIFF, redis_cluster.addresses[0], "--listen", f"{HOST}:{first}-{first + 9}", "--json"]
    with open(tmp_path / "seen", "wb") as file:
        sniffer = subprocess.Popen(argv, stdout=file, stderr=subprocess.PIPE, env=environment())
    try:
        assert sniffer.stderr is not None
        found = re.search(rb"connect clients to 127.0.0.1:(\d+)", sniffer.stderr.readline())
        assert found is not None
        port = int(found[1])
        keys = [f"cli:{number}" for number in range(8)]
        script = "".join(f"set {key} x\nget {key}\n" for key in keys)
        cli = [program("redis-cli"), "-c", "-p", str(port)]
        done = subprocess.run(cli, input=script, capture_output=True, text=True, check=True)
        shown = done.stdout.splitlines()
        assert [line for line in shown if not line.startswith("->")] == ["OK", "x"] * len(keys)
        done = subprocess.run([sys.executable, "-c", REDIS_PY, str(port)], capture_output=True, text=True)
        ports = [int(word) for word in done.stdout.split()]
        assert len(set(ports)) >= 3, done.stderr  # replicas without data are not named
        assert all(port < one < port + 10 for one in ports)
        sniffer.send_signal(signal.SIGINT)
        sniffer.communicate(timeout=60)
    finally:
        sniffer.kill()
    seen = [json.loads(line) for line in (tmp_path / "seen").read_bytes().splitlines()]
    written = [one for one in seen if one["command"] == "SET" and not one["error"]]
    assert sorted({key for one in written for key in one["keys"]}) == sorted(
        [*keys, *(f"py:{number}" for number in range(50))]
    )
    assert len({one["server"] for one in written}) == 3
    assert "MOVED" in {one["error"] for one in seen}
