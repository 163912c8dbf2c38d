from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

from l4proxy.errors import L4ProxyError
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Framer, Link
from l4proxy.plugins.sniff import recording
from l4proxy.plugins.sniff.recording import Recorder, parse_header, parse_line, parse_peer
from line_inspector import LineInspector
from sniffing import LINK, sight_of


def recorder(path: Path, inspector: type[LineInspector] | None = LineInspector) -> Recorder:
    made = Recorder(str(path), "line", _never)
    if inspector is not None:
        sight, _ = sight_of(inspector=inspector)
        made.cut_as(sight.watch.inspector)
    return made


def _never(error: L4ProxyError) -> None:
    raise error


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(path: Path) -> list[tuple[object, ...]]:
    """What was recorded of bytes: from whom, the bytes, whether they are a part."""
    lines = [parse_line(line) for line in path.read_text().splitlines()[1:]]
    return [(line["from"], line["bytes"], line.get("part", False)) for line in lines if "from" in line]


def test_a_whole_connection(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = recorder(path)
    one.opened(LINK, 1.0)
    one.data(LINK, True, b"GET a\nGE", 1.5)
    one.data(LINK, False, b"OK \xff\n", 1.6)
    one.data(LINK, True, b"T b\n", 1.75)
    one.eof(LINK, True, 2.0)
    one.closed(LINK, 2.5)
    one.close()
    assert written(path) == [
        {"recording": 1, "protocol": "line"},
        {"at": 1.0, "connection": 7, "open": {"client": "192.0.2.1:40000", "server": "192.0.2.2:7777"}},
        {"at": 1.5, "connection": 7, "from": "client", "text": "GET a\n"},
        {"at": 1.6, "connection": 7, "from": "server", "data": "T0sg/wo="},
        {"at": 1.75, "connection": 7, "from": "client", "text": "GET b\n", "began": 1.5},
        {"at": 2.0, "connection": 7, "eof": "client"},
        {"at": 2.5, "connection": 7, "close": True},
    ]
    assert one.lines == 7


def test_a_server_may_turn_out_later(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = recorder(path)
    link = Link(1, LINK.client)
    one.opened(link, 1.0)
    one.data(link, True, b"GET a\n", 1.5)
    link.server = LINK.server
    one.data(link, False, b"OK b\n", 1.75)
    one.data(link, False, b"OK c\n", 1.75)
    one.close()
    assert written(path)[3:] == [
        {"at": 1.75, "connection": 1, "server": "192.0.2.2:7777"},
        {"at": 1.75, "connection": 1, "from": "server", "text": "OK b\n"},
        {"at": 1.75, "connection": 1, "from": "server", "text": "OK c\n"},
    ]


def test_what_passes_may_be_secret(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    recorder(path).close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize(
    "data", [b"", "ä\u2028".encode(), b"\0", b"\x7f", b"\xc3", b"a\r\n\tb", b"\xed\xa0\x80", bytes(range(256))]
)
def test_any_bytes_come_back(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = recorder(path, None)
    one.opened(LINK, 1.0)
    one.data(LINK, True, data, 1.0)
    one.close()
    assert said(path) == [("client", data, False)]


def test_unfinished_frames_are_recorded_as_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = recorder(path)
    other = Link(8, Peer("192.0.2.1", 40001))
    for link in (LINK, other):
        one.opened(link, 1.0)
        one.data(link, True, b"GET a\nhalf", 1.0)
        one.data(link, False, b"O", 1.0)
    one.lost(LINK, True, 5, 1.0)
    one.data(LINK, True, b"a line\nand\n", 1.0)
    one.eof(LINK, False, 1.0)
    one.closed(LINK, 1.0)
    one.closed(other, 1.0)
    one.close()
    assert said(path) == [
        ("client", b"GET a\n", False), ("client", b"GET a\n", False), ("client", b"half", True),
        ("client", b"a line\nand\n", False), ("server", b"O", True), ("client", b"half", True), ("server", b"O", True),
    ]  # fmt: skip
    assert {"at": 1.0, "connection": 7, "lost": "client", "size": 5} in written(path)


def test_what_is_not_understood_is_recorded_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = recorder(path)
    one.opened(LINK, 1.0)
    one.data(LINK, True, b"GET a\nhalf", 1.0)
    one.stopped(LINK, 1.0)
    one.data(LINK, True, b"more\nand", 2.0)
    one.close()
    assert said(path) == [
        ("client", b"GET a\n", False),
        ("client", b"half", True),
        ("client", b"more\nand", False),
    ]


def test_from_the_middle_there_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = recorder(path)
    link = Link(8, Peer("192.0.2.1", 40001), midway=True)
    one.opened(link, 1.0)
    one.data(link, True, b"alf a line\nGET a\n", 1.0)
    one.close()
    assert said(path) == [("client", b"alf a line\nGET a\n", False)]
    assert written(path)[1]["open"] == {"client": "192.0.2.1:40001", "server": None, "midway": True}


def test_a_framer_that_fails_is_asked_no_more(tmp_path: Path) -> None:
    class Fails(LineInspector):
        def framer(self, side: Side) -> Framer:
            cut = super().framer(side)

            def fail(data: bytes) -> Iterable[bytes]:
                if b"!" in data:
                    raise ValueError
                return cut(data)

            return fail

    path = tmp_path / "a.jsonl"
    one = recorder(path, Fails)
    one.opened(LINK, 1.0)
    for data in (b"GET a\nhal", b"f!", b"more\nand\nmore"):
        one.data(LINK, True, data, 1.0)
    one.close()
    assert said(path) == [
        ("client", b"GET a\n", False), ("client", b"half!", True), ("client", b"more\nand\nmore", False),
    ]  # fmt: skip


def test_frames_that_are_too_long_are_recorded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FRAME_LIMIT", 10)
    path = tmp_path / "a.jsonl"
    one = recorder(path)
    one.opened(LINK, 1.0)
    chunks = (b"GET aaaaaaaaaa", b"b" * 12, b"ccc\nGET b\n", b"short\n")
    for data in chunks:
        one.data(LINK, True, data, 1.0)
    one.close()
    assert said(path) == [
        ("client", b"GET aaaaaaaaaa", True), ("client", b"b" * 12, True), ("client", b"ccc\n", True),
        ("client", b"GET b\n", False), ("client", b"short\n", False),
    ]  # fmt: skip


def test_a_file_that_cannot_be_written() -> None:
    with pytest.raises(L4ProxyError, match=r"--record /nowhere/a: No such file or directory"):
        Recorder("/nowhere/a", "line", _never)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_is_full_is_said_once() -> None:
    errors: list[L4ProxyError] = []
    one = Recorder("/dev/full", "line", errors.append)
    one.opened(LINK, 1.0)
    one.flush()
    one.data(LINK, True, b"x" * 100_000, 1.0)
    one.closed(LINK, 1.0)
    one.close()
    assert [str(error) for error in errors] == ["--record /dev/full: No space left on device"]


@pytest.mark.parametrize(("line", "problem"), [
    ("[]", "a line is to be a JSON object"),
    ("{}", "this is no recording: --record makes one, --pcap reads captures"),
    ('{"recording": 2}', "a recording of version 2, and only 1 is known"),
    ("\ufeff", "."),
])  # fmt: skip
def test_a_header_that_is_none(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_header(line)


@pytest.mark.parametrize("line", [
    "{}", '{"at": "1", "connection": 1}', '{"at": 1, "connection": ""}', '{"at": 1, "connection": 1, "data": "?"}', "1",
])  # fmt: skip
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_line(line)


@pytest.mark.parametrize("peer", [Peer("192.0.2.1", 80), Peer("2001:db8::1", 80), Peer("", 0)])
def test_ends_come_back(peer: Peer) -> None:
    assert str(parse_peer(str(peer))) == str(peer)
