"""The deploy files: systemd checks its units and hands over its sockets, manifests hold right configurations."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import l4proxy
from l4proxy.cli.main import main
from services.certs import Certs
from services.needs import needs, program
from services.process import accepts, free_port, running
from source_tree import ROOT

DEPLOY = ROOT / "contrib" / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))


def embedded(manifest: Path) -> str:
    """The configuration inside a manifest."""
    block = re.search(r"^  l4proxy\.toml: \|\n((?:    .*\n|\n)+)", manifest.read_text(), re.MULTILINE)
    assert block is not None
    return textwrap.dedent(block[1])


def test_every_file_is_listed() -> None:
    listed = set(re.findall(r"\]\(([\w.-]+)\)", (DEPLOY / "README.md").read_text()))
    assert listed == {path.name for path in DEPLOY.iterdir()} - {"README.md"}


@pytest.mark.parametrize("text", [(DEPLOY / "l4proxy.toml").read_text(), *map(embedded, MANIFESTS)])
def test_a_configuration_is_right(text: str, certs: Certs, tmp_path: Path) -> None:
    text = text.replace("/etc/l4proxy/tls/tls.crt", str(certs.server.cert))
    text = text.replace("/etc/l4proxy/tls/tls.key", str(certs.server.key))
    text = text.replace("/var/log/l4proxy", str(tmp_path))
    file = tmp_path / "l4proxy.toml"
    file.write_text(text)
    assert main(["check", str(file)]) == 0


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_plain_yaml(manifest: Path) -> None:
    """As far as that can be seen without a parser."""
    for document in manifest.read_text().split("\n---\n"):
        lines = [line for line in document.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert [line.partition(":")[0] for line in lines if line[0].isalpha()][:3] == ["apiVersion", "kind", "metadata"]
        assert not [line for line in lines if "\t" in line or (len(line) - len(line.lstrip())) % 2]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_pod_has_time_to_drain(manifest: Path) -> None:
    (grace,) = map(int, re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest.read_text()))
    (drain,) = map(int, re.findall(r'drain_time = "(\d+)s"', embedded(manifest)))
    assert grace >= drain + 10


def test_the_unit_has_time_to_drain() -> None:
    (limit,) = map(int, re.findall(r"TimeoutStopSec=(\d+)s", (DEPLOY / "l4proxy.service").read_text()))
    (drain,) = map(int, re.findall(r'drain_time = "(\d+)s"', (DEPLOY / "l4proxy.toml").read_text()))
    assert limit >= drain + 10


@needs("systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """But for the program and the user, which are not installed here."""
    service = (DEPLOY / "l4proxy.service").read_text().replace("/opt/l4proxy/bin/l4proxy", "/bin/true")
    (tmp_path / "l4proxy.service").write_text(service)
    shutil.copy(DEPLOY / "l4proxy.socket", tmp_path)
    units = [str(tmp_path / name) for name in ("l4proxy.service", "l4proxy.socket")]
    done = subprocess.run([program("systemd-analyze"), "verify", *units], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("l4proxy.")]
    assert (done.returncode, said) == (0, [])


@needs("systemd-analyze")
def test_the_unit_may_do_little(tmp_path: Path) -> None:
    """systemd's own measure of exposure: 10 is everything, below 2 is "OK"."""
    shutil.copy(DEPLOY / "l4proxy.service", tmp_path)
    argv = ["security", "--offline=true", "--threshold=20", str(tmp_path / "l4proxy.service")]
    done = subprocess.run([program("systemd-analyze"), *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@needs("systemd-socket-activate")
def test_sockets_of_systemd_are_taken_over(tmp_path: Path) -> None:
    port = free_port()
    file, log = tmp_path / "l4proxy.toml", tmp_path / "log"
    file.write_text(f'[[listeners]]\naddress = "127.0.0.1:{port}"\nfilters = ["echo"]\n')
    path = os.pathsep.join([str(Path(l4proxy.__path__[0]).parent), *sys.path])
    command = [sys.executable, "-m", "l4proxy", "run", str(file)]
    argv = [program("systemd-socket-activate"), f"--listen=127.0.0.1:{port}", f"--setenv=PYTHONPATH={path}", *command]
    with running(argv, log=log, ready=lambda: accepts(port)), socket.create_connection(("127.0.0.1", port), 30) as one:
        one.settimeout(30)
        one.sendall(b"hello")
        assert one.recv(5) == b"hello"
    assert "Address already in use" not in log.read_text()


def test_the_container_installs_what_is_here() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    assert {line.split()[0] for line in lines if line and line[0] != "#"} <= {
        "FROM", "COPY", "RUN", "ENV", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    ends = [shlex.split(line.partition(" ")[2].strip("[]").replace(",", " ")) for line in lines[-2:]]
    assert ends == [["l4proxy"], ["run", "/etc/l4proxy/l4proxy.toml"]]


def test_logs_are_reopened_by_the_signal_that_does_it() -> None:
    assert "--signal=SIGUSR1 l4proxy.service" in (DEPLOY / "l4proxy.logrotate").read_text()
    assert (DEPLOY / "l4proxy.toml").read_text().count("/var/log/l4proxy/access.log") == 1
