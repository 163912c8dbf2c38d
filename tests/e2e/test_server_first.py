"""SSH and SMTP: the server speaks before the client has said anything."""

from __future__ import annotations

import contextlib
import getpass
import os
import smtplib
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.proxies import run, tcp
from services.needs import needs, program, require
from services.process import HOST, accepts, free_port, running

SSHD_CONFIG = """
ListenAddress {host}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
ROOM_OF_ITS_OWN = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$0" "$@"'
"""As root, sshd wants a directory in /run that only its service makes."""


class Ssh:
    """An ``sshd`` that lets us in with a key; ``command`` runs a command there over whatever port leads to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()

    def command(self, port: int, command: str, stdin: bytes = b"") -> bytes:
        options = {
            "UserKnownHostsFile": self.directory / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "IdentityFile": self.directory / "user_key",
            "BatchMode": "yes",
        }
        argv = [program("ssh"), "-F", "none", *(f"-o{name}={value}" for name, value in options.items())]
        argv += ["-p", str(port), f"{getpass.getuser()}@{HOST}", command]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Ssh]:
    server = Ssh(tmp_path)
    for name in ("host_key", "user_key"):
        keygen = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(keygen, check=True)
    config = tmp_path / "sshd_config"
    config.write_text(SSHD_CONFIG.format(host=HOST, port=server.port, directory=tmp_path))
    argv = [program("sshd"), "-D", "-e", "-f", str(config)]
    if os.geteuid() == 0:
        require("netns")
        argv = ["unshare", "--mount", "sh", "-c", ROOM_OF_ITS_OWN, *argv]
    with running(argv, log=tmp_path / "sshd.log", ready=lambda: accepts(server.port)):
        yield server


@needs("ssh", "sshd")
def test_ssh(sshd: Ssh, tmp_path: Path) -> None:
    data = os.urandom(4 << 20)
    with tcp(tmp_path, sshd.port) as proxy:
        assert sshd.command(proxy.port, "echo hello") == b"hello\n"
        assert sshd.command(proxy.port, "cat", stdin=data) == data


class _Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP as it takes to receive a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail.test ESMTP\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    pass
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")


@pytest.fixture
def smtpd() -> Iterator[int]:
    with socketserver.ThreadingTCPServer((HOST, 0), _Smtp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def send_mail(port: int) -> None:
    with contextlib.closing(smtplib.SMTP(HOST, port, timeout=30)) as client:
        assert client.sendmail("a@mail.test", ["b@mail.test"], "Subject: hello\r\n\r\n" + "text\r\n" * 1000) == {}
        client.quit()


def test_smtp_waits_for_nothing(smtpd: int, tmp_path: Path) -> None:
    with tcp(tmp_path, smtpd) as proxy:
        send_mail(proxy.port)
        proxy.ended("flags=-")


@needs("ssh", "sshd")
def test_smtp_shares_a_port_with_a_protocol_whose_clients_speak(sshd: Ssh, smtpd: int, tmp_path: Path) -> None:
    port = free_port()
    config = {
        "listeners": [
            {
                "address": f"{HOST}:{port}",
                "peek_timeout": "200ms",
                "peek_timeout_action": "continue",
                "filter_chains": [
                    {"match": {"ssh": True}, "filters": [{"use": "tcp_proxy", "cluster": "ssh"}]},
                    {"filters": [{"use": "tcp_proxy", "cluster": "smtp"}]},
                ],
            }
        ],
        "clusters": [
            {"name": "ssh", "endpoints": [f"{HOST}:{sshd.port}"]},
            {"name": "smtp", "endpoints": [f"{HOST}:{smtpd}"]},
        ],
    }
    with run(tmp_path, config, port) as proxy:
        send_mail(port)
        assert sshd.command(port, "echo hello") == b"hello\n"
        proxy.ended("smtp", "flags=-")
        proxy.ended("ssh", "flags=-")
