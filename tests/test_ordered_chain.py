from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.filter import NoConfig
from l4proxy.ordered_chain import OrderedMessageChain
from line_protocol import CLOSED, Line, LineFilter, LineRequest, LineResponse, use

M = TypeVar("M", LineRequest, LineResponse)


class Hold(LineFilter[NoConfig]):
    """Holds what says so in its text."""

    name = "hold"

    def on_connect(self) -> None:
        self.held: list[Any] = []

    def on_request(self, request: LineRequest) -> LineRequest | None:
        return self._pass(request, "hold request")

    def on_response(self, response: LineResponse) -> LineResponse | None:
        return self._pass(response, "hold response")

    def _pass(self, message: M, word: str) -> M | None:
        if word in message.text:
            self.held.append(message)
            return None
        return message


class Deny(LineFilter[NoConfig]):
    name = "deny"
    wants = frozenset({"BAD"})

    def on_request(self, request: LineRequest) -> None:
        self.reply(request, LineResponse(f"denied {request.text}"))


def test_responses_are_delivered_in_the_order_of_the_requests() -> None:
    line = Line()
    line.send("GET 1", "GET 2", "GET 3")
    line.answer(2)
    line.answer(1)
    assert line.client == []
    line.answer(0)
    assert line.client == ["re 1", "re 2", "re 3"]


def test_a_reply_waits_for_the_answers_to_earlier_requests() -> None:
    line = Line(Deny)
    line.send("GET 1", "BAD 2", "GET 3")
    assert line.client == []
    line.answer(0, 1)
    assert line.client == ["re 1", "denied 2", "re 3"]


def test_what_has_no_response_is_not_waited_for() -> None:
    line = Line()
    line.send("GET 1", "QUIET 2", "GET 3")
    line.answer(2, 0)
    assert line.client == ["re 1", "re 3"]


def test_a_quiet_request_may_be_denied() -> None:
    class DenyQuiet(Deny):
        name = "deny_quiet"
        wants = frozenset({"QUIET"})

    line = Line(DenyQuiet)
    line.send("QUIET 1", "GET 2")
    line.answer(0)
    assert (line.upstream, line.client) == (["GET 2"], ["re 2"])


def test_what_comes_behind_a_held_request_waits_for_it() -> None:
    line = Line(Hold)
    held, *_ = line.send("GET hold request", "GET 2", "BAD 3")
    assert (line.upstream, line.blocked) == ([], [True])
    line.instances()[0].release(held)
    assert line.upstream == ["GET hold request", "GET 2", "BAD 3"]
    assert line.blocked == [True, False]


def test_a_held_request_that_is_answered_lets_the_others_go() -> None:
    line = Line(Hold)
    held, *_ = line.send("GET hold request", "GET 2")
    line.instances()[0].reply(held, LineResponse("no"))
    assert (line.upstream, line.client, line.blocked) == (["GET 2"], ["no"], [True, False])


def test_what_comes_behind_a_held_response_waits_for_it() -> None:
    line = Line(Hold)
    line.send("GET hold response", "GET 2")
    line.answer(1, 0)
    assert (line.client, line.blocked) == ([], [True])
    hold = line.instances()[0]
    hold.release(hold.held[0])
    assert line.client == ["re hold response", "re 2"]
    assert line.blocked == [True, False]


def test_a_client_that_never_waits_for_answers_is_not_read_for_ever() -> None:
    line = Line(max_unanswered=3)
    line.send("GET 1", "GET 2")
    assert line.blocked == []
    line.send("GET 3", "GET 4")
    assert line.blocked == [True]
    line.answer(0)
    assert line.blocked == [True]
    line.answer(1)
    assert line.blocked == [True, False]


def test_nothing_is_delivered_into_a_response_that_is_not_complete() -> None:
    line = Line(Deny)
    first, second, *_ = line.send("GET 1", "GET 2", "BAD 3")
    large, small = LineResponse("begin", complete=False), LineResponse("begin and end", complete=False)
    line.chain.respond(second, small)
    line.chain.respond(first, large)
    assert line.client == ["begin"]
    assert isinstance(line.chain, OrderedMessageChain)
    line.chain.finish(small)
    assert line.client == ["begin"]
    line.chain.finish(large)
    assert line.client == ["begin", "begin and end", "denied 3"]
    assert line.blocked == []


def test_filters_see_responses_in_order_too() -> None:
    seen = []

    class Log(LineFilter[NoConfig]):
        name = "log"

        def on_response(self, response: LineResponse) -> LineResponse:
            seen.append(response.text)
            return response

    line = Line(Log, Deny)
    line.send("GET 1", "BAD 2", "GET 3")
    line.answer(1, 0)
    assert seen == ["re 1", "denied 2", "re 3"]


def test_requests_that_come_while_one_is_passed_on_wait_for_their_turn() -> None:
    """A client that sends again as soon as it has an answer, an upstream that answers at once: no recursion."""
    line = Line(Hold)
    line.auto_answer = True
    to_send = [f"GET {number}" for number in range(5000)]

    def deliver(response: LineResponse) -> None:
        line.client.append(response.text)
        if to_send:
            line.send(to_send.pop(0))

    line.chain._deliver = deliver
    line.send("GET first")
    assert len(line.client) == 5001


def test_a_bypassed_filter_lets_go_what_it_held() -> None:
    class Fails(LineFilter[NoConfig]):
        name = "fails"

        def on_request(self, request: LineRequest) -> None:
            self.conn.call_later(1, self._fail)

        def _fail(self) -> None:
            raise KeyError("oops")

    line = Line(use(Fails, on_error="bypass"))
    line.send("GET 1", "GET 2")
    line.conn.timers[0]()
    assert line.upstream == ["GET 1", "GET 2"]
    assert line.blocked == [True, False]


def test_the_end_of_the_connection_lets_go_of_everything() -> None:
    line = Line(Hold)
    held, *_ = line.send("GET hold request", "GET 2")
    hold = line.instances()[0]
    line.chain.close(CLOSED)
    hold.release(held)
    line.chain.request(LineRequest("GET"))
    assert (line.upstream, line.client) == ([], [])


def test_a_client_cannot_give_up_one_request() -> None:
    line = Line()
    with pytest.raises(NotImplementedError):
        line.chain.cancel(LineRequest("GET"))


class Fate(LineFilter[NoConfig]):
    """Does with each message what its text says about this filter, which is one digit: see ``DEEDS``."""

    name = "fate"

    def on_connect(self) -> None:
        self.held: list[tuple[Any, str]] = []
        self.order: list[str] = []

    def on_request(self, request: LineRequest) -> LineRequest | None:
        self.order.append(f"request {request.text}")
        deed = request.text.split()[1][self.conn.position]
        if deed == "p":
            return request
        if deed == "r":
            self.reply(request, LineResponse(f"reply {request.text}"))
        elif deed == "i":
            self.release(request)
        else:
            self.held.append((request, deed))
        return None

    def on_response(self, response: LineResponse) -> LineResponse | None:
        self.order.append(f"response {response.request.text}")  # type: ignore[attr-defined]
        deed = response.text.split()[2][self.conn.position]
        if deed == "i":
            self.release(response)
        elif deed in "lx":
            self.held.append((response, deed))
        else:
            return response
        return None

    def decide(self) -> bool:
        """Decide about one held message."""
        if not self.held:
            return False
        message, deed = self.held.pop(0)
        if deed == "x" and isinstance(message, LineRequest):
            self.reply(message, LineResponse(f"reply {message.text}"))
        else:
            self.release(message)
        return True


DEEDS = "pplrix"
"""Pass, reply at once, release inline, hold and release (l), hold and reply (x)."""


@given(
    st.lists(st.tuples(st.sampled_from(["GET", "GET", "QUIET"]), st.text(DEEDS, min_size=3, max_size=3)), max_size=12),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_each_request_gets_one_response_in_order(lines: list[tuple[str, str]], chance: Any, ordered: bool) -> None:
    line = Line(Fate, Fate, Fate, ordered=ordered)
    to_send = [f"{kind} {number} {deeds}" for number, (kind, deeds) in enumerate(lines)]
    expected = [f"{number} {deeds}" for number, (kind, deeds) in enumerate(lines) if kind != "QUIET"]
    unanswered: list[int] = []
    seen = 0

    def send() -> bool:
        if to_send:
            line.send(to_send.pop(0))
            return True
        return False

    def answer() -> bool:
        nonlocal seen
        unanswered.extend(at for at in range(seen, len(line.requests)) if line.requests[at].expects_response)
        seen = len(line.requests)
        if unanswered:
            line.answer(unanswered.pop(chance.randrange(len(unanswered))))
            return True
        return False

    actions: list[Callable[[], bool]] = [send, answer, *(each.decide for each in line.instances())]
    while True:
        chance.shuffle(actions)
        if not any(action() for action in actions):
            break

    delivered = [text.split(" ", 1)[1] for text in line.client]
    assert sorted(delivered) == sorted(expected)
    assert not line.chain._held
    if ordered:
        assert delivered == expected
        for each in line.instances():
            for direction in ("request ", "response "):
                numbers = [int(entry.split()[1]) for entry in each.order if entry.startswith(direction)]
                assert numbers == sorted(numbers)
        assert not line.blocked or line.blocked[-1] is False


class Ask(LineFilter[NoConfig]):
    """Sees requests only."""

    name = "ask"

    def on_request(self, request: LineRequest) -> LineRequest:
        return request


def test_what_goes_by_keeps_nobody_waiting() -> None:
    """The network filter passes the response on itself: the chain knows no more of it."""
    line = Line(Ask, Deny)
    pass_by, forward = line.chain.pass_by, line._forward  # type: ignore[attr-defined]

    def by(request: LineRequest) -> None:
        forward(request)
        if not line.chain.watchers(request):
            pass_by(request)

    line.chain._forward = by
    line.send("GET 1", "BAD 2", "GET 3")
    assert line.client == ["denied 2"]
    assert [request.text for request in line.requests] == ["1", "3"]
    assert not line.chain._unanswered  # type: ignore[attr-defined]


def test_watchers_are_those_with_a_callback() -> None:
    line = Line(Ask, Hold)
    line.send("GET 1")
    assert line.chain.watchers(line.requests[0]) == 1
