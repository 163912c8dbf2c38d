"""The live view in a real terminal emulator, with keys and a resize."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import socket
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from captures import Wire, pcap
from l4proxy.plugins.sniff import live
from proxy_process import echo_server, wait_until
from services.needs import program, require
from services.process import HOST, free_port
from sniffing import command, environment, write_plugin


class Tmux:
    """A terminal of 90 columns and 15 lines."""

    def __init__(self, directory: Path) -> None:
        self._tmux = [program("tmux"), "-S", str(directory / "tmux"), "-f", "/dev/null"]
        self.directory = directory

    def do(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, env=environment())
        return done.stdout

    def start(self, *words: str, **env: str) -> None:
        shown = " ".join(f"{name}={shlex.quote(value)}" for name, value in {**environment_of_sniff(), **env}.items())
        self.do(
            "new-session",
            "-d",
            "-x",
            "90",
            "-y",
            "15",
            f"env {shown} {shlex.join(words)}; echo STATUS $?; exec sleep 60",
        )

    def keys(self, *keys: str) -> None:
        self.do("send-keys", *keys)

    @property
    def screen(self) -> list[str]:
        return self.do("capture-pane", "-p").splitlines()

    def see(self, text: str) -> list[str]:
        wait_until(lambda: any(text in line for line in self.screen), f"{text!r} on the screen")
        return self.screen


def environment_of_sniff() -> dict[str, str]:
    return {name: environment()[name] for name in ("PYTHONPATH", "TZ")}


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    require("tmux")
    terminal = Tmux(tmp_path)
    yield terminal
    terminal.do("kill-server")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    turns = [(0, b"GET a\nPUT b\nGET c\n"), (1, b"OK 1\nERR no\nOK 3\n"), (0, b"QUIET d\n")]
    (tmp_path / "a.pcap").write_bytes(pcap(Wire().talk(turns)))
    return command(write_plugin(tmp_path / "plugins"), "line", "--pcap", str(tmp_path / "a.pcap"))


def test_looking_around_in_a_capture(tmux: Tmux, words: list[str]) -> None:
    tmux.start(*words)
    screen = tmux.see(" END 22:13:20")
    assert screen[1].startswith("active 0  connections 1  packets ")
    assert screen[2].rstrip() == " 1 words  2 exchanges  3 connections"
    assert [line.split()[:2] for line in screen[3:7]] == [["word", "▲"], ["GET", "2"], ["PUT", "1"], ["QUIET", "1"]]
    tmux.keys("Right")
    screen = tmux.see("time ▼")
    assert [line.split()[2] for line in screen[4:8]] == ["QUIET", "GET", "PUT", "GET"]
    assert any("PUT" in line and " no " in line for line in screen)
    tmux.keys("/", "Q", "U", "I", "Enter")
    screen = tmux.see("/QUI")
    assert "QUIET" in screen[4]
    assert not screen[5].strip()
    tmux.keys("Escape")
    tmux.see("GET")
    tmux.keys("?")
    tmux.see("the other tables")
    tmux.do("resize-window", "-x", "60", "-y", "10")
    tmux.keys("x")
    screen = tmux.see("time ▼")
    assert len(screen) == 10
    assert max(map(len, screen)) <= 60
    tmux.keys("q")
    screen = tmux.see("STATUS 0")
    assert any(line.startswith("connections     1") for line in screen)


def test_without_colour(tmux: Tmux, words: list[str]) -> None:
    tmux.start(*words, NO_COLOR="1")
    tmux.see(" END 22:13:20")
    coloured = tmux.do("capture-pane", "-p", "-e")
    assert "\x1b[0;7m" in coloured
    assert "\x1b[36m" not in coloured
    tmux.keys("C-c")
    tmux.see("STATUS 0")


def test_a_capture_that_comes_in_leaves_the_keyboard_alone(tmux: Tmux, words: list[str]) -> None:
    capture = words[words.index("--pcap") + 1]
    shown = shlex.join([*words[: words.index("--pcap")], *words[words.index("--pcap") + 2 :], "--pcap", "-"])
    tmux.start("sh", "-c", f"(cat {shlex.quote(capture)}; sleep 60) | {shown}")
    screen = tmux.see("GET")
    assert "END" not in screen[0]
    tmux.keys("q")
    tmux.see("connections     1")


def test_what_goes_wrong_is_shown_below(tmux: Tmux, tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(pcap(Wire().talk([(0, b"1\n")])))
    tmux.start(*command(write_plugin(tmp_path / "plugins"), "line", "--pcap", str(tmp_path / "a.pcap")))
    tmux.see("WARNING [1] 192.0.2.1:40000: this is not line")
    tmux.keys("q")
    tmux.see("not understood  bad_kind 1")


def test_signals_put_the_terminal_in_order(tmux: Tmux, words: list[str]) -> None:
    tmux.start(*words)
    tmux.see(" END")
    assert tmux.do("display-message", "-p", "#{alternate_on}").strip() == "1"
    pane = int(tmux.do("display-message", "-p", "#{pane_pid}"))
    for pid in subprocess.run(["ps", "-o", "pid=", "--ppid", str(pane)], capture_output=True, text=True).stdout.split():
        os.kill(int(pid), signal.SIGTERM)
    tmux.see("STATUS 0")
    assert tmux.do("display-message", "-p", "#{alternate_on}").strip() == "0"


def test_a_terminal_that_is_stopped_holds_up_no_traffic(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    with echo_server() as server, socket.socket() as client:
        listen = free_port()
        words = ["line", f"{HOST}:{server}", "--listen", f"{HOST}:{listen}"]
        sniff = subprocess.Popen(
            command(write_plugin(tmp_path / "plugins"), *words),
            stdin=slave, stdout=slave, stderr=slave, env={**environment(), "TERM": "xterm"},
        )  # fmt: skip
        try:
            read_until(master, b"connect clients to")
            client.connect((HOST, listen))
            client.settimeout(60)
            os.write(master, b"\x13")  # Ctrl-S
            for at in range(9):
                os.write(master, b"\t")  # draws another table
                client.sendall(b"GET %d\n" % at)
                assert client.recv(100) == b"GET %d\n" % at
            os.write(master, b"q")
            read_until(master, b"\x1b[?1049l")
            assert sniff.wait(60) == 0
        finally:
            sniff.kill()
            sniff.wait()
    os.close(master)
    os.close(slave)


def read_until(fd: int, text: bytes) -> None:
    read = b""
    while text not in read:
        assert select.select([fd], [], [], 60)[0], read
        read += os.read(fd, 1 << 16)


@pytest.mark.parametrize(
    ("term", "tty", "expected"), [("xterm", True, True), ("dumb", True, False), ("xterm", False, False)]
)
def test_where_it_can_be_drawn(term: str, tty: bool, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def isatty(self) -> bool:
            return tty

    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout", Stream())
    monkeypatch.setattr("sys.stdin", Stream())
    assert live.can_be_live() is expected
