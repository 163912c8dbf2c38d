"""The contract itself: what a class may be like. What its callbacks get is in test_message_chain.py."""

from __future__ import annotations

import pytest

from l4proxy.errors import PluginError
from l4proxy.filter import NoConfig
from l4proxy.message import Request, Response
from l4proxy.registry import Kind, Registry, options_of
from line_protocol import Line, LineFilter, LineRequest, LineResponse, Plain


def test_a_protocols_own_base_names_the_messages_once() -> None:
    assert options_of(Plain) is NoConfig
    Registry().register(Kind.MESSAGE_FILTER, Plain, "acme")


def test_callbacks_of_messages_are_plain_functions() -> None:
    class Slow(LineFilter[NoConfig]):
        name = "slow"

        async def on_request(self, request: LineRequest) -> LineRequest:  # type: ignore[override]
            return request

    with pytest.raises(PluginError, match="on_request must not be async"):
        Registry().register(Kind.MESSAGE_FILTER, Slow, "acme")


def test_on_connect_of_a_message_filter_is_a_plain_function_too() -> None:
    class Slow(LineFilter[NoConfig]):
        name = "slow"

        async def on_connect(self) -> None: ...  # type: ignore[override]

    with pytest.raises(PluginError, match="on_connect must not be async"):
        Registry().register(Kind.MESSAGE_FILTER, Slow, "acme")


def test_a_callback_that_is_not_overridden_changes_nothing() -> None:
    line = Line(Plain)
    line.auto_answer = True
    line.send("GET 1")
    assert line.client == ["re 1"]
    instance = line.instances()[0]
    request, response = LineRequest("GET"), LineResponse("x")
    assert instance.on_request(request) is request
    assert instance.on_response(response) is response


def test_messages_are_small() -> None:
    assert not hasattr(Request("GET"), "__dict__")
    assert not hasattr(Response(), "__dict__")


def test_the_state_of_a_request_is_made_when_it_is_asked_for() -> None:
    request = Request("GET")
    assert request._state is None
    request.state["a:b"] = 1
    assert request.state == {"a:b": 1}
