"""Does a filter keep the contract? One script, played in all the ways that the network could play it.

A filter's own tests say what it does with bytes; this says that it does the same however the bytes arrive and whoever
stands beside it::

    from l4proxy.testing import check_filter

    def test_keeps_the_contract():
        check_filter(Shout, client=[b"hello"], upstream=[b"hi"], expect_upstream=b"HELLO", expect_client=b"hi")

What is held, beside the bytes: nothing raises; ``on_close`` comes once and last, however the connection ends; no task
outlives it; what waits for a peer that does not read is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from l4proxy.filter import Filter, NoConfig
from l4proxy.stream import READ_SIZE_MAX
from l4proxy.testing.harness import End, Harness, harness, use
from l4proxy.testing.script import WHOLE, SideName, Turn, Way, turns, ways
from l4proxy.testing.splits import difference, pieces
from l4proxy.timers import TICK

__all__ = ["check_filter"]

Use = tuple[type[Filter[Any]], Any, bool]

CALLBACKS = (
    "on_connect", "on_client_data", "on_upstream_data", "on_client_eof", "on_upstream_eof", "on_writable", "on_drain",
    "on_close",
)  # fmt: skip
SMALL_BUFFER = 4
"""Bytes at which a run with slow peers stops reading, so that a short script is long enough."""
FLOOD_BUFFER, FLOOD_CHUNK, FLOOD_CHUNKS = 4096, 16 * 1024, 100
CLOSING_SECONDS = 30.0
"""Longer than a closing connection waits for a peer."""


def check_filter(
    cls: type[Filter[Any]] | Use,
    *,
    client: Sequence[bytes] = (),
    upstream: Sequence[bytes] = (),
    expect_upstream: bytes | None = None,
    expect_client: bytes | None = None,
    half_close: bool = True,
    seconds: float = 0.0,
    rounds: int = 20,
    seed: int = 0,
    **options: Any,
) -> None:
    """Play a script through a filter in many ways. Raises AssertionError, which says in which way it went wrong.

    The ends speak in turns, the client first: ``client[0]``, ``upstream[0]``, ``client[1]`` ...; an end that has
    nothing to say in its turn says ``b""``. A turn comes in any number of chunks, but is over before the next one. In
    the end both sides end.

    ``expect_upstream`` and ``expect_client`` are what has to reach the ends (None: whatever reaches them when the turns
    come whole). ``half_close=False`` says that the filter may end the connection as soon as one side has ended.
    ``seconds`` pass after each turn, for filters that take their time. ``rounds`` splits are random, by ``seed``.
    ``options`` are the filter's; where one has such a name, give ``use(Cls, seed=1)`` for the class.
    """
    made = cls if isinstance(cls, tuple) else use(cls, **options)
    check = _Check(made, turns(client, upstream), seconds, seed)
    expected = check.play(WHOLE)
    check.same("upstream", expected.upstream if expect_upstream is None else expect_upstream, expected.upstream)
    check.same("client", expected.client if expect_client is None else expect_client, expected.client)
    for way in ways(seed, rounds, half_close=half_close):
        outcome = check.play(way)
        check.same("upstream", expected.upstream, outcome.upstream)
        check.same("client", expected.client, outcome.client)
        if outcome.closed != expected.closed:
            check.fail(f"it was closed as {outcome.closed!r}, but as {expected.closed!r} when the turns came whole")
    for name, end in _ENDINGS.items():
        check.play_until(name, end)
    check.flood("client")
    check.flood("upstream")


class _Outcome(NamedTuple):
    upstream: bytes
    client: bytes
    closed: str


class _Neighbour(Filter[NoConfig]):
    """Pauses at every chunk. The check resumes it."""

    name = "neighbour"

    def on_client_data(self, data: bytes) -> bytes:
        self.conn.pause()
        return data

    def on_upstream_data(self, data: bytes) -> bytes:
        self.conn.pause()
        return data


class _Check:
    """One filter and its script."""

    def __init__(self, made: Use, script: list[Turn], seconds: float, seed: int) -> None:
        if not script:
            raise ValueError("check_filter: a script needs bytes from the client or the upstream")
        self._cls, self._config, self._bypass = made
        self._script = script
        self._seconds = seconds
        self._seed = seed
        self._calls: list[str] = []
        self._story: list[str] = []
        """What has happened in this run, for who has to understand a failure."""

    def play(self, way: Way) -> _Outcome:
        """Play the whole script."""
        h = self._begin(way.name, way.neighbours, SMALL_BUFFER if way.slow else 64 * 1024)
        ends: dict[SideName, End] = {"client": h.client, "upstream": h.upstream}
        for at, (side, data) in enumerate(self._script):
            self._take_turn(h, ends[side], side, way.split(data), way)
            if side == way.ends_early and all(later.side != side for later in self._script[at + 1 :]):
                self._story.append(f"the {side} ended")
                ends.pop(side).eof()
        for end in ends.values():
            end.eof()
        self._pass_time(h)
        if h.closed is not None and not h.finished:
            h.advance(CLOSING_SECONDS)
        if not h.finished:
            self.fail("both ends have ended, but the connection did not")
        return self._ended(h)

    def _take_turn(self, h: Harness, end: End, side: SideName, chunks: list[bytes], way: Way) -> None:
        self._story.append(f"the {side} sent {pieces(chunks)}")
        for chunk in chunks:
            if way.slow is not None:
                for peer in (h.client, h.upstream):
                    peer.stop_reading(way.slow.randint(0, 3))
            end.send(chunk)
            self._settle(h)
        for peer in (h.client, h.upstream):
            peer.read_again()
        self._pass_time(h)

    def play_until(self, name: str, end: Callable[[Harness], object]) -> None:
        """Play half of the first turn, then let something happen."""
        h = self._begin(name)
        side, data = self._script[0]
        (h.client if side == "client" else h.upstream).send(data[: len(data) // 2 + 1])
        end(h)
        h.advance(CLOSING_SECONDS)
        if not h.finished:
            self.fail("the connection did not end")
        self._ended(h)

    def flood(self, side: SideName) -> None:
        """Let one end send and send while nobody reads."""
        data = b"".join(turn.data for turn in self._script if turn.side == side)
        if not data:
            return
        chunk = data * (FLOOD_CHUNK // len(data) + 1)
        burst = self._burst(side, chunk)
        bound = 2 * (FLOOD_BUFFER + READ_SIZE_MAX + burst)
        h = self._begin(f"the {side} sent its turns over and over while nobody read", buffer_limit=FLOOD_BUFFER)
        end, stream = (h.client, h.connection.client) if side == "client" else (h.upstream, h.connection.upstream)
        h.client.stop_reading()
        h.upstream.stop_reading()
        for _ in range(FLOOD_CHUNKS):
            end.send(chunk)
            held = sum(one.buffered for one in (h.connection.client, h.connection.upstream) if one is not None)
            if held > bound:
                self.fail(f"{held} bytes were held for peers that do not read; on_writable says when to stop sending")
        if stream.received * min(burst / len(chunk), 1) > bound:
            self.fail(f"{stream.received} bytes were read and kept in the filter: it must pause, or bound them")
        _end(h)

    def _burst(self, side: SideName, chunk: bytes) -> int:
        """How many bytes come out, both ways, when one chunk of a flood goes in and the stream ends."""
        h = self._begin("one chunk of a flood came")
        end = h.client if side == "client" else h.upstream
        end.send(chunk)
        end.eof()
        self._pass_time(h)
        _end(h)
        return len(h.client.received) + len(h.upstream.received)

    def _begin(self, name: str, neighbours: bool = False, buffer_limit: int = 64 * 1024) -> Harness:
        self._calls = []
        self._story = [f"when {name}:"]
        beside = [_Neighbour] if neighbours else []
        behind = [] if self._cls.terminal else beside
        watched = _watched(self._cls, self._calls), self._config, self._bypass
        h = harness(*beside, watched, *behind, buffer_limit=buffer_limit)
        h.advance(self._seconds)
        return h

    def _pass_time(self, h: Harness) -> None:
        self._settle(h)
        end = h.loop.now + self._seconds
        while h.loop.now < end:
            h.advance(TICK)
            self._settle(h)

    def _settle(self, h: Harness) -> None:
        """Resume the neighbours until nothing moves any more."""
        before = None
        while h.closed is None and before != (now := _moved(h)):
            before = now
            for one in h.filters:
                if isinstance(one, _Neighbour):
                    one.conn.resume()
            h.run()

    def _ended(self, h: Harness) -> _Outcome:
        """The connection is over. Let time pass: whoever is called now is called too late."""
        outcome = _Outcome(h.upstream.received, h.client.received, h.closed.detail if h.closed else "")
        h.client.send(b"late")
        h.upstream.send(b"late")
        h.advance(1)
        errors = sum(use.stats.errors_total for use in h.chain.filters)
        if errors:
            self.fail(f"it raised: {h.closed.message if h.closed and h.closed.message else 'see the log'}")
        if self._calls.count("on_close") != 1:
            self.fail(f"on_close was called {self._calls.count('on_close')} times")
        if late := self._calls[self._calls.index("on_close") + 1 :]:
            self.fail(f"called after on_close: {', '.join(late)}")
        if tasks := asyncio.all_tasks(h.loop):
            for task in tasks:
                task.cancel()
            h.run()
            self.fail(f"a task outlives the connection (start it with conn.spawn): {tasks.pop().get_coro()}")
        return outcome

    def same(self, side: SideName, expected: bytes, received: bytes) -> None:
        if expected != received:
            self.fail(f"other bytes reached the {side}:\n{difference(expected, received)}")

    def fail(self, problem: str) -> None:
        story = "\n  ".join(self._story)
        raise AssertionError(f"{self._cls.__name__}, {story}\n{problem}\n(seed={self._seed})")


def _drain(h: Harness) -> None:
    h.connection.drain()
    h.client.eof()
    h.upstream.eof()


def _reset_upstream(h: Harness) -> None:
    h.upstream.reset()
    h.client.reset()


_ENDINGS: dict[str, Callable[[Harness], object]] = {
    "the client reset the connection": lambda h: h.client.reset(),
    "the upstream reset the connection": _reset_upstream,
    "the server was draining": _drain,
}


def _end(h: Harness) -> None:
    """Leave no task behind that waits for something."""
    h.client.reset()
    h.upstream.reset()
    h.advance(CLOSING_SECONDS)


def _moved(h: Harness) -> object:
    """What changes as long as anything does."""
    connection = h.connection
    return connection.activity, connection.up.waiting(), connection.down.waiting(), h.client.got_eof, h.upstream.got_eof


def _watched(cls: type[Filter[Any]], calls: list[str]) -> type[Filter[Any]]:
    """The filter, writing down which of its callbacks are called."""

    def watch(name: str) -> Callable[..., Any]:
        callback = getattr(cls, name)

        def watched(self: Any, *arguments: Any) -> Any:
            calls.append(name)
            return callback(self, *arguments)

        return watched

    overridden = {name for name in CALLBACKS if getattr(cls, name) is not getattr(Filter, name)}
    return type(cls.__name__, (cls,), {name: watch(name) for name in overridden | {"on_close"}})
