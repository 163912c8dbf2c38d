from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from captures import Wire, pcap
from l4proxy.errors import L4ProxyError
from l4proxy.plugins.sniff.file import FileSource
from l4proxy.plugins.sniff.lines import json_of
from l4proxy.plugins.sniff.recording import Recorder
from l4proxy.plugins.sniff.replay import ReplaySource
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.source import Source
from sniffing import Seen, sight_of


def play(source: Source, record: Path | None = None) -> tuple[Sight, Seen]:
    sight, seen = sight_of(begin=False)

    async def main() -> None:
        if record is not None:
            sight.tap = Recorder(str(record), "line", lambda error: None)
        try:
            await source.open(sight)
            if isinstance(sight.tap, Recorder):
                sight.tap.cut_as(sight.watch.inspector)
            await source.run()
        finally:
            await source.close()
            if isinstance(sight.tap, Recorder):
                sight.tap.close()

    asyncio.run(main())
    return sight, seen


def capture_with_everything(path: Path) -> None:
    """Whole connections, one that is under way, one with gaps, one that is encrypted, one that is not understood."""
    chance = random.Random(1)
    whole, midway, gaps, tls, bad = (Wire(client_port=40000 + number, mss=9) for number in range(5))
    frames = [*whole.open()]
    for number in range(20):
        frames += [*whole.say(0, b"GET %d\nPUT x\n" % number), *whole.say(1, b"OK %d\nERR no\n" % number)]
    frames += [
        *whole.end(0),
        *whole.end(1),
        *midway.say(1, b"alf\n"),
        *midway.say(0, b"T a\nGET b\n"),
        *midway.say(1, b"OK\n"),
    ]
    frames += gaps.open()
    frames += [one for one in gaps.say(0, b"GET a\nGET b\nGET c\n" * 5) if chance.random() < 0.7]
    frames += [*tls.open(), *tls.say(0, b"\x16\x03\x01\x00\x05" + bytes(50)), *bad.open(), *bad.say(0, b"1\nGET a\n")]
    path.write_bytes(pcap(frames))


def test_a_recording_gives_the_same_numbers(tmp_path: Path) -> None:
    capture, recording, again = tmp_path / "a.pcap", tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    capture_with_everything(capture)
    first, seen = play(FileSource(str(capture), [7777]), recording)
    second, seen_again = play(ReplaySource(str(recording)), again)
    assert len(seen.exchanges) > 40
    assert [json_of(one, "word") for one in seen_again.exchanges] == [json_of(one, "word") for one in seen.exchanges]
    ours = {name: family for name, family in second.registry.snapshot().items() if "capture" not in name}
    assert ours == {name: family for name, family in first.registry.snapshot().items() if "capture" not in name}
    assert again.read_text() == recording.read_text()


HEADER = {"recording": 1, "protocol": "line"}
OPEN = {"at": 1, "connection": 1, "open": {"client": "192.0.2.1:1", "server": None}}


@pytest.mark.parametrize(("lines", "problem"), [
    ([{"recording": 1, "protocol": "kafka"}], r"1: a recording of kafka: l4proxy sniff kafka --replay"),
    ([HEADER, {"at": 1, "connection": 1, "close": True}], r"2: connection 1 was not opened"),
    ([HEADER, OPEN, OPEN], r"3: connection 1 is open already, or has no ends"),
    ([HEADER, {**OPEN, "open": 1}], r"2: connection 1 is open already, or has no ends"),
    ([HEADER, OPEN, {"at": 1, "connection": 1}], r"3: a line has server, from, eof, lost or close"),
    ([HEADER, OPEN, {"at": 1, "connection": 1, "from": "client"}], r"3: a line has server, from, eof, lost or close"),
    ([HEADER, 1], r"2: a line is to be a JSON object"),
])  # fmt: skip
def test_recordings_that_are_damaged(lines: list[object], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(L4ProxyError, match=f"{path}:{problem}"):
        play(ReplaySource(str(path)))


def test_what_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xff\n")
    with pytest.raises(L4ProxyError, match=f"{path}:0: "):
        play(ReplaySource(str(path)))
    with pytest.raises(L4ProxyError, match="/nowhere: No such file or directory"):
        play(ReplaySource("/nowhere"))


def test_a_server_that_turned_out_later(tmp_path: Path) -> None:
    says = [("client", "GET a\nGET b\n"), ("server", "OK 1\n")]
    said = [{"at": 1, "connection": 1, "from": side, "text": text} for side, text in says]
    known = {"at": 1, "connection": 1, "server": "192.0.2.2:7777"}
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in (HEADER, OPEN, said[0], known, said[1])) + "\n")
    _, seen = play(ReplaySource(str(path)))
    assert [json_of(one, "word")["server"] for one in seen.exchanges] == ["192.0.2.2:7777"]


def test_connections_that_were_not_closed_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(HEADER)}\n{json.dumps(OPEN)}\n")
    sight, _ = play(ReplaySource(str(path)))
    assert sight.watch.stats.connections_total == 1
    assert sight.watch.active == set()
