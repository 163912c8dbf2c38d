from __future__ import annotations

import gc
import logging
import weakref
from typing import Any, ClassVar

import pytest

from l4proxy.filter import NoConfig
from l4proxy.message_chain import MessageChain
from l4proxy.reason import CloseReason
from line_protocol import CLOSED, Line, LineFilter, LineRequest, LineResponse, use


class Mark(LineFilter[NoConfig]):
    """Writes its letter on everything that passes."""

    name = "mark"
    letter = "a"

    def on_request(self, request: LineRequest) -> LineRequest:
        request.text += f">{self.letter}"
        return request

    def on_response(self, response: LineResponse) -> LineResponse:
        response.text += f"<{self.letter}"
        return response


class MarkB(Mark):
    name = "mark_b"
    letter = "b"


class Deny(LineFilter[NoConfig]):
    name = "deny"
    wants = frozenset({"BAD"})

    def on_request(self, request: LineRequest) -> LineRequest | None:
        self.reply(request, LineResponse("denied"))
        return None


class Hold(LineFilter[NoConfig]):
    """Holds everything, until the test does something about it."""

    name = "hold"

    def on_connect(self) -> None:
        self.held: list[Any] = []

    def on_request(self, request: LineRequest) -> LineRequest | None:
        self.held.append(request)
        return None

    def on_response(self, response: LineResponse) -> LineResponse | None:
        if response.text.startswith("re "):
            self.held.append(response)
            return None
        return response


class Log(LineFilter[NoConfig]):
    name = "log"

    def on_connect(self) -> None:
        self.seen: list[str] = []

    def on_request(self, request: LineRequest) -> LineRequest:
        self.seen.append(f"request {request.text}")
        return request

    def on_response(self, response: LineResponse) -> LineResponse:
        assert isinstance(response.request, LineRequest)
        self.seen.append(f"response {response.request.text}")
        return response

    def on_cancel(self, request: LineRequest) -> None:
        self.seen.append(f"cancel {request.text}")

    def on_close(self, reason: CloseReason) -> None:
        self.seen.append(f"close {reason.detail}")


def chain(*filters: Any) -> Line:
    return Line(*filters, ordered=False)


def test_requests_go_first_to_last_and_responses_last_to_first() -> None:
    line = chain(Mark, MarkB)
    line.send("GET x")
    assert line.upstream == ["GET x>a>b"]
    line.answer(0)
    assert line.client == ["re x>a>b<b<a"]


def test_without_filters_everything_passes() -> None:
    line = chain()
    line.send("GET 1", "GET 2")
    line.answer(1, 0)
    assert line.client == ["re 2", "re 1"]


def test_a_reply_goes_through_the_filters_in_front_and_no_further() -> None:
    line = chain(Mark, Deny, MarkB)
    line.send("BAD 1", "GET 2")
    assert line.client == ["denied<a"]
    assert line.upstream == ["GET 2>a>b"]


def test_a_filter_sees_only_the_kinds_that_it_wants() -> None:
    class Picky(Mark):
        name = "picky"
        wants = frozenset({"PUT", "POST"})

    line = chain(Picky)
    line.send("GET x", "PUT x")
    line.answer(0, 1)
    assert line.upstream == ["GET x", "PUT x>a"]
    assert line.client == ["re x", "re x>a<a"]
    assert line.filters.wants("PUT")
    assert not line.filters.wants("GET")


def test_a_held_request_is_released_to_the_filters_behind() -> None:
    line = chain(Mark, Hold, MarkB)
    first, second = line.send("GET 1", "GET 2")
    hold = line.instances()[1]
    assert line.upstream == []
    hold.release(second)
    hold.release(first)
    assert line.upstream == ["GET 2>a>b", "GET 1>a>b"]


def test_a_held_request_may_be_answered_instead() -> None:
    line = chain(Mark, Hold, MarkB)
    (request,) = line.send("GET 1")
    line.instances()[1].reply(request, LineResponse("no"))
    assert (line.upstream, line.client) == ([], ["no<a"])


def test_a_held_response_is_released_to_the_filters_in_front() -> None:
    line = chain(Mark, Hold)
    (request,) = line.send("GET 1")
    hold = line.instances()[1]
    hold.release(request)
    line.answer(0)
    assert line.client == []
    hold.release(hold.held[-1])
    assert line.client == ["re 1>a<a"]


def test_a_decision_that_is_there_at_once_is_no_special_case() -> None:
    class Inline(LineFilter[NoConfig]):
        name = "inline"

        def on_request(self, request: LineRequest) -> None:
            self.release(request)

        def on_response(self, response: LineResponse) -> None:
            self.release(response)

    line = chain(Mark, Inline, MarkB)
    line.send("GET 1")
    line.answer(0)
    assert line.client == ["re 1>a>b<b<a"]


def test_a_decision_in_a_coroutine() -> None:
    class Ask(LineFilter[NoConfig]):
        name = "ask"

        def on_request(self, request: LineRequest) -> None:
            self.conn.spawn(self._ask(request))

        async def _ask(self, request: LineRequest) -> None:
            if request.text == "yes":
                self.release(request)
            else:
                self.reply(request, LineResponse("no"))

    line = chain(Ask)
    line.send("GET no", "GET yes")
    line.conn.run_tasks()
    assert (line.upstream, line.client) == (["GET yes"], ["no"])


def test_a_response_may_be_replaced() -> None:
    class Replace(LineFilter[NoConfig]):
        name = "replace"

        def on_response(self, response: LineResponse) -> LineResponse:
            return LineResponse(f"instead of {response.text}")

    line = chain(Log, Replace)
    line.send("GET 1")
    line.answer(0)
    assert line.client == ["instead of re 1"]
    assert line.instances()[0].seen == ["request 1", "response 1"]


def test_a_request_remembers_what_filters_left_in_it() -> None:
    class Count(LineFilter[NoConfig]):
        name = "count"

        def on_request(self, request: LineRequest) -> LineRequest:
            request.state["count:length"] = len(request.text)
            return request

        def on_response(self, response: LineResponse) -> LineResponse:
            response.text = str(response.request.state["count:length"])
            return response

    line = chain(Count)
    line.send("GET abc")
    line.answer(0)
    assert line.client == ["3"]


def test_what_expects_no_response_gets_none() -> None:
    class DenyAll(Deny):
        name = "deny_all"
        wants = frozenset({"QUIET"})

    line = chain(DenyAll)
    line.send("QUIET 1")
    assert (line.upstream, line.client) == ([], [])
    line = chain()
    line.send("QUIET 1")
    with pytest.raises(RuntimeError, match="QUIET is not waiting for a response"):
        line.answer(0)


def test_a_request_is_answered_once() -> None:
    line = chain(Hold)
    (request,) = line.send("GET 1")
    hold = line.instances()[0]
    with pytest.raises(RuntimeError, match="GET is not waiting for a response"):
        line.chain.respond(request, LineResponse("too early"))
    hold.release(request)
    with pytest.raises(RuntimeError, match="not at this filter"):
        hold.release(request)
    with pytest.raises(RuntimeError, match="not at this filter"):
        hold.reply(request, LineResponse("too late"))
    line.answer(0)
    with pytest.raises(RuntimeError, match="GET is not waiting for a response"):
        line.answer(0)


def test_a_response_answers_one_request() -> None:
    line = chain()
    first, second = line.send("GET 1", "GET 2")
    response = LineResponse("again")
    line.chain.respond(first, response)
    with pytest.raises(RuntimeError, match="make a new one for each"):
        line.chain.respond(second, response)


class Both(LineFilter[NoConfig]):
    name = "both"

    def on_request(self, request: LineRequest) -> LineRequest:
        self.reply(request, LineResponse("and"))
        return request


class Other(LineFilter[NoConfig]):
    name = "other"

    def on_request(self, request: LineRequest) -> LineRequest:
        return LineRequest("GET", "other")


class ReleaseBoth(LineFilter[NoConfig]):
    name = "release_both"

    def on_response(self, response: LineResponse) -> LineResponse:
        self.release(response)
        return response


class Raise(LineFilter[NoConfig]):
    name = "raises"

    def on_request(self, request: LineRequest) -> LineRequest:
        raise KeyError("oops")


@pytest.mark.parametrize("cls", [Both, Other, ReleaseBoth, Raise])
def test_a_filter_that_fails_closes_the_connection(cls: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    line = chain(cls, Log)
    line.auto_answer = True
    line.send("GET 1", "GET 2")
    assert line.conn.closed is not None
    assert (line.conn.closed.who, line.conn.closed.detail, line.conn.closed.filter) == (
        "filter",
        "filter_error",
        cls.name,
    )
    assert line.stats(cls.name) == {"errors": 1, "bypassed": 0}
    assert line.requests[1:] == []
    (record,) = caplog.records
    assert record.getMessage() == f"message filter {cls.name} failed on connection 7 (the connection is closed)"
    assert record.exc_info


@pytest.mark.parametrize("cls", [Other, Raise])
def test_a_filter_that_is_bypassed_leaves_the_chain(cls: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    line = chain(Mark, use(cls, on_error="bypass"), MarkB)
    line.send("GET 1", "GET 2")
    assert line.upstream == ["GET 1>a>b", "GET 2>a>b"]
    assert line.conn.closed is None
    assert line.stats(cls.name) == {"errors": 1, "bypassed": 1}
    assert "it is taken out of the chain" in caplog.text


def test_a_filter_that_answers_and_then_fails_has_answered() -> None:
    class ReplyAndFail(LineFilter[NoConfig]):
        name = "reply_and_fail"

        def on_request(self, request: LineRequest) -> None:
            self.reply(request, LineResponse("answered"))
            raise KeyError("oops")

    line = chain(use(ReplyAndFail, on_error="bypass"))
    line.send("GET 1", "GET 2")
    assert (line.client, line.upstream) == (["answered"], ["GET 2"])


def test_a_response_goes_on_when_its_filter_is_bypassed() -> None:
    class Fails(LineFilter[NoConfig]):
        name = "fails"

        def on_response(self, response: LineResponse) -> LineResponse:
            raise KeyError("oops")

    line = chain(Mark, use(Fails, on_error="bypass"))
    line.send("GET 1")
    line.answer(0)
    assert line.client == ["re 1>a<a"]


class HoldAndFail(LineFilter[NoConfig]):
    name = "hold_and_fail"

    def on_request(self, request: LineRequest) -> None:
        if request.kind == "TASK":
            self.conn.spawn(self._fail())
        elif request.kind == "TIMER":
            self.conn.call_later(1, self._fail_now)

    async def _fail(self) -> None:
        self._fail_now()

    def _fail_now(self) -> None:
        raise KeyError("later")


@pytest.mark.parametrize("kind", ["TASK", "TIMER"])
@pytest.mark.parametrize("on_error", ["close", "bypass"])
def test_what_fails_beside_the_chain_is_the_filters_too(kind: str, on_error: str) -> None:
    line = chain(use(HoldAndFail, on_error=on_error))
    line.send("GET 1", f"{kind} 2")
    line.conn.run_tasks()
    for timer in line.conn.timers:
        timer()
    assert line.stats("hold_and_fail")["errors"] == 1
    if on_error == "bypass":
        assert line.upstream == ["GET 1", f"{kind} 2"]
    else:
        assert line.upstream == []
        assert line.conn.closed is not None


def test_a_filter_may_close_the_connection() -> None:
    class Bouncer(LineFilter[NoConfig]):
        name = "bouncer"

        def on_request(self, request: LineRequest) -> LineRequest:
            self.conn.close("not_welcome")
            return request

    line = chain(Bouncer)
    line.send("GET 1", "GET 2")
    assert line.upstream == []
    assert str(line.conn.closed) == "filter:not_welcome:bouncer phase=relay"


def test_a_request_that_the_client_gave_up() -> None:
    line = chain(Log, Hold, Log)
    first, second, third = line.send("GET 1", "GET 2", "GET 3")
    before, hold, after = line.instances()
    hold.release(second)
    hold.release(third)
    line.chain.respond(third, LineResponse("fine"))
    before.seen.clear()
    after.seen.clear()
    for request in (first, second, third):
        line.chain.cancel(request)
        line.chain.cancel(request)
    assert before.seen == ["cancel 1", "cancel 2"]
    assert after.seen == ["cancel 2"]
    hold.release(first)
    hold.reply(first, LineResponse("too late"))
    line.chain.respond(second, LineResponse("too late"))
    assert line.client == ["fine"]


def test_a_request_given_up_while_its_response_is_held() -> None:
    line = chain(Log, Hold, Log)
    (request,) = line.send("GET 1")
    before, hold, after = line.instances()
    hold.release(request)
    line.answer(0)
    line.chain.cancel(request)
    assert before.seen == ["request 1", "cancel 1"]
    assert after.seen == ["request 1", "response 1"]
    hold.release(hold.held[-1])
    assert line.client == []


def test_the_end_of_the_connection() -> None:
    line = chain(Log, Hold)
    (request,) = line.send("GET 1")
    log, hold = line.instances()
    line.chain.close(CLOSED)
    assert log.seen == ["request 1", "close eof"]
    hold.release(request)
    hold.reply(request, LineResponse("late"))
    line.chain.request(LineRequest("GET"))
    line.chain.respond(request, LineResponse("late"))
    line.chain.cancel(request)
    hold.conn.close("late")
    assert (line.upstream, line.client, line.conn.closed) == ([], [], None)


def test_an_error_in_on_close_reaches_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(LineFilter[NoConfig]):
        name = "bad"

        def on_close(self, reason: CloseReason) -> None:
            raise KeyError("oops")

    line = chain(Bad, Log)
    log = line.instances()[1]
    line.chain.close(CLOSED)
    assert log.seen == ["close eof"]
    assert line.stats("bad")["errors"] == 1
    assert "message filter bad failed" in caplog.text


def test_a_closed_chain_is_freed_without_the_garbage_collector() -> None:
    line = chain(Log, Mark)
    line.send("GET 1")
    line.answer(0)
    ref = weakref.ref(line.instances()[0])
    gc.disable()
    try:
        line.chain.close(CLOSED)
        assert ref() is None
    finally:
        gc.enable()


def test_what_a_filter_sees_of_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    line = chain(Mark)
    conn = line.instances()[0].conn
    assert (conn.id, conn.position, conn.destination, conn.client, conn.tls) == (7, 0, ("", 0), None, None)
    assert conn.state is line.conn.state
    with caplog.at_level(logging.INFO):
        conn.log.info("hello %s", "you")
    assert caplog.messages == ["mark: hello you"]


# Variants: another list of filters for some requests


class Counts(LineFilter[Any]):
    """Puts what it is told, and how many requests it has seen, behind each request."""

    name = "counts"
    log: ClassVar[list[str]] = []

    def on_connect(self) -> None:
        self.seen = 0
        self.log.append(f"connect {self.config}")

    def on_request(self, request: LineRequest) -> LineRequest:
        self.seen += 1
        if request.text == "fail":
            raise RuntimeError("on purpose")
        request.text += f" {self.config}{self.seen}"
        return request

    def on_close(self, reason: CloseReason) -> None:
        self.log.append(f"close {self.config}")


def _in_variant(line: Line, variant: int, text: str) -> LineRequest:
    request = LineRequest("GET", text)
    request.select(variant)
    line.chain.request(request)
    return request


def test_a_variant_has_filters_of_its_own_and_shares_the_others() -> None:
    Counts.log.clear()
    line = Line(use(Counts, "a"), use(type("Other", (Counts,), {"name": "other"}), "b"), ordered=False)
    variant = line.filters.variant([use(Counts, "c")])
    line.chain = MessageChain(line.filters, line.conn, forward=line._forward, deliver=line._deliver)
    assert Counts.log[-2:] == ["connect a", "connect b"]
    assert [_in_variant(line, number, "x").text for number in (0, variant, variant, 0)] == [
        "x a1 b1", "x c1 b2", "x c2 b3", "x a2 b4",
    ]  # fmt: skip
    assert Counts.log.count("connect c") == 1
    line.chain.close(CLOSED)
    assert sorted(Counts.log[-3:]) == ["close a", "close b", "close c"]


def test_a_filter_that_leaves_the_chain_leaves_its_variant_alone() -> None:
    line = Line(use(Counts, "a"), ordered=False)
    variant = line.filters.variant([use(Counts, "c", on_error="bypass")])
    line.chain = MessageChain(line.filters, line.conn, forward=line._forward, deliver=line._deliver)
    assert [_in_variant(line, number, text).text for number, text in ((variant, "fail"), (variant, "x"), (0, "x"))] == [
        "fail", "x", "x a1",
    ]  # fmt: skip


def test_a_filter_of_a_variant_that_cannot_be_made_ends_the_connection() -> None:
    class Breaks(Counts):
        def on_connect(self) -> None:
            raise RuntimeError("on purpose")

    line = Line(use(Counts, "a"), ordered=False)
    variant = line.filters.variant([use(Breaks, "c")])
    line.chain = MessageChain(line.filters, line.conn, forward=line._forward, deliver=line._deliver)
    _in_variant(line, variant, "x")
    assert line.conn.closed is not None
    assert line.conn.closed.detail == "filter_error"
    assert line.upstream == []


def test_a_request_of_a_variant_is_held_and_released_there() -> None:
    class Holds(Counts):
        def on_request(self, request: LineRequest) -> None:  # type: ignore[override]
            held.append((self, request))

    held: list[tuple[Holds, LineRequest]] = []
    line = Line(use(Counts, "a"), ordered=False)
    variant = line.filters.variant([use(Holds, "c")])
    line.chain = MessageChain(line.filters, line.conn, forward=line._forward, deliver=line._deliver)
    first, second = (_in_variant(line, variant, text) for text in ("x", "y"))
    assert line.upstream == []
    held[0][0].release(first)
    held[1][0].reply(second, LineResponse("no"))
    assert (line.upstream, line.client) == (["GET x"], ["no"])
