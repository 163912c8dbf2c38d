"""The operators' guide on transparent mode: its rules for the packet filter, in network namespaces of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from docs.pages import OPERATORS, blocks
from services.needs import needs
from source_tree import ROOT

RULES = dict(re.findall(r"<!-- (.*?) -->\n```sh\n(.*?)```", (ROOT / OPERATORS).read_text(), re.DOTALL))
(CONFIG,) = (block.text for block in blocks(OPERATORS, "toml") if block.heading == "Transparent mode")

# A server at 10.2.0.2 and a client at 10.1.0.2, each in a namespace of its own; we are the machine between them.
NETWORK = """
import asyncio, contextlib, os, socket, subprocess, sys, tomllib
from l4proxy import serve

RULES, CONFIG, MODE, CLIENT = sys.argv[1:]

SERVER = '''
import asyncio
async def hello(reader, writer):
    writer.write(f"from {writer.get_extra_info('sockname')[0]} to {await reader.readline()}".encode())
    writer.close()
async def main():
    async with await asyncio.start_server(hello, "0.0.0.0", 7000) as server:
        print("ready", flush=True)
        await server.serve_forever()
asyncio.run(main())
'''

def run(command, **options):
    return subprocess.run(command, shell=True, check=True, **options)

def cable(name, network):
    \"\"\"A namespace, connected to us; returns the process that holds it.\"\"\"
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    holder.stdout.readline()
    inside = f"nsenter --target {holder.pid} --net"
    run(f"ip link add {name} type veth peer name eth0 netns {holder.pid}")
    run(f"ip address add 10.{network}.0.1/24 dev {name} && ip link set {name} up")
    run(f"{inside} ip address add 10.{network}.0.2/24 dev eth0")
    run(f"{inside} ip link set eth0 up && {inside} ip link set lo up")
    run(f"{inside} ip route add default via 10.{network}.0.1")
    return holder, inside

async def main():
    run("ip link set lo up")
    (server, in_server), (client, in_client) = cable("server", 2), cable("client", 1)
    listening = subprocess.Popen([*in_server.split(), sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    listening.stdout.readline()
    run(RULES)
    config = tomllib.loads(CONFIG)
    config["listeners"][0]["original_destination"] = MODE
    async with serve(config) as running:
        where = in_client if CLIENT == "client" else "setpriv --reuid nobody --clear-groups"
        said = await asyncio.create_subprocess_shell(
            f"echo hello | {where} socat -t 20 - TCP:10.2.0.2:7000", stdout=subprocess.PIPE
        )
        output, _ = await said.communicate()
        print(output.decode(), running.listeners[0].stats.connections_total)
    for process in (listening, server, client):
        process.kill()

asyncio.run(main())
"""


@needs("netns", "ip", "iptables", "nft", "socat")
@pytest.mark.parametrize(
    ("rules", "mode", "client"),
    [
        ("redirect by nft", "redirect", "here"),
        ("redirect by iptables", "redirect", "here"),
        ("tproxy by iptables", "tproxy", "client"),
    ],
)
def test_connections_are_brought_to_the_proxy_and_go_where_they_wanted_to(rules: str, mode: str, client: str) -> None:
    """The proxy of this test runs as root, and the client as nobody."""
    text = RULES[rules].replace("l4proxy -m", "root -m").replace('"l4proxy"', '"root"')
    command = ["unshare", "--net", sys.executable, "-c", NETWORK, text, CONFIG, mode, client]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "from 10.2.0.2 to b'hello\\n' 1", done.stderr


def test_every_rule_is_tried() -> None:
    assert set(RULES) == {"redirect by nft", "redirect by iptables", "tproxy by iptables"}
