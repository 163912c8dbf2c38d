"""The conformance suites of codecs and matchers: good ones pass, each way of being bad is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from l4proxy import Matcher, PeekInfo
from l4proxy.codec import RemoteProtocolError
from l4proxy.testing import check_codec, check_matcher


@dataclass(frozen=True, slots=True)
class Line:
    text: bytes
    raw: bytes = b""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Line) and self.text == other.text


class LineCodec:
    """Lines that end in LF; a NUL byte is against the protocol."""

    name: ClassVar[str] = "lines"

    def __init__(self) -> None:
        self.kept = b""

    def receive_data(self, data: bytes) -> list[Line]:
        if b"\0" in data:
            raise RemoteProtocolError("NUL", code="nul")
        *lines, self.kept = (self.kept + data).split(b"\n")
        return [Line(line.strip(), line + b"\n") for line in lines]

    def send(self, event: Line) -> bytes:
        return event.raw

    def leftover(self) -> bytes:
        return self.kept


CASES = [(b"a\nbc \n", [Line(b"a"), Line(b"bc")]), (b"\n", [Line(b"")])]


def test_a_good_codec_passes() -> None:
    check_codec(LineCodec, CASES, bad=[b"a\0"])


def test_events_whose_borders_follow_the_chunks_are_merged() -> None:
    class Pieces(LineCodec):
        def receive_data(self, data: bytes) -> list[Line]:
            return [Line(data, data)]

        def leftover(self) -> bytes:
            return b""

    def merge(events: list[Line]) -> list[Line]:
        return [Line(b"".join(event.text for event in events)[:3])]

    check_codec(Pieces, [(b"abc", [Line(b"abc")])], merge=merge)
    with pytest.raises(AssertionError, match="fed byte by byte: 3 chunks"):
        check_codec(Pieces, [(b"abc", [Line(b"abc")])])


def test_other_events() -> None:
    with pytest.raises(AssertionError, match=r"(?s)fed whole.*expected \[Line\(text=b'b'.*received \[Line\(text=b'a'"):
        check_codec(LineCodec, [(b"a\n", [Line(b"b")])])


def test_bytes_that_are_not_the_ones_that_were_read() -> None:
    class Tidies(LineCodec):
        def send(self, event: Line) -> bytes:
            return event.text + b"\n"

    with pytest.raises(AssertionError, match=r"(?s)sent on and left over are other bytes.*b'bc \\n'.*b'bc\\n'"):
        check_codec(Tidies, [(b"bc \n", [Line(b"bc")])])


def test_a_beginning_that_is_taken_for_the_whole() -> None:
    class Eager(LineCodec):
        def receive_data(self, data: bytes) -> list[Line]:
            events = super().receive_data(data)
            kept, self.kept = self.kept, b""
            return [*events, Line(kept, kept)] if kept else events

    with pytest.raises(AssertionError, match="fed byte by byte"):
        check_codec(Eager, [(b"ab\n", [Line(b"ab")])])


def test_a_loss_that_only_trailing_bytes_show() -> None:
    class Forgets(LineCodec):
        def receive_data(self, data: bytes) -> list[Line]:
            events = super().receive_data(data)
            if events:
                self.kept = b""
            return events

    with pytest.raises(AssertionError, match="with its own first 1 bytes behind it"):
        check_codec(Forgets, [(b"ab\n", [Line(b"ab")])])


def test_bad_bytes_that_are_taken() -> None:
    with pytest.raises(AssertionError, match=r"b'fine\\n', fed whole: no RemoteProtocolError"):
        check_codec(LineCodec, [], bad=[b"fine\n"])


def test_a_code_that_depends_on_the_split() -> None:
    class Fickle(LineCodec):
        def receive_data(self, data: bytes) -> list[Line]:
            raise RemoteProtocolError("no", code="short" if len(data) == 1 else "long")

    with pytest.raises(AssertionError, match="fed byte by byte: short, but long when whole"):
        check_codec(Fickle, [], bad=[b"ab"])


class Hello(Matcher[bool]):
    name = "hello"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return None if b"HELLO".startswith(peek) and peek != b"HELLO" else peek.startswith(b"HELLO")


def matcher(match: Any) -> Any:
    made = type("Bad", (Hello,), {"match": match})
    return lambda: made(True)


def test_a_good_matcher_passes() -> None:
    check_matcher(lambda: Hello(True), yes=[b"HELLO", b"HELLO world"], no=[b"HELP", b"x"])


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        (lambda self, peek, info: len(peek) > 3, r"b'': False, but b'HELLO' is to be True"),
        (lambda self, peek, info: None, r"b'HELLO': None, but b'HELLO' is to be True"),
        (lambda self, peek, info: True if len(peek) in (2, 5) or len(peek) > 5 else None, "not decided any more"),
        (lambda self, peek, info: True if len(peek) == 5 else None, "None, but b'HELLO' is to be True"),
    ],
)
def test_bad_matchers(match: Any, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        check_matcher(matcher(match), yes=[b"HELLO"])


def test_a_matcher_that_remembers() -> None:
    class Counts(Hello):
        asked = 0

        def match(self, peek: bytes, info: PeekInfo) -> bool | None:
            self.asked += 1
            return True if self.asked > 4 else None

    with pytest.raises(AssertionError, match=r"b'HELL': True after the shorter ones, None by a new matcher"):
        check_matcher(lambda: Counts(True), yes=[b"HELLO"])


def test_a_matcher_that_takes_what_it_must_not() -> None:
    with pytest.raises(AssertionError, match=r"b'HELLO': True, but b'HELLO' is to be False"):
        check_matcher(lambda: Hello(True), yes=[], no=[b"HELLO"])
