"""The filter chain at work, through the harness: order, pauses, injection, ends, errors, observers."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from l4proxy import CloseReason, Filter, NoConfig, Side, splice
from l4proxy.testing import Harness, harness, use
from l4proxy.testing.memory import MemorySocket
from l4proxy.testing.proxy import StartProxy


class Tag(Filter[NoConfig]):
    """Marks what passes, so that the order is seen."""

    name = "tag"
    mark = b"a"

    def on_client_data(self, data: bytes) -> bytes:
        return data + self.mark

    def on_upstream_data(self, data: bytes) -> bytes:
        return data + self.mark


class TagB(Tag):
    name = "tag_b"
    mark = b"b"


class Log(Filter[NoConfig]):
    """Writes down everything that happens to it."""

    name = "log"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_connect(self) -> None:
        self.seen.append("connect")

    def on_client_data(self, data: bytes) -> bytes:
        self.seen.append(("client", data))
        return data

    def on_upstream_data(self, data: bytes) -> bytes:
        self.seen.append(("upstream", data))
        return data

    def on_client_eof(self) -> None:
        self.seen.append("client eof")

    def on_upstream_eof(self) -> None:
        self.seen.append("upstream eof")

    def on_close(self, reason: CloseReason) -> None:
        self.seen.append(reason.detail)


def log_of(h: Harness) -> list[Any]:
    return next(f for f in h.filters if isinstance(f, Log)).seen


def test_client_bytes_run_first_to_last_and_upstream_bytes_last_to_first() -> None:
    h = harness(Tag, TagB)
    h.client.send(b"1")
    h.upstream.send(b"2")
    assert h.upstream.received == b"1ab"
    assert h.client.received == b"2ba"


def test_a_chain_without_readers_is_wired_straight_through() -> None:
    h = harness()
    h.client.send(b"1")
    assert h.connection.client.on_data == h.connection.upstream.write
    assert h.upstream.received == b"1"


def test_early_data_waits_for_the_upstream_in_order() -> None:
    h = harness(Tag, connect=False)
    h.client.send(b"1", b"2")
    h.client.eof()
    assert h.upstream.received == b""
    h.connect_upstream()
    assert h.upstream.received == b"1a2a"
    assert h.upstream.got_eof


def test_early_data_is_bounded_by_not_reading() -> None:
    h = harness(connect=False, buffer_limit=1024)
    h.client.send(*[b"x" * 512] * 100)
    assert h.connection.client.received <= 1024 + 512 + 16 * 1024
    assert not h.connection.client.reading
    h.connect_upstream()
    assert h.upstream.received == b"x" * 51200


class Hold(Filter[NoConfig]):
    """Pauses itself at ``p`` and is resumed from outside."""

    name = "hold"

    def on_client_data(self, data: bytes) -> bytes:
        if data == b"p":
            self.conn.pause(Side.CLIENT)
        return data


def test_a_pause_takes_effect_at_the_next_chunk() -> None:
    h = harness(Tag, Hold, TagB)
    hold = h.filters[1]
    hold.conn.pause(Side.CLIENT)
    h.client.send(b"1")
    h.client.send(b"2")
    h.client.eof()
    assert h.upstream.received == b""
    assert h.connection.client.received == 0, "a paused side is not read"
    hold.conn.resume()
    h.run()
    assert h.upstream.received == b"1ab2ab"
    assert h.upstream.got_eof


def test_what_is_injected_in_front_of_a_paused_filter_waits_with_the_rest() -> None:
    h = harness(Tag, Hold, TagB)
    tag, hold, _, _ = h.filters
    hold.conn.pause(Side.CLIENT)
    tag.conn.send_upstream(b"1")
    tag.conn.send_upstream(b"2")
    hold.conn.send_upstream(b"x")
    assert h.upstream.received == b"xb", "a filter's own injection does not wait in front of itself"
    hold.conn.resume(Side.CLIENT)
    assert h.upstream.received == b"xb1b2b"


def test_a_filter_that_pauses_again_while_its_queue_is_delivered() -> None:
    h = harness(Tag, Hold)
    hold = h.filters[1]
    hold.conn.pause(Side.CLIENT)
    for chunk in (b"1", b"p", b"2"):
        h.connection.up.inject(0, chunk)
    hold.conn.resume(Side.CLIENT)
    assert h.upstream.received == b"1p"
    hold.conn.resume(Side.CLIENT)
    assert h.upstream.received == b"1p2"


def test_an_inline_resume_is_harmless() -> None:
    class Inline(Filter[NoConfig]):
        name = "inline"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.pause()
            self.conn.resume()
            return data

    h = harness(Inline, Tag)
    h.client.send(b"1", b"2")
    h.upstream.send(b"3")
    assert h.upstream.received == b"1a2a"
    assert h.client.received == b"3a"


def test_two_filters_paused_at_once_release_in_order() -> None:
    h = harness(Hold, Tag, use(Hold))
    first, _, second, _ = h.filters
    second.conn.pause(Side.CLIENT)
    h.connection.up.inject(1, b"x")
    first.conn.pause(Side.CLIENT)
    h.client.send(b"1")
    first.conn.resume()
    h.run()
    assert h.upstream.received == b""
    second.conn.resume()
    h.run()
    assert h.upstream.received == b"x1a"


def test_too_much_in_front_of_a_paused_filter_closes_as_overflow() -> None:
    h = harness(Tag, Hold, buffer_limit=1024)
    tag, hold, _ = h.filters
    hold.conn.pause(Side.CLIENT)
    for _ in range(400):
        tag.conn.send_upstream(b"x" * 1024)
    h.run()
    assert h.closed is not None
    assert h.closed.detail == "overflow"


def test_injection_is_seen_only_further_along() -> None:
    class Both(Filter[NoConfig]):
        name = "both"

        def on_client_data(self, data: bytes) -> bytes | None:
            self.conn.send_upstream(b"up;")
            self.conn.send_client(b"down;")
            return data

    h = harness(Tag, Both, TagB)
    h.client.send(b"1")
    assert h.upstream.received == b"up;b" + b"1ab"
    assert h.client.received == b"down;a"


def test_half_close_both_ways_is_a_clean_end() -> None:
    h = harness(Log)
    seen = log_of(h)
    h.client.send(b"1")
    h.client.eof()
    assert (h.upstream.got_eof, h.closed) == (True, None)
    h.upstream.send(b"2")
    h.upstream.eof()
    assert h.closed == CloseReason("client", "relay", "eof")
    assert seen == ["connect", ("client", b"1"), "client eof", ("upstream", b"2"), "upstream eof", "eof"]
    assert h.client.closed
    assert h.upstream.closed


def test_kept_bytes_can_leave_at_the_end() -> None:
    class Keep(Filter[NoConfig]):
        name = "keep"

        def __init__(self) -> None:
            self.kept = b""

        def on_client_data(self, data: bytes) -> None:
            self.kept += data

        def on_client_eof(self) -> None:
            self.conn.send_upstream(self.kept)

    h = harness(Keep, Tag)
    h.client.send(b"1", b"2")
    h.client.eof()
    assert h.upstream.received == b"12a"
    assert h.upstream.got_eof


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_reset_ends_both_sides_as_one(side: str) -> None:
    h = harness(Log)
    seen = log_of(h)
    getattr(h, side).reset()
    assert h.closed is not None
    assert (h.closed.who, h.closed.detail, h.closed.errno) == (side, "reset", 104)
    assert h.client.closed
    assert h.upstream.closed
    assert (h.upstream if side == "client" else h.client).got_reset, "a broken transfer must not look complete"
    assert seen[-1] == "reset"


def test_bytes_from_an_upstream_that_resets_still_reach_a_slow_client() -> None:
    h = harness()
    h.client.stop_reading()
    h.upstream.send(b"x" * 1000)
    h.upstream.reset()
    assert (h.finished, h.client.got_reset) == (False, False)
    h.client.read_again()
    assert h.client.received == b"x" * 1000
    assert h.finished
    assert h.client.got_reset


def test_a_slow_reader_stops_its_writer_and_bounds_what_is_held() -> None:
    h = harness(buffer_limit=4096)
    h.client.stop_reading()
    h.upstream.send(*[b"y" * 4096] * 64)
    assert h.connection.upstream.received <= 3 * 4096
    assert h.connection.client.buffered <= 3 * 4096
    h.client.read_again()
    assert h.client.received == b"y" * 4096 * 64


def test_an_error_closes_this_connection_with_the_filters_name() -> None:
    class Broken(Log):
        name = "broken"

        def on_client_data(self, data: bytes) -> bytes:
            raise RuntimeError("boom")

    h = harness(Broken, Log)
    seen = log_of(h)
    h.client.send(b"1")
    assert h.closed is not None
    assert (h.closed.who, h.closed.detail, h.closed.filter) == ("filter", "filter_error", "broken")
    assert "boom" in h.closed.message
    assert seen[-1] == "filter_error"
    assert h.chain.filters[0].stats.errors_total == 1


def test_on_error_bypass_lets_the_chunk_and_the_rest_pass() -> None:
    class Broken(Filter[NoConfig]):
        name = "broken"

        def on_client_data(self, data: bytes) -> bytes:
            raise RuntimeError("boom")

    h = harness(Tag, use(Broken, on_error="bypass"), TagB)
    h.client.send(b"1", b"2")
    assert h.upstream.received == b"1ab2ab"
    assert h.chain.filters[1].stats.errors_total == 1
    assert h.chain.filters[1].stats.bypassed_total == 1


def test_a_failing_observer_never_touches_the_traffic() -> None:
    class Watch(Filter[NoConfig]):
        name = "watch"
        observer = True

        def on_client_data(self, data: bytes) -> bytes | None:
            raise RuntimeError("boom")

    h = harness(Watch, Tag)
    h.client.send(b"1", b"2")
    assert h.upstream.received == b"1a2a"
    assert h.chain.filters[0].stats.errors_total == 1


def test_an_observer_sees_bytes_after_they_were_written_and_from_its_own_place() -> None:
    class Watch(Filter[NoConfig]):
        name = "watch"
        observer = True

        def __init__(self) -> None:
            self.seen: list[tuple[bytes, bytes]] = []

        def on_client_data(self, data: bytes) -> None:
            self.seen.append((data, h.upstream.received))

    h = harness(Tag, Watch, TagB)
    watch = h.filters[1]
    h.client.send(b"1", b"2")
    assert watch.seen == [(b"1a", b"1ab"), (b"2a", b"1ab2ab")]  # type: ignore[attr-defined]


def test_an_observer_misses_nothing_when_a_filter_behind_it_pauses_and_resumes() -> None:
    class Watch(Filter[NoConfig]):
        name = "watch"
        observer = True

        def __init__(self) -> None:
            self.seen = b""

        def on_client_data(self, data: bytes) -> None:
            self.seen += data

    h = harness(Watch, Hold)
    watch, hold, _ = h.filters
    h.client.send(b"p", b"1")
    assert watch.seen == b"p"  # type: ignore[attr-defined]
    hold.conn.resume()
    h.run()
    assert h.upstream.received == watch.seen == b"p1"  # type: ignore[attr-defined]


def test_detach_takes_a_filter_out_and_its_on_close_still_comes() -> None:
    class Once(Log):
        name = "once"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.detach()
            return super().on_client_data(data)

    h = harness(Once)
    seen = h.filters[0].seen  # type: ignore[attr-defined]
    h.client.send(b"1", b"2")
    h.upstream.send(b"3")
    assert h.upstream.received == b"12"
    assert h.connection.client.on_data == h.connection.upstream.write
    h.client.eof()
    h.upstream.eof()
    assert seen == ["connect", ("client", b"1"), "eof"]


def test_the_first_reason_wins_and_nothing_is_called_after_on_close() -> None:
    class Closes(Log):
        name = "closes"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.send_client(b"bye")
            self.conn.close("enough")
            self.conn.close("again")
            self.conn.send_client(b"late")
            return data

    h = harness(Closes, Log)
    first, second, _ = h.filters
    h.client.send(b"1")
    h.client.send(b"2")
    h.upstream.send(b"3")
    h.client.eof()
    assert h.closed == CloseReason("filter", "relay", "enough", "closes")
    assert h.client.received == b"bye"
    assert h.client.got_eof
    assert h.finished, "the client ended its side too"
    for seen in (first.seen, second.seen):  # type: ignore[attr-defined]
        assert seen[-1] == "enough"
        assert seen.count("enough") == 1


def test_async_on_connect_holds_the_clients_bytes_and_the_next_filters() -> None:
    import asyncio

    class Ask(Filter[NoConfig]):
        name = "ask"

        async def on_connect(self) -> None:
            await asyncio.sleep(5)

    h = harness(Ask, Log)
    seen = log_of(h)
    h.client.send(b"1")
    assert seen == []
    assert h.connection.client.received == 0
    h.advance(5.2)
    assert seen == ["connect", ("client", b"1")]
    assert h.upstream.received == b"1"


def test_a_client_that_leaves_during_on_connect_cancels_it() -> None:
    import asyncio

    cancelled = []

    class Ask(Filter[NoConfig]):
        name = "ask"

        async def on_connect(self) -> None:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    h = harness(Ask)
    h.client.reset()
    assert h.closed is not None
    assert h.closed.phase == "on_connect"
    h.run()
    assert cancelled == [True]


def test_a_spawned_coroutine_that_fails_closes_the_connection() -> None:
    class Spawns(Filter[NoConfig]):
        name = "spawns"

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.spawn(self.fail())
            return data

        async def fail(self) -> None:
            raise LookupError("nobody there")

    h = harness(Spawns)
    h.client.send(b"1")
    assert h.closed is not None
    assert h.closed.detail == "filter_error"


def test_timers_of_a_connection_stop_with_it() -> None:
    fired = []

    class Later(Filter[NoConfig]):
        name = "later"

        def on_connect(self) -> None:
            self.conn.call_later(1.0, lambda: fired.append(1))
            self.conn.call_later(10.0, lambda: fired.append(2))

    h = harness(Later)
    h.advance(1.2)
    assert fired == [1]
    h.client.reset()
    h.advance(20)
    assert fired == [1]


def test_choose_upstream_before_and_after_the_connection() -> None:
    class Choose(Filter[NoConfig]):
        name = "choose"

        def on_connect(self) -> None:
            self.conn.choose_upstream("blue")

        def on_client_data(self, data: bytes) -> bytes:
            self.conn.choose_upstream("green")
            return data

    h = harness(Choose)
    assert h.connection.cluster == "blue"
    h.client.send(b"1")
    assert h.closed is not None
    assert "choose_upstream" in h.closed.message


def test_memory_sockets_keep_bytes_that_did_not_fit_a_read() -> None:
    sock = MemorySocket()
    sock.arrived.append(b"abc")
    assert [sock.recv(2), sock.recv(2)] == [b"ab", b"c"]


class Answer(Filter[NoConfig]):
    """Terminal: answers and is done."""

    name = "answer"
    terminal = True

    def on_client_data(self, data: bytes) -> None:
        if data == b"question":
            self.conn.send_client(b"answer")
            self.conn.finish("answered")
            self.conn.finish("again")


def test_finish_waits_for_what_filters_hold() -> None:
    h = harness(Log, Hold, Answer)
    hold = h.filters[1]
    hold.conn.pause(Side.UPSTREAM)
    h.client.send(b"question", b"more")
    assert (h.client.received, h.closed) == (b"", None)
    hold.conn.resume(Side.UPSTREAM)
    h.run()
    assert h.client.received == b"answer"
    assert log_of(h)[:5] == [
        "connect",
        ("client", b"question"),
        ("client", b"more"),
        ("upstream", b"answer"),
        "upstream eof",
    ]
    assert h.closed == CloseReason("filter", "relay", "answered", "answer")
    h.client.eof()
    assert h.finished


def test_finish_without_anything_held_is_close() -> None:
    h = harness(Answer)
    h.client.send(b"question")
    assert h.client.received == b"answer"
    assert h.closed == CloseReason("filter", "relay", "answered", "answer")


# What an observer has no need of

SKIPPED = 1_000_000


class Skipper(Filter[NoConfig]):
    """Wants to see the first bytes of every million."""

    name = "skipper"
    observer = True
    shown = 0
    skips = 0

    def on_client_data(self, data: bytes) -> None:
        self._look(Side.CLIENT, data)

    def on_upstream_data(self, data: bytes) -> None:
        self._look(Side.UPSTREAM, data)

    def _look(self, side: Side, data: bytes) -> None:
        type(self).shown += len(data)
        type(self).skips += self.conn.skip(side, SKIPPED)


@pytest.fixture
def skipper() -> type[Skipper]:
    """One that counts anew."""
    return type("Skipper", (Skipper,), {"shown": 0, "skips": 0})


def there_and_back(proxy: StartProxy, *filters: Any, pause: float = 0.0, size: int = 8_000_000) -> None:
    """Through an echo, and nothing is changed."""
    data = random.Random(1).randbytes(size)
    with proxy(*filters).connect() as client:
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        received = bytearray()
        while len(received) < size:
            received += client.receive(min(size - len(received), 300_000))
            time.sleep(pause)
        sender.join()
        assert received == data


@pytest.mark.skipif(not splice.AVAILABLE, reason="os.splice is missing")
@pytest.mark.parametrize("pause", [0.0, 0.002])
def test_the_kernel_moves_what_an_observer_has_no_need_of(
    proxy: StartProxy, skipper: type[Skipper], pause: float
) -> None:
    there_and_back(proxy, skipper, pause=pause)
    assert skipper.skips >= 8
    assert skipper.shown <= 16_000_000 - (skipper.skips - 2) * SKIPPED


def test_two_observers_are_shown_everything(proxy: StartProxy, skipper: type[Skipper]) -> None:
    there_and_back(proxy, skipper, Watcher)
    assert skipper.skips == 0
    assert skipper.shown == 16_000_000


def test_a_reader_beside_an_observer_reads_everything(proxy: StartProxy, skipper: type[Skipper]) -> None:
    there_and_back(proxy, Identity, skipper)
    assert skipper.shown == 16_000_000


def test_few_bytes_are_not_worth_it() -> None:
    h = harness(Skipper)
    assert not h.connection.up.skip(0, 1000)
    assert not h.connection.up.skip(1, 1_000_000), "it is another filter's place"


class Watcher(Filter[NoConfig]):
    name = "watcher"
    observer = True

    def on_client_data(self, data: bytes) -> None:
        pass

    def on_upstream_data(self, data: bytes) -> None:
        pass


class Identity(Filter[NoConfig]):
    name = "identity"

    def on_client_data(self, data: bytes) -> bytes:
        return data

    def on_upstream_data(self, data: bytes) -> bytes:
        return data
