"""The same traffic, seen from everywhere: by the proxy that it passes, on the interface, in tcpdump's capture, and in a
recording. In a network namespace, so that nothing else is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.needs import needs, program
from sniffing import environment, run, write_plugin

# Runs in a namespace of its own: a server of lines, the proxy, a passive sniffer, tcpdump, and clients.
SCRIPT = """
import asyncio, json, random, signal, subprocess, sys
from pathlib import Path

directory, sniff, tcpdump, interface = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
CLIENTS, REQUESTS = 20, 30

async def serve(reader, writer):
    while line := await reader.readline():
        if not line.startswith(b"QUIET"):
            text = line.split(b" ", 1)[1]
            writer.write(b"ERR no\\n" if b"7" in text else b"OK " + text)
    writer.close()

async def talk(number, host):
    chance = random.Random(number)
    reader, writer = await asyncio.open_connection(host, 17777)
    for at in range(REQUESTS):
        size = chance.choice([1, 1, 50, 900])
        for _ in range(chance.choice([1, 1, 5])):
            writer.write(b"GET %d %s\\n" % (at, b"x" * size))
            writer.write(b"QUIET\\n" * chance.randint(0, 1))
        await writer.drain()
        await reader.readline()
    writer.write_eof()
    await reader.read()
    writer.close()

running = []

async def start(ready, *words, out=None):
    process = await asyncio.create_subprocess_exec(
        *words, stdout=open(directory / out, "wb") if out else None, stderr=asyncio.subprocess.PIPE)
    running.append(process)
    said = b""
    while ready not in said:
        line = await process.stderr.readline()
        assert line, said
        said += line
    return process

async def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = await asyncio.start_server(serve, "127.0.0.1", 7777)
    proxy = await start(b"connect clients to", *sniff, "127.0.0.1:7777", "--listen", "127.0.0.1:17777", "--json",
                        "--record", directory / "recording.jsonl", out="proxy.json")
    passive = await start(b"port 17777", *sniff, "--interface", interface, "--port", "17777", "--json",
                          out="interface.json")
    dump = await start(b"listening on", tcpdump, "-i", interface, "-U", "-B", "32768", "-w", directory / "a.pcap",
                       "tcp", "port", "17777")
    await asyncio.gather(*(talk(number, "127.0.0.1") for number in range(CLIENTS)))
    for process in (passive, proxy, dump):
        if process is dump:
            await asyncio.sleep(1.5)  # the kernel hands tcpdump what it has captured after a second
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        sys.stderr.write(said.decode())
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


def exchanges(output: bytes) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """What each client asked and was answered, in order; what has no answer apart, for it is seen earlier or later."""
    seen: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for line in output.splitlines():
        one = json.loads(line)
        told = (one["asked"], one["answer"], one["error"], one["request_bytes"], one["response_bytes"])
        seen.setdefault((one["client"], one["word"]), []).append(told)
    return seen


@needs("netns", "ip", "tcpdump")
@pytest.mark.parametrize("interface", ["lo", "any"])
def test_every_source_sees_the_same(interface: str, tmp_path: Path) -> None:
    plugins = write_plugin(tmp_path / "plugins")
    sniff = [sys.executable, "-m", "l4proxy", "sniff", "line", "--plugin-dir", str(plugins)]
    arguments = [str(tmp_path), json.dumps(sniff), program("tcpdump"), interface]
    done = subprocess.run(
        [program("unshare"), "--net", sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True, env=environment(), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"dropped " not in done.stderr.replace(b"dropped by kernel", b"")
    seen = exchanges((tmp_path / "proxy.json").read_bytes())
    assert sum(map(len, seen.values())) > 20 * 30
    assert len({client for client, _ in seen}) == 20
    assert exchanges((tmp_path / "interface.json").read_bytes()) == seen
    captured = run(plugins, "line", "--pcap", str(tmp_path / "a.pcap"), "--port", "17777", "--json")
    assert exchanges(captured.stdout) == seen
    replayed = run(plugins, "line", "--replay", str(tmp_path / "recording.jsonl"), "--json")
    assert exchanges(replayed.stdout) == seen
    assert os.path.getsize(tmp_path / "a.pcap") > 10_000
