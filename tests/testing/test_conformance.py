"""The conformance suite of filters: good ones pass, and each way of being bad is found and told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from l4proxy import CloseReason, ConfigError, Filter, NoConfig, Side
from l4proxy.plugins.echo import Echo
from l4proxy.testing import check_filter, use


class Shout(Filter[NoConfig]):
    name = "shout"

    def on_client_data(self, data: bytes) -> bytes:
        return data.upper()


class Lines(Filter[NoConfig]):
    """Sends whole lines only, and keeps a few bytes to do so."""

    name = "lines"

    def __init__(self) -> None:
        self.kept = b""

    def on_client_data(self, data: bytes) -> bytes:
        lines, _, self.kept = (self.kept + data).rpartition(b"\n")
        return lines + b"\n" if lines else b""

    def on_client_eof(self) -> None:
        self.conn.send_upstream(self.kept)


@dataclass(frozen=True, slots=True)
class DelayConfig:
    seconds: float = 1.0


class Delay(Filter[DelayConfig]):
    name = "delay"

    def on_client_data(self, data: bytes) -> bytes:
        self.conn.pause(Side.CLIENT)
        self.conn.call_later(self.config.seconds, lambda: self.conn.resume(Side.CLIENT))
        return data


class Watch(Filter[NoConfig]):
    name = "watch"
    observer = True

    def on_client_data(self, data: bytes) -> None:
        pass


class Asks(Filter[NoConfig]):
    name = "asks"

    async def on_connect(self) -> None:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("cls", [Shout, Lines, Watch])
def test_good_filters_pass(cls: type[Filter[Any]]) -> None:
    expected = b"HELLO\nWORLD\n!" if cls is Shout else b"hello\nworld\n!"
    check_filter(
        cls,
        client=[b"hello\nworld\n", b"!"],
        upstream=[b"hi", b"bye"],
        expect_upstream=expected,
        expect_client=b"hibye",
    )


def test_a_terminal_filter_has_no_upstream() -> None:
    check_filter(Echo, client=[b"hello"], expect_client=b"hello")


def test_filters_that_take_their_time() -> None:
    check_filter(use(Delay, seconds=0.5), client=[b"abc"], upstream=[b"x"], expect_upstream=b"abc", seconds=3)


def test_an_async_on_connect() -> None:
    check_filter(Asks, client=[b"abc"], expect_upstream=b"abc", seconds=0.2)


def test_a_script_is_needed() -> None:
    with pytest.raises(ValueError, match="a script needs bytes"):
        check_filter(Shout)


def test_turns_are_in_order_and_may_be_empty() -> None:
    class Answers(Filter[NoConfig]):
        """Says after each word of the upstream what the client has said so far."""

        name = "answers"

        def __init__(self) -> None:
            self.said = b""

        def on_client_data(self, data: bytes) -> bytes:
            self.said += data
            return data

        def on_upstream_data(self, data: bytes) -> bytes:
            return data.replace(b".", b"<" + self.said + b">")

        def on_upstream_eof(self) -> None:
            self.said = b""

    check_filter(
        Answers, client=[b"a", b"b", b"c"], upstream=[b"", b"1.", b"2."], expect_client=b"1<ab>2<abc>", half_close=False
    )


def bad(cls: type[Filter[Any]], **arguments: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check_filter(cls, client=[b"hello world"], upstream=[b"hi"], **arguments)
    return str(caught.value)


def test_other_bytes_than_expected() -> None:
    assert bad(Shout, expect_upstream=b"HELLO WORLD!") == (
        "Shout, when the turns came whole:\n"
        "  the client sent 1 chunks (11 bytes)\n"
        "  the upstream sent 1 chunks (2 bytes)\n"
        "other bytes reached the upstream:\n"
        "  expected 12 bytes, b'HELLO WORLD!'\n"
        "  received 11 bytes, b'HELLO WORLD'\n"
        "(seed=0)"
    )


class Title(Filter[NoConfig]):
    name = "title"

    def on_client_data(self, data: bytes) -> bytes:
        return data.title()


def test_chunk_borders_that_mean_something() -> None:
    story = bad(Title)
    assert "when the turns came byte by byte:" in story
    assert "received 11 bytes, b'HELLO WORLD'" in story


def test_what_only_a_random_split_finds_comes_back_with_the_seed() -> None:
    class Rare(Filter[NoConfig]):
        name = "rare"

        def on_client_data(self, data: bytes) -> bytes:
            return b"" if len(data) == 5 else data

    story = bad(Rare, seed=7)
    assert "in random pieces (" in story
    assert story.endswith("(seed=7)")
    assert bad(Rare, seed=7) == story


def test_ending_the_connection_with_one_side() -> None:
    class Hasty(Filter[NoConfig]):
        name = "hasty"

        def on_client_eof(self) -> None:
            self.conn.close("enough")

    assert "when the client ended early" in bad(Hasty)
    check_filter(Hasty, client=[b"hello world"], upstream=[b"hi"], half_close=False)


def test_waiting_for_a_slow_reader_for_ever() -> None:
    class Waits(Filter[NoConfig]):
        name = "waits"

        def on_writable(self, side: Side, writable: bool) -> None:
            if not writable:
                self.conn.pause()

    assert "when both ends read slowly" in bad(Waits)


def test_keeping_everything() -> None:
    class Keeps(Filter[NoConfig]):
        name = "keeps"
        kept = b""

        def on_client_data(self, data: bytes) -> None:
            self.kept += data

        def on_client_eof(self) -> None:
            self.conn.send_upstream(self.kept)

    assert "bytes were read and kept in the filter" in bad(Keeps)


def test_sending_without_a_look_whether_anybody_reads() -> None:
    class Doubles(Filter[NoConfig]):
        name = "doubles"

        def on_client_data(self, data: bytes) -> None:
            self.conn.send_client(data)

    assert "bytes were held for peers that do not read; on_writable says when to stop" in bad(Doubles)


def test_never_ending() -> None:
    class Stuck(Filter[NoConfig]):
        name = "stuck"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.pause()
            return data

    assert "both ends have ended, but the connection did not" in bad(Stuck)


@pytest.mark.parametrize("callback", ["on_client_data", "on_drain", "on_close"])
def test_raising(callback: str) -> None:
    class Raises(Filter[NoConfig]):
        name = "raises"

    def fail(self: Filter[NoConfig], *_: object) -> None:
        raise RuntimeError("boom")

    setattr(Raises, callback, fail)
    assert "it raised: " in bad(Raises)


def test_tasks_of_its_own() -> None:
    class Leaks(Filter[NoConfig]):
        name = "leaks"

        async def on_connect(self) -> None:
            self.task = asyncio.get_running_loop().create_task(self.wait())

        async def wait(self) -> None:
            await asyncio.Event().wait()

    assert "a task outlives the connection (start it with conn.spawn): <coroutine object" in bad(Leaks)


def test_being_called_late() -> None:
    class Late(Filter[NoConfig]):
        name = "late"

        def on_client_data(self, data: bytes) -> bytes:
            return data

        def on_close(self, reason: CloseReason) -> None:
            self.on_client_data(b"")

    assert "called after on_close: on_client_data" in bad(Late)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"delay.secs: unknown key \(did you mean 'seconds'\?\)"):
        check_filter(Delay, client=[b"ab"], secs=1)
