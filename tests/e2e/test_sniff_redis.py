"""Real clients of a real Redis server, seen from everywhere: by the proxy that they pass, on the interface, in
tcpdump's capture, and in a recording. In a network namespace, so that nothing else is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from services.needs import needs, program
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
