from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from clusters import run
from l4proxy import ConfigError
from l4proxy.plugins.bandwidth_limit import BandwidthLimit
from l4proxy.plugins.direct_response import PIECE, DirectResponse
from l4proxy.testing import Harness, check_filter, harness, use
from proxying import exchange, proxy


def detail(h: Harness) -> str:
    return h.closed.detail if h.closed else ""


def test_it_answers_at_once_and_closes() -> None:
    h = harness(DirectResponse, text="sorry\n")
    assert h.client.received == b"sorry\n"
    assert h.client.got_eof
    assert (h.closed and str(h.closed)) == "filter:direct_response:direct_response phase=on_connect"


def test_the_connection_stays_until_the_client_has_ended() -> None:
    h = harness(DirectResponse, text="sorry\n")
    h.client.send(b"GET / HTTP/1.1\r\n", b"\r\n")
    assert not h.finished
    h.client.eof()
    assert (h.client.closed, h.client.got_reset) == (True, False)


def test_a_client_that_does_not_end_is_left_after_a_moment() -> None:
    h = harness(DirectResponse, text="sorry\n")
    h.advance(2)
    assert h.client.closed


def test_after_data_it_waits_for_the_first_byte() -> None:
    h = harness(DirectResponse, text="-ERR\r\n", after="data")
    assert h.client.received == b""
    h.client.send(b"P", b"ING\r\n")
    assert h.client.received == b"-ERR\r\n"


def test_a_client_that_ends_without_a_word_gets_nothing() -> None:
    h = harness(DirectResponse, text="-ERR\r\n", after="data")
    h.client.eof()
    assert h.client.received == b""
    assert h.closed is not None
    assert (h.closed.who, h.closed.detail) == ("client", "eof")


def test_a_client_that_says_nothing_is_disconnected() -> None:
    h = harness(DirectResponse, text="-ERR\r\n", after="data", timeout="5s")
    h.advance(4.9)
    assert detail(h) == ""
    h.advance(0.5)
    assert detail(h) == "response_timeout"
    assert not h.client.got_reset


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 5 * PIECE + 3])
def test_a_slow_client_gets_it_piece_by_piece(size: int, tmp_path: Path) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "body").write_bytes(body[:size])
    h = harness(DirectResponse, file=str(tmp_path / "body"), after="data")
    h.client.stop_reading()
    h.client.send(b"x")
    while len(h.client.received) < size:
        assert h.connection.client.buffered <= 2 * PIECE
        h.client.stop_reading(room=PIECE // 3)
        h.poller.happened(h.client.sock)
        h.run()
    h.client.eof()
    assert h.client.received == body[:size]
    assert h.client.closed
    assert not h.client.got_reset


def test_a_client_that_never_takes_it_is_reset() -> None:
    h = harness(DirectResponse, text="x" * 10 * PIECE, after="data")
    h.client.stop_reading(room=100)
    h.client.send(b"x")
    h.advance(62)
    assert detail(h) == "response_timeout"
    assert h.client.got_reset


def test_a_client_that_resets() -> None:
    h = harness(DirectResponse, text="x" * 10 * PIECE, after="data")
    h.client.stop_reading(room=100)
    h.client.send(b"x")
    h.client.reset()
    assert h.finished


@pytest.mark.parametrize("after", ["connect", "data"])
def test_keeps_the_contract(after: str) -> None:
    check_filter(
        DirectResponse, client=[b"hello", b"?"], expect_client=b"sorry", half_close=False, text="sorry", after=after
    )


def test_what_a_filter_before_it_holds_arrives_too() -> None:
    h = harness(use(BandwidthLimit, download="1KiB/s"), use(DirectResponse, text="x" * 2000))
    assert len(h.client.received) == 256
    h.advance(1)
    assert detail(h) == ""
    h.advance(2)
    assert h.client.received == b"x" * 2000
    assert detail(h) == "direct_response"


def test_it_counts() -> None:
    h = harness(DirectResponse, text="sorry\n", after="data", name="down")
    h.another().client.send(b"x")
    stats = h.server.uses[0].shared.stats
    assert (stats.responses_total, stats.completed_total, stats.label_values) == (1, 1, ("down",))


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "text: write text, base64 or file"),
        ({"text": "a", "base64": "YQ=="}, "base64: not beside text"),
        ({"base64": "not base64"}, "base64: "),
        ({"text": "a", "timeout": 0}, "timeout: 0s is out of range"),
    ],
)
def test_wrong_options(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=f"direct_response.*{cause}"):
        harness(DirectResponse, **options)


def test_a_file_that_cannot_be_read_or_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file: cannot read .*: No such file"):
        harness(DirectResponse, file=str(tmp_path / "none"))
    with (tmp_path / "large").open("wb") as large:
        large.truncate((16 << 20) + 1)
    with pytest.raises(ValueError, match="larger than 16 MiB"):
        harness(DirectResponse, file=str(tmp_path / "large"))


def test_a_real_client_gets_all_of_it_whatever_it_sends() -> None:
    body = bytes(range(256)) * 40_000

    async def main() -> None:
        encoded = base64.b64encode(body).decode()
        async with proxy({"use": "direct_response", "base64": encoded}) as running:
            assert await exchange(running.port) == body
            assert await exchange(running.port, b"y" * 100_000, ends=False) == body

    run(main)
