from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.plugins.http.action_config import Retry
from l4proxy.plugins.http.field_config import FieldMatch
from l4proxy.plugins.http.message import HttpRequest, HttpResponse
from l4proxy.plugins.http.retry import RetryPolicy
from l4proxy.protocols.http_fields import FieldBlock


def allows(why: str, *, safe: bool = False, method: str = "GET", made: int = 1, **options: Any) -> bool:
    request = HttpRequest(method, "/", FieldBlock([("host", "a"), ("x-retry", "yes")]))
    exchange: Any = SimpleNamespace(request=request, attempts=made)
    return RetryPolicy(Retry(**options)).allows(exchange, why, safe)


@pytest.mark.parametrize("why", ["connect-failure", "refused-stream", "reset"])
def test_what_is_asked_for_is_allowed(why: str) -> None:
    assert allows(why, on=(why,))
    assert allows(why, on=("5xx",)), "also none at all"
    assert not allows(why, on=("retriable-headers",))


def test_a_slow_try_counts_as_one_that_was_reset_or_whose_gateway_gave_up() -> None:
    for on, expected in (("reset", True), ("gateway-error", True), ("5xx", True), ("connect-failure", False)):
        assert allows("per-try-timeout", on=(on,)) == expected


def test_what_may_have_been_acted_on_is_repeated_for_some_methods_only() -> None:
    assert not allows("reset", method="POST")
    assert allows("reset", method="POST", safe=True)
    assert allows("reset", method="POST", methods=())
    assert allows("reset", method="POST", methods=("POST",))
    assert not allows("reset", method="GET", methods=("POST",))


def test_no_more_tries_than_that() -> None:
    assert [allows("reset", made=number) for number in (1, 2)] == [True, False]
    assert [allows("reset", made=number, attempts=3) for number in (1, 3, 4)] == [True, True, False]


def test_only_requests_with_certain_fields() -> None:
    assert allows("reset", headers=(FieldMatch("X-Retry", exact="yes"),))
    assert not allows("reset", headers=(FieldMatch("X-Retry", exact="no"),))
    assert not allows("reset", headers=(FieldMatch("X-Retry"), FieldMatch("X-Other")))


@pytest.mark.parametrize(
    ("on", "response", "expected"),
    [
        ("5xx", HttpResponse(500), "5xx"),
        ("5xx", HttpResponse(499), ""),
        ("gateway-error", HttpResponse(503), "gateway-error"),
        ("gateway-error", HttpResponse(500), ""),
        ("retriable-status-codes", HttpResponse(409), "retriable-status-codes"),
        ("retriable-status-codes", HttpResponse(404), ""),
        ("retriable-headers", HttpResponse(200, headers={"X-Again": "1"}), "retriable-headers"),
        ("retriable-headers", HttpResponse(200), ""),
        ("unavailable", HttpResponse(200, headers={"grpc-status": "14"}), "unavailable"),
        ("unavailable", HttpResponse(200, headers={"grpc-status": "13"}), ""),
        ("internal", HttpResponse(200, headers={"grpc-status": "13"}), "internal"),
        ("reset", HttpResponse(503), ""),
    ],
)
def test_responses_that_are_followed_by_another_try(on: Any, response: HttpResponse, expected: str) -> None:
    policy = RetryPolicy(Retry(on=(on,), status=(409,), response_headers=(FieldMatch("x-again"),)))
    assert policy.reason(response) == expected
    assert policy.reads_responses == (on != "reset")


def test_pauses_are_jittered_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RetryPolicy(Retry())
    monkeypatch.setattr(random, "random", lambda: 1.0)
    assert [round(policy.pause(attempt), 3) for attempt in range(1, 7)] == [0.025, 0.075, 0.175, 0.25, 0.25, 0.25]
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert policy.pause(6) == 0
