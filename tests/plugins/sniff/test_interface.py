"""Capturing itself is tried by ``tests/e2e/test_sniff.py``, in a namespace."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from l4proxy.errors import L4ProxyError
from l4proxy.plugins.sniff import interface
from l4proxy.plugins.sniff.interface import InterfaceSource
from services.needs import needs, program
from sniffing import command, environment, sight_of, write_plugin


def problem(name: str = "lo", ports: tuple[int, ...] = (7777, 7778)) -> str:
    """Why an interface cannot be opened."""

    async def main() -> None:
        source = InterfaceSource(name, ports, 1 << 22)
        try:
            await source.open(sight_of(begin=False)[0])
        finally:
            await source.close()

    with pytest.raises(L4ProxyError) as raised:
        asyncio.run(main())
    return str(raised.value)


def failing(error: Exception) -> type:
    class Failing:
        def __init__(self, *_: object) -> None:
            raise error

    return Failing


def test_who_may_not_capture_is_told_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "PacketSocket", failing(PermissionError(1, "Operation not permitted")))
    said = problem()
    assert said.startswith("capturing needs the capability CAP_NET_RAW")
    assert "sudo tcpdump -i lo -U -w - 'tcp and (port 7777 or port 7778)' | l4proxy sniff line --pcap -" in said
    assert "sudo tcpdump -i any -U -w - tcp | l4proxy sniff" in problem("any", ())


def test_other_systems_are_told_what_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_PACKET")
    assert problem() == (
        "--interface needs Linux; elsewhere let tcpdump capture: tcpdump -i IF -w - | l4proxy sniff PROTOCOL --pcap -"
    )


def test_what_else_can_go_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "PacketSocket", failing(OSError(12, "Cannot allocate memory")))
    assert problem() == "--interface lo: Cannot allocate memory"
    monkeypatch.setattr(interface, "PacketSocket", failing(ValueError("101 ports are too many (at most 100)")))
    assert problem() == "--port: 101 ports are too many (at most 100)"


NAMESPACE = """
import subprocess, sys
sniff = [*sys.argv[1:], "--interface"]
wrong = subprocess.run([*sniff, "v2"], capture_output=True, text=True)
assert wrong.returncode == 2 and "there is no interface 'v2'" in wrong.stderr, wrong.stderr
subprocess.run("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up", shell=True, check=True)
process = subprocess.Popen([*sniff, "v1"], stderr=subprocess.PIPE, text=True)
process.stderr.readline()
subprocess.run(["ip", "link", "delete", "v0"], check=True)
print(process.stderr.read())
assert process.wait() == 2
"""


@needs("netns", "ip")
def test_interfaces_that_are_not_there_any_more(tmp_path: Path) -> None:
    words = ["-m", "l4proxy", "sniff", "line", "--plugin-dir", str(write_plugin(tmp_path / "plugins"))]
    done = subprocess.run(
        [program("unshare"), "--net", sys.executable, "-c", NAMESPACE, sys.executable, *words],
        capture_output=True, text=True, env=environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "error: v1: Network is down" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give privileges up")
@needs("setpriv")
def test_who_may_not_capture_is_told_by_the_command(tmp_path: Path) -> None:
    words = command(write_plugin(tmp_path / "plugins"), "line", "--interface", "lo")
    without = [program("setpriv"), "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]
    done = subprocess.run([*without, *words], capture_output=True, text=True, env=environment(), timeout=60)
    first, *more = done.stderr.splitlines()
    assert done.returncode == 2
    assert first.startswith("error: capturing needs the capability CAP_NET_RAW")
    assert len(more) == 3
    assert all(line.startswith("  ") for line in more)
