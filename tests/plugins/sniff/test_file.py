from __future__ import annotations

import asyncio
import gzip
import io
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from captures import Timed, Wire, ipv4, pcap
from l4proxy.errors import L4ProxyError
from l4proxy.plugins.sniff.file import CHUNK, FileSource, ports_text
from sniffing import Seen, sight_of

SEEN = ["GET asked=a answer=1", "QUIET asked=b"]


def conversation(number: int = 0, port: int = 7777) -> list[Timed]:
    wire = Wire(client_port=40000 + number, port=port)
    return [*wire.talk([(0, b"GET a\n"), (1, b"OK 1\n"), (0, b"QUIET b\n")])]


def read(path: str, ports: Iterable[int] = (7777,)) -> tuple[Seen, dict[str, str], FileSource]:
    """What was seen, and the facts that the source tells."""
    sight, seen = sight_of(begin=False)
    source = FileSource(path, ports)

    async def main() -> None:
        try:
            await source.open(sight)
            await source.run()
        finally:
            await source.close()

    asyncio.run(main())
    return seen, dict(source.facts()), source


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    frames = conversation()
    path.write_bytes(pcap(frames))
    seen, facts, source = read(str(path))
    assert seen.lines == SEEN
    assert facts == {"packets": str(len(frames))}
    assert (source.began(), source.now()) == pytest.approx((frames[0][0], frames[-1][0]), abs=1e-5)


def test_a_compressed_file_and_several_of_them_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap.gz"
    whole = pcap(conversation())
    path.write_bytes(gzip.compress(whole))
    assert read(str(path))[0].lines == SEEN
    path.write_bytes(gzip.compress(whole[:100]) + gzip.compress(whole[100:]))
    assert read(str(path))[0].lines == SEEN
    path.write_bytes(gzip.compress(whole)[:-20] + bytes(20))
    with pytest.raises(L4ProxyError, match=f"{path}: "):
        read(str(path))


def test_what_comes_in_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces, as from a capture that is under way elsewhere."""
    out, into = os.pipe()
    whole = pcap(conversation())

    def write() -> None:
        with os.fdopen(into, "wb", buffering=0) as pipe:
            for start in range(0, len(whole), 50):
                pipe.write(whole[start : start + 50])

    writer = threading.Thread(target=write)
    with os.fdopen(out, "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        writer.start()
        seen, _, _ = read("-")
        assert os.get_blocking(stdin.fileno())
    writer.join()
    assert seen.lines == SEEN


def test_a_terminal_is_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(L4ProxyError, match="standard input is a terminal: pipe a capture into it"):
        read("-")


def test_a_file_longer_than_a_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    wire = Wire(mss=60_000)
    path.write_bytes(pcap([*wire.talk([(0, b"QUIET %d\n" % number * 2500) for number in range(30)])]))
    assert path.stat().st_size > 2 * CHUNK
    seen, _, _ = read(str(path))
    assert len(seen.exchanges) == 30 * 2500


def test_only_connections_to_the_ports_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([*conversation(), *conversation(1, 8888), *conversation(2, 8888), *conversation(3, 443)]))
    seen, facts, _ = read(str(path))
    assert seen.lines == SEEN
    assert facts["other ports"] == "3 connections"
    assert read(str(path), [8888])[0].lines == SEEN * 2
    assert read(str(path), [])[0].lines == SEEN * 4
    seen, facts, _ = read(str(path), [1])
    assert seen.lines == []
    assert facts["other ports"] == "there were connections to 8888 (2), 7777 (1), 443 (1); --port chooses"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    udp = (1.0, bytes(12) + b"\x08\0" + ipv4("192.0.2.1", "192.0.2.2", bytes(20), protocol=17))
    wire = Wire(mss=1000)
    frames = [*wire.open(), *wire.say(0, b"QUIET a\n" * 500)]
    del frames[5]
    under_way = Wire(client_port=40001).say(0, b"QUIET a\n")
    path.write_bytes(pcap([udp, *frames, *under_way])[:-1])
    _, facts, _ = read(str(path))
    assert facts == {
        "packets": "12",
        "not captured": "1,000 bytes in 1 gaps",
        "begun before": "1 connections",
        "TCP": "2 out of order",
        "no TCP": "1 packets",
        "the capture ends": "in the middle of a packet",
    }


@pytest.mark.parametrize(("file", "problem"), [
    (b"GET / HTTP/1.1\r\n", "this is no capture: it begins with 47455420"),
    (pcap(conversation()) + b"\xff" * 16, "this is no pcap file, or a damaged one: a packet of 4294967295 bytes"),
])  # fmt: skip
def test_files_that_are_none_or_damaged(file: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(file)
    with pytest.raises(L4ProxyError, match=f"{path}: {problem}"):
        read(str(path))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(L4ProxyError, match="/nowhere: No such file or directory"):
        read("/nowhere")


def test_ports_as_people_say_them() -> None:
    assert [ports_text(ports) for ports in ([], [1], [2, 1])] == ["all TCP ports", "port 1", "ports 1, 2"]
