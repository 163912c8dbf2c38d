"""The servers and certificates that the other tests rely on do what they say."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from services import needs
from services.certs import Certificate, Certs
from services.envoy import EnvoyServer
from services.haproxy import HaproxyServer
from services.nginx import NginxServer
from services.postgres import PostgresServer
from services.process import HOST, accepts, free_port, running
from services.redis import RedisServer

SLEEPER = [sys.executable, "-c", "import sys, time; print('started', flush=True); time.sleep(3600)"]


def test_redis(redis: RedisServer) -> None:
    assert redis.command("PING") == "PONG"
    assert redis.path.is_socket()


def test_nginx_serves_files(nginx: NginxServer) -> None:
    with urllib.request.urlopen(f"http://{nginx.address}/index.html") as response:
        assert response.read() == b"hello from nginx\n"


def test_nginx_speaks_http2_over_tls(nginx: NginxServer, certs: Certs) -> None:
    context = ssl.create_default_context(cafile=certs.ca)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((nginx.host, nginx.tls_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"


def test_postgres(postgres: PostgresServer) -> None:
    assert postgres.query("select 6 * 7, 'x'") == "42|x"


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_haproxy_sends_the_proxy_protocol(
    start_haproxy: Callable[..., HaproxyServer], nginx: NginxServer, options: str
) -> None:
    proxy = start_haproxy(nginx.proxy_protocol_port, options)
    with socket.create_connection((proxy.host, proxy.port)) as client:
        client.sendall(b"GET /source HTTP/1.0\r\n\r\n")
        body = client.makefile("rb").read().rpartition(b"\r\n\r\n")[2]
        assert body == "{}:{}\n".format(*client.getsockname()).encode()


@needs.needs("envoy")
def test_envoy_forwards(start_envoy: Callable[..., EnvoyServer], nginx: NginxServer) -> None:
    proxy = start_envoy(nginx.port)
    with urllib.request.urlopen(f"http://{proxy.host}:{proxy.port}/") as response:
        assert response.read() == b"hello from nginx\n"


def handshake(context: ssl.SSLContext, certificate: Certificate, server_name: str) -> None:
    """A TLS handshake in memory, no socket: raises what the client thinks of the certificate."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate.cert, certificate.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=server_name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_server_certificate_is_good(certs: Certs, name: str) -> None:
    handshake(ssl.create_default_context(cafile=certs.ca), certs.server, name)


def test_the_wildcard_certificate_is_good(certs: Certs) -> None:
    handshake(ssl.create_default_context(cafile=certs.ca), certs.wildcard, "any.example.test")


@pytest.mark.parametrize(
    ("bad", "because"),
    [
        ("expired", "certificate has expired"),
        ("not_yet_valid", "certificate is not yet valid"),
        ("wrong_host", "Hostname mismatch"),
        ("untrusted", "unable to get local issuer certificate"),
    ],
)
def test_bad_certificates_are_bad_in_their_own_way(certs: Certs, bad: str, because: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=because):
        handshake(ssl.create_default_context(cafile=certs.ca), getattr(certs, bad), "localhost")


def test_a_free_port_can_be_bound_and_is_given_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)
    with socket.create_server((HOST, ports[0])):
        assert accepts(ports[0])
    assert not accepts(ports[0])


def test_a_server_that_dies_says_why(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with (
        pytest.raises(RuntimeError, match=r"(?s)status 1 before it was ready.*no such luck"),
        running(argv, log=tmp_path / "log", ready=lambda: False),
    ):
        pass


def test_a_server_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(SLEEPER, log=log, ready=lambda: b"started" in log.read_bytes()) as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM


def test_a_server_ends_when_the_test_process_is_killed(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        server = f"import socket; socket.create_connection({listener.getsockname()!r}).recv(1)"
        script = f"""
import os, pathlib, signal, sys
from services.process import running
with running([sys.executable, "-c", {server!r}], log=pathlib.Path("log"), ready=lambda: True):
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""
        environment = {"PYTHONPATH": str(Path(__file__).parent)}
        with subprocess.Popen(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdin=subprocess.PIPE
        ) as test_process:
            connection, _ = listener.accept()
            test_process.communicate(b"\n")
        assert test_process.returncode == -signal.SIGKILL
        with connection:
            assert connection.recv(1) == b""


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.PACKAGES, "no-such-server", "no-such-package")
    assert needs.missing("no-such-server") == "no-such-server is not installed (Debian package no-such-package)"


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_skips_here_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setitem(needs.PACKAGES, "no-such-server", "no-such-package")
    with pytest.raises(outcome, match="no-such-server is not installed"):
        needs.require("no-such-server")


def test_what_no_package_provides_is_skipped_in_ci_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        needs.require("no-such-program")
