from __future__ import annotations

import contextlib
import inspect
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l4proxy import Config
from l4proxy.cli.quick import Tcp, widened
from l4proxy.process import Launch
from proxy_process import echo_server
from services.certs import Certs
from services.process import HOST

SHOUT = """
from l4proxy import Filter, NoConfig, hookimpl

class Shout(Filter[NoConfig]):
    name = "shout"

    def on_client_data(self, data):
        return data.upper()

@hookimpl
def register_filters(register):
    register(Shout)
"""
LIMIT = """
from dataclasses import dataclass
from typing import Annotated
from l4proxy import Filter, hookimpl
from l4proxy.config.types import Duration, Range, Size

@dataclass(frozen=True, slots=True)
class LimitConfig:
    max_bytes: Size = Size(1)
    after: Duration = Duration(1.0)
    ports: tuple[Annotated[int, Range(1, 65535)], ...] = ()
    label: str = ""

class Limit(Filter[LimitConfig]):
    name = "limit"

@hookimpl
def register_filters(register):
    register(Limit)
"""
WATCH = """
import argparse
from typing import Any
from l4proxy import hookimpl
from l4proxy.cli.quick import CLUSTER, Draft, QuickCommand, add_shared_options

class Watch(QuickCommand):
    "Watch a protocol."

    name = "watch"
    terminal_filter = "tcp_proxy"

    def add_arguments(self, parser):
        parser.add_argument("protocol")
        parser.add_argument("upstream", nargs="+")
        parser.add_argument("--listen", default="127.0.0.1:0")
        parser.add_argument("--idle")
        add_shared_options(parser)

    def terminal(self, args):
        return {**super().terminal(args), "idle_timeout": args.idle}

    def draft(self, args):
        draft = super().draft(args)
        draft.options["listeners[0].filters[0].idle_timeout"] = "--idle"
        return draft

@hookimpl
def register_commands(register):
    register(Watch)
"""


@pytest.fixture
def plugin_dir(tmp_path: Path) -> str:
    for name, text in {"shout": SHOUT, "limit": LIMIT, "watch": WATCH}.items():
        (tmp_path / f"{name}.py").write_text(text)
    return str(tmp_path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """What would have been served, by commands that are run in this process."""
    configs: list[Config] = []

    def run_process(launch: Launch) -> int:
        configs.append(launch.load(launch.read()))
        return 0

    monkeypatch.setattr("l4proxy.cli.run.run_process", run_process)
    return configs


def test_the_configuration_that_options_make(l4proxy: Any, served: list[Config], plugin_dir: str) -> None:
    places = [":8080", "db:5432", "unix:/run/db.sock", "--admin", "127.0.0.1:9901", "--access-log", "-"]
    words = ["tcp", *places, "--workers", "auto", "--use", "shout"]
    use = "limit:max_bytes=2KiB,ports=[80, 443],label=7,after=5s"
    assert l4proxy(*words, "--use", use, "--plugin-dir", plugin_dir) == (0, "", "")
    (config,) = served
    (listener,), (cluster,) = config.listeners, config.clusters
    assert [str(address) for address in listener.addresses] == [":8080"]
    assert [str(endpoint.address) for endpoint in cluster.endpoints] == ["db:5432", "unix:/run/db.sock"]
    assert [one.name for one in listener.filters] == ["shout", "limit", "tcp_proxy"]
    limit = listener.filters[1].config
    assert (limit.max_bytes, limit.ports, limit.label, limit.after) == (2048, (80, 443), "7", 5.0)
    assert listener.filters[2].config.cluster == cluster.name
    assert config.workers == "auto"
    assert config.admin is not None
    assert str(config.admin.address) == "127.0.0.1:9901"
    (log,) = config.access_log
    assert (log.name, log.config.path) == ("file", "-")


def test_the_examples_of_the_help(l4proxy: Any, served: list[Config]) -> None:
    examples = re.findall(r"^ +l4proxy (tcp .*)", inspect.getdoc(Tcp) or "", re.MULTILINE)
    for example in examples:
        assert l4proxy(*example.split()) == (0, "", "")
    assert len(served) == len(examples) > 2


def test_defaults(l4proxy: Any, served: list[Config]) -> None:
    assert l4proxy("tcp", "127.0.0.1:1", "127.0.0.1:2").status == 0
    (config,) = served
    assert (config.workers, config.admin, config.access_log) == (1, None, ())
    assert config.listeners[0].tls is None


def test_certificates(l4proxy: Any, served: list[Config], certs: Certs) -> None:
    files = ["--tls-cert", str(certs.server.cert), "--tls-key", str(certs.server.key)]
    assert l4proxy("tcp", ":1", "a:1", *files).status == 0
    tls = served[0].listeners[0].tls
    assert tls is not None
    assert (tls.cert, tls.key) == (str(certs.server.cert), str(certs.server.key))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--use", "shuot"], "--use shuot: unknown filter 'shuot' (did you mean 'shout'?)"),
        (["--use", "echo"], "--use echo: 'echo' is a terminal filter"),
        (["--use", "shout:x=1"], "--use shout:x=1: x: unknown key"),
        (["--use", "limit:max_byte=1"], "--use limit:max_byte=1: max_byte: unknown key (did you mean 'max_bytes'?)"),
        (["--use", "limit:max_bytes=x"], "--use limit:max_bytes=x: max_bytes: "),
        (["--use", "limit:ports=[0]"], "--use limit:ports=[0]: ports[0]: 0 is out of range"),
        (["--use", "limit:ports=80"], "--use limit:ports=80: ports: expected an array"),
        (["--use", "limit:after"], "--use limit:after: 'after' is not key=value"),
        (["--use", ""], "--use : unknown filter ''"),
        (["--use", "shout", "--use", "limit:after=x"], "--use limit:after=x: after: "),
        (["--workers", "0"], "--workers: 0 is out of range"),
        (["--workers", "many"], '--workers: expected a whole number or "auto", such as 5, found "many"'),
        (["--workers", "-1"], '--workers: expected a whole number or "auto", such as 5, found "-1"'),
        (["--admin", "localhost"], "--admin: 'localhost' has no port"),
        (["--admin", "127.0.0.1:7"], "--admin: 127.0.0.1:7 is taken by LISTEN"),
        (["--tls-cert", "x.pem"], "--tls-cert: needs a key beside it"),
        (["--tls-key", "x.pem"], "--tls-key: needs a cert beside it"),
        (["more"], "UPSTREAM: 'more' has no port"),
        (["a:0"], "UPSTREAM: address: an endpoint needs a port above 0"),
        (["b:2", "b:2"], "UPSTREAM: b:2 stands here 2 times"),
    ],
)
def test_errors_speak_of_options(l4proxy: Any, plugin_dir: str, words: list[str], message: str) -> None:
    status, out, err = l4proxy("tcp", "127.0.0.1:7", "a:1", *words, "--plugin-dir", plugin_dir)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("error: ") == 1
    assert not re.search(r"listeners|clusters|\[0\]\.", err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["99999", "a:1"], "LISTEN: '99999' has no port (write host:port, :port, [::1]:port or unix:/path)"),
        (["[::1:80", "a:1"], "LISTEN: "),
        (["192.0.2.1:80", "127.0.0.1:1"], "LISTEN: cannot listen on 192.0.2.1:80: Cannot assign requested address."),
        (["unix:/nix/there", "127.0.0.1:1"], "LISTEN: cannot listen on unix:/nix/there: No such file or directory"),
        (["127.0.0.1:0", "127.0.0.1:1", "--access-log", "/"], "--access-log: cannot open /: Is a directory"),
    ],
)
def test_wrong_places(l4proxy: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.setattr("l4proxy.logging_setup.set_up_logging", lambda *_args, **_more: None)
    status, out, err = l4proxy("tcp", *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use(workers: str) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        argv = [sys.executable, "-m", "l4proxy", "tcp", f"{HOST}:{port}", "127.0.0.1:1", "--workers", workers]
        done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: LISTEN: cannot listen on {HOST}:{port}: Address already in use. Another process listens there "
        f"(see: ss -ltnp 'sport = :{port}')\n"
    )


def test_a_command_of_its_own_kind(l4proxy: Any, served: list[Config], plugin_dir: str) -> None:
    options = ["--plugin-dir", plugin_dir]
    assert l4proxy("watch", "redis", "a:1", "--idle", "5s", *options).status == 0
    (terminal,) = served[0].listeners[0].filters
    assert (terminal.name, terminal.config.idle_timeout) == ("tcp_proxy", 5.0)
    assert l4proxy("watch", "redis", "a:1", "--idle", "x", *options).err.startswith("error: --idle: ")
    assert l4proxy("watch", "redis", "a", "--idle", "5s", *options).err.startswith("error: UPSTREAM: 'a' has no port")


# The real thing


class Quick:
    """A quick command that runs, with what it has written to its terminal or its log."""

    def __init__(self, process: subprocess.Popen[bytes], read: Callable[[], bytes]) -> None:
        self.process = process
        self._read = read
        self.said = b""

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        while not (found := re.search(pattern, self.said)):
            data = self._read()
            assert data, f"it ended: {self.said!r}"
            self.said += data
        return found

    def connect(self, port: bytes | int) -> socket.socket:
        return socket.create_connection((HOST, int(port)), timeout=20)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def quick(*words: str, terminal: bool = False, **environment: str) -> Iterator[Quick]:
    """Run ``l4proxy tcp 127.0.0.1:0 WORDS...``. Its standard error is a terminal or a pipe."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    argv = [sys.executable, "-m", "l4proxy", "tcp", f"{HOST}:0", *words]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=writing, env={**os.environ, "TERM": "xterm", **environment}
    )
    os.close(writing)
    try:
        yield Quick(process, lambda: os.read(reading, 65536))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        os.close(reading)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with echo_server() as port:
        yield f"{HOST}:{port}"


def test_it_runs_with_a_filter_and_an_access_log(upstream: str, plugin_dir: str) -> None:
    with quick(upstream, "--use", "shout", "--access-log", "-", "--plugin-dir", plugin_dir) as proxy:
        port = proxy.wait_for(rb"INFO +l4proxy.process: listening on 127.0.0.1:(\d+)")[1]
        with proxy.connect(port) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"HELLO"
        assert proxy.stop() == 0
        assert proxy.process.stdout is not None
        assert b"received=5 sent=5" in proxy.process.stdout.read()


def test_workers(upstream: str) -> None:
    with quick(upstream, "--workers", "2") as proxy:
        proxy.wait_for(rb"2 workers serve")
        port = proxy.wait_for(rb"listening on 127.0.0.1:(\d+)")[1]
        for _ in range(4):
            with proxy.connect(port) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
        assert proxy.stop() == 0


def test_tls(upstream: str, certs: Certs) -> None:
    files = ["--tls-cert", str(certs.server.cert), "--tls-key", str(certs.server.key)]
    with quick(upstream, *files) as proxy:
        port = proxy.wait_for(rb"listening on 127.0.0.1:(\d+)")[1]
        context = ssl.create_default_context(cafile=str(certs.ca))
        with context.wrap_socket(proxy.connect(port), server_hostname="localhost") as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_admin(upstream: str, tmp_path: Path) -> None:
    with quick(upstream, "--admin", f"unix:{tmp_path}/admin.sock") as proxy:
        proxy.wait_for(rb"listening on 127.0.0.1:(\d+)")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{tmp_path}/admin.sock")
            client.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"


def test_a_person_at_a_terminal_sees_where_it_listens_and_how_to_stop_it(upstream: str, plugin_dir: str) -> None:
    admin = f"unix:{plugin_dir}/admin.sock"
    words = [upstream, "127.0.0.1:1", "--use", "shout", "--plugin-dir", plugin_dir, "--admin", admin]
    with quick(*words, terminal=True) as proxy:
        proxy.wait_for(rb"Ctrl-C stops it.*\x1b\[0m\r\n")
        assert re.fullmatch(
            rb"listening on \x1b\[1m127.0.0.1:\d+\x1b\[0m -> shout -> "
            rb"\x1b\[1m%b\x1b\[0m, \x1b\[1m127.0.0.1:1\x1b\[0m\r\n"
            rb"\x1b\[2mCtrl-C stops it. The admin interface is at %b.\x1b\[0m\r\n"
            % (upstream.encode(), admin.encode()),
            proxy.said,
        )
        assert proxy.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_ends_with_its_terminal(upstream: str, workers: str) -> None:
    with quick(upstream, "--workers", workers, terminal=True) as proxy:
        proxy.wait_for(rb"Ctrl-C stops it.")
        assert proxy.stop(signal.SIGHUP) == 0


def test_without_a_terminal_it_reads_its_files_again(upstream: str) -> None:
    with quick(upstream) as proxy:
        proxy.wait_for(rb"listening on")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for(rb"the configuration was reloaded")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_without_colour_where_it_is_not_wanted(upstream: str, name: str, value: str) -> None:
    with quick(upstream, terminal=True, **{name: value}) as proxy:
        proxy.wait_for(rb"Ctrl-C stops it.\r\n")
        assert re.fullmatch(rb"listening on 127.0.0.1:\d+ -> [\d.:]+\r\nCtrl-C stops it.\r\n", proxy.said)


def test_errors_are_red_on_a_terminal() -> None:
    with quick("nowhere", terminal=True) as proxy:
        proxy.wait_for(rb"\r\n")
        assert proxy.said.startswith(b"\x1b[31merror:\x1b[0m UPSTREAM: 'nowhere' has no port")
        assert proxy.process.wait(20) == 2


@pytest.mark.parametrize(
    ("listen", "more", "wide"),
    [
        (":80", 0, ":80"),
        (":80", 2, ":80-82"),
        ("[::1]:65534", 5, "[::1]:65534-65535"),
        ("127.0.0.1:0", 5, "127.0.0.1:0"),
        (":80-90", 5, ":80-90"),
        ("unix:/a", 5, "unix:/a"),
        ("nonsense", 5, "nonsense"),
    ],
)
def test_more_ports_than_one(listen: str, more: int, wide: str) -> None:
    assert widened(listen, more) == wide
