"""Pollers, in the event loop of the command line and nested in others: asyncio goes on working beside them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from clusters import run, until
from l4proxy.poller import (
    EDGE,
    FLUSH_AFTER,
    PEER_ENDED,
    READ,
    WRITE,
    NestedPoller,
    Poller,
    PollerSelector,
    new_event_loop,
    poller_of,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def selector() -> Iterator[PollerSelector]:
    selector = PollerSelector()
    yield selector
    selector.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


def turn(poller: Poller) -> None:
    poller.dispatch(poller.epoll.poll(0))


# A poller by itself


def test_a_callback_gets_the_events_that_were_asked_for(poller: Poller, pair: Pair) -> None:
    one, other = pair
    masks: list[int] = []
    poller.register(one.fileno(), WRITE, masks.append)
    turn(poller)
    poller.change(one.fileno(), READ)
    turn(poller)
    assert masks == [WRITE]
    other.send(b"x")
    poller.replace(one.fileno(), READ, lambda mask: masks.append(-mask))
    turn(poller)
    assert masks == [WRITE, -READ]
    poller.change(one.fileno(), 0)
    turn(poller)
    other.close()
    turn(poller)
    assert masks[2:] == [-select.EPOLLHUP]
    assert len(poller) == 1
    poller.unregister(one.fileno())
    poller.unregister(one.fileno())
    assert len(poller) == 0


def test_an_edge_is_told_once_until_it_is_asked_for_again(poller: Poller, pair: Pair) -> None:
    one, other = pair
    masks: list[int] = []
    other.send(b"x")
    poller.register(one.fileno(), READ | EDGE, masks.append)
    turn(poller)
    turn(poller)
    assert masks == [READ]
    poller.change(one.fileno(), READ | EDGE)
    turn(poller)
    assert masks == [READ, READ]


def test_what_a_callback_unregisters_is_not_called_any_more(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    called: list[int] = []

    def end_all(fd: int, _mask: int) -> None:
        called.append(fd)
        for one, _ in pairs:
            poller.unregister(one.fileno())

    for one, other in pairs:
        poller.register(one.fileno(), READ, partial(end_all, one.fileno()))
        other.send(b"x")
    turn(poller)
    assert len(called) == 1
    for sock in (sock for pair in pairs for sock in pair):
        sock.close()


def test_events_of_a_closed_descriptor_are_not_told_to_the_next_one_with_its_number(poller: Poller) -> None:
    told: list[str | int] = []
    first, first_peer = socket.socketpair()
    old, old_peer = socket.socketpair()
    new, new_peer = socket.socketpair()

    def close_the_other_and_open_one(_mask: int) -> None:
        poller.unregister(first.fileno())
        poller.unregister(old.fileno())
        os.dup2(new.fileno(), old.fileno())
        poller.register(old.fileno(), READ | EDGE | PEER_ENDED, told.append)

    poller.register(first.fileno(), READ, close_the_other_and_open_one)
    poller.register(old.fileno(), READ, lambda mask: told.append("old"))
    with first, first_peer, old, old_peer, new, new_peer:
        first_peer.send(b"x")
        old_peer.close()
        new_peer.send(b"x")
        events = poller.epoll.poll(0)
        assert [fd for fd, _ in events] == [first.fileno(), old.fileno()]
        poller.dispatch(events)
        assert told == []
        poller.dispatch(poller.epoll.poll(0))
        assert told == [READ]


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_callback_that_raises_harms_no_other(
    error: type[BaseException], poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    called: list[int] = []

    def fail(number: int, _mask: int = 0) -> None:
        called.append(number)
        raise error

    for number, (one, other) in enumerate(pairs):
        poller.register(one.fileno(), READ, partial(fail, number))
        poller.defer(partial(fail, number))
        other.send(b"x")
    turn(poller)
    assert called == [0, 1, 2, 0, 1, 2]
    texts = [record.message for record in caplog.records]
    assert texts[0] == f"the callback of descriptor {pairs[0][0].fileno()} failed"
    assert texts[3:] == ["a deferred call failed"] * 3
    for sock in (sock for pair in pairs for sock in pair):
        sock.close()


def test_deferred_calls_come_after_the_callbacks_those_included_that_they_defer(poller: Poller, pair: Pair) -> None:
    one, other = pair
    order: list[str] = []

    def readable(_mask: int) -> None:
        poller.defer(lambda: poller.defer(lambda: order.append("deferred by it")))
        poller.defer(lambda: order.append("deferred"))
        order.append("callback")

    poller.register(one.fileno(), READ, readable)
    other.send(b"x")
    turn(poller)
    assert order == ["callback", "deferred", "deferred by it"]


def test_what_is_deferred_does_not_wait_for_every_callback_of_a_long_turn(poller: Poller) -> None:
    order: list[str] = []

    def readable(mask: int) -> None:
        order.append("callback")
        poller.defer(lambda: order.append("deferred"))

    count = FLUSH_AFTER + 3
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one, other = map(stack.enter_context, socket.socketpair())
            other.send(b"x")
            poller.register(one.fileno(), READ, readable)
        turn(poller)
    many, few = FLUSH_AFTER, 3
    assert order == ["callback"] * many + ["deferred"] * many + ["callback"] * few + ["deferred"] * few


# How long select stays


class PingPong:
    """Two sockets that keep a poller busy, for far longer than any test takes."""

    LIMIT = 2_000_000

    def __init__(self, poller: Poller, pair: Pair) -> None:
        self.rounds = 0
        for one, other in (pair, reversed(pair)):
            poller.register(one.fileno(), READ, partial(self._answer, one, other))
        pair[0].send(b"x")

    def _answer(self, sock: socket.socket, _other: socket.socket, _mask: int) -> None:
        self.rounds += 1
        data = sock.recv(1)
        if self.rounds < self.LIMIT:
            sock.send(data)


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_select_returns_in_time_however_busy_the_poller_is(
    timeout: float, selector: PollerSelector, pair: Pair
) -> None:
    busy = PingPong(selector.poller, pair)
    assert selector.select(timeout) == []
    assert 0 < busy.rounds < PingPong.LIMIT
    if not timeout:
        assert busy.rounds == 1


def test_select_returns_what_is_asyncios_however_busy_the_poller_is(selector: PollerSelector, pair: Pair) -> None:
    busy = PingPong(selector.poller, pair)
    reading, writing = os.pipe()
    key = selector.register(reading, 1, "data")
    os.write(writing, b"x")
    assert selector.select(None) == [(key, 1)]
    assert busy.rounds < PingPong.LIMIT
    os.close(reading)
    os.close(writing)


def test_select_runs_what_was_deferred_outside_and_does_not_wait_then(selector: PollerSelector) -> None:
    called: list[str] = []
    selector.poller.defer(lambda: called.append("deferred"))
    assert selector.select(None) == []
    assert called == ["deferred"]


# In the loop of the command line


def test_timers_and_other_sockets_have_their_turn_while_data_pours_in(pair: Pair) -> None:
    async def main() -> None:
        busy = PingPong(poller_of(asyncio.get_running_loop()), pair)
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        for _ in range(3):
            await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
        server.close()
        assert busy.rounds < PingPong.LIMIT

    run(main)


def signalled(loop: asyncio.AbstractEventLoop, done: Callable[[], None]) -> None:
    loop.add_signal_handler(signal.SIGUSR1, done)
    signal.raise_signal(signal.SIGUSR1)


WAKERS: dict[str, Callable[[asyncio.AbstractEventLoop, Callable[[], None]], object]] = {
    "call_soon": lambda loop, done: loop.call_soon(done),
    "call_later": lambda loop, done: loop.call_later(0.001, done),
    "call_soon_threadsafe": lambda loop, done: loop.call_soon_threadsafe(done),
    "thread": lambda loop, done: loop.run_in_executor(None, loop.call_soon_threadsafe, done),
    "task": lambda loop, done: asyncio.ensure_future(asyncio.sleep(0), loop=loop).add_done_callback(lambda _: done()),
    "signal": signalled,
    "defer": lambda loop, done: poller_of(loop).defer(done),
}


@pytest.mark.parametrize("waker", WAKERS)
def test_what_a_callback_sets_off_happens_though_nothing_else_does(waker: str, pair: Pair) -> None:
    """Without any timer, the loop would wait for ever."""
    loop = new_event_loop()
    poller = poller_of(loop)

    def readable(_mask: int) -> None:
        poller.unregister(pair[0].fileno())
        WAKERS[waker](loop, loop.stop)

    poller.register(pair[0].fileno(), READ, readable)
    pair[1].send(b"x")
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_callback_can_stop_the_loop(pair: Pair) -> None:
    loop = new_event_loop()
    poller_of(loop).register(pair[0].fileno(), READ | EDGE, lambda _mask: loop.stop())
    pair[1].send(b"x")
    loop.run_forever()
    loop.close()


def test_threads_wake_the_loop(pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        called: list[int] = []
        thread = threading.Thread(
            target=lambda: [loop.call_soon_threadsafe(called.append, number) for number in range(100)]
        )
        thread.start()
        await until(lambda: len(called) == 100)
        thread.join()
        assert called == list(range(100))

    run(main)


def test_subprocesses(pair: Pair) -> None:
    async def main() -> None:
        busy = PingPong(poller_of(asyncio.get_running_loop()), pair)
        pipe = asyncio.subprocess.PIPE
        argv = (sys.executable, "-c", "print(input()[::-1]); raise SystemExit(3)")
        process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
        assert (await process.communicate(b"abc\n"))[0] == b"cba\n"
        assert process.returncode == 3
        assert busy.rounds < PingPong.LIMIT

    run(main)


@pytest.mark.parametrize("name", [lambda sock: sock, lambda sock: sock.fileno()], ids=["socket", "descriptor"])
def test_readers_and_writers(name: Callable[[socket.socket], int], pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = pair
        events: list[str] = []
        loop.add_reader(name(one), events.append, "read")
        loop.add_writer(name(one), events.append, "write")
        await until(lambda: events)
        assert set(events) == {"write"}
        assert loop.remove_writer(name(one))
        assert not loop.remove_writer(name(one))
        events.clear()
        other.send(b"x")
        await until(lambda: events)
        assert set(events) == {"read"}
        loop.add_reader(name(one), events.append, "replaced")
        events.clear()
        await until(lambda: events)
        assert set(events) == {"replaced"}
        assert loop.remove_reader(name(one))
        assert not loop.remove_reader(name(one))

    run(main)


def test_a_reader_of_a_closed_socket_can_be_removed() -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        loop = asyncio.get_running_loop()
        loop.add_reader(one, int)
        one.close()
        other.close()
        assert loop.remove_reader(one)

    run(main)


def test_a_descriptor_is_registered_once(selector: PollerSelector, pair: Pair) -> None:
    key = selector.register(pair[0], 1)
    with pytest.raises(KeyError, match="already registered"):
        selector.register(pair[0].fileno(), 1)
    assert selector.get_key(pair[0].fileno()) is selector.get_map()[pair[0]] is key
    assert list(selector.get_map()) == [pair[0].fileno()]
    assert selector.unregister(pair[0]) is key
    with pytest.raises(KeyError):
        selector.unregister(pair[0])
    assert len(selector.get_map()) == 0


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_program_is_not_held_up(stop: type[BaseException], pair: Pair) -> None:
    def end(_mask: int) -> None:
        pair[0].recv(1)  # else it would be called again when the tasks are to end, and leave them behind
        raise stop

    async def main() -> None:
        poller_of(asyncio.get_running_loop()).register(pair[0].fileno(), READ, end)
        pair[1].send(b"x")
        await asyncio.Event().wait()

    with pytest.raises(stop):
        run(main)


# In other loops


def uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop])
def test_a_nested_poller(factory: Callable[[], asyncio.AbstractEventLoop], pair: Pair) -> None:
    async def main() -> None:
        poller = poller_of(asyncio.get_running_loop())
        assert isinstance(poller, NestedPoller)
        order: list[str] = []

        def readable(_mask: int) -> None:
            order.append(pair[0].recv(1).decode())
            poller.defer(lambda: order.append("deferred"))

        poller.register(pair[0].fileno(), READ | EDGE, readable)
        for text in "ab":
            pair[1].send(text.encode())
            await until(lambda: order[-1:] == ["deferred"])
            order.append("-")
        poller.defer(lambda: order.append("outside"))
        poller.defer(lambda: order.append("outside, too"))
        await until(lambda: order[-1:] == ["outside, too"])
        assert order == ["a", "deferred", "-", "b", "deferred", "-", "outside", "outside, too"]
        poller.unregister(pair[0].fileno())
        poller.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_a_loop_has_its_own_poller() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert poller_of(loop) is poller_of(loop)
        assert not isinstance(poller_of(loop), NestedPoller)

    run(main)
