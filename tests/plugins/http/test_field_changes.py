from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.plugins.http.field_changes import UNTOUCHABLE, compile_changes
from l4proxy.plugins.http.field_config import FieldChanges
from l4proxy.plugins.http.headers import Headers
from l4proxy.plugins.http.message import HttpRequest


def changed(*fields: tuple[str, str], target: str = "/", **options: Any) -> list[tuple[str, str]]:
    """The fields of a request after changes, by an exchange that has not much happened to."""
    headers = Headers.of(fields)
    peer = SimpleNamespace(host="192.0.2.1", port=5)
    host = SimpleNamespace(listener="web", peer=peer, id=7)
    exchange: Any = SimpleNamespace(
        responded=False, response=None, host=host, pool=None, endpoint=None, connection=None, started=0.0, flags=(),
        request=HttpRequest("GET", target, headers.block), client="192.0.2.1", received=0, sent=0, attempts=0,
        route=SimpleNamespace(name="r"),
    )  # fmt: skip
    changes = compile_changes(FieldChanges(**options))
    assert changes is not None
    changes.apply(headers, exchange, 0.0)
    return list(headers.items())


def test_nothing_is_to_be_changed() -> None:
    assert compile_changes(FieldChanges()) is None


def test_set_add_append_and_remove() -> None:
    before = [("A", "1"), ("B", "2"), ("X-Internal-C", "3"), ("x-internal-d", "4"), ("D", "5")]
    after = changed(
        *before, set={"a": "new"}, add={"B": "more"}, append={"D": "6", "E": "7"}, remove=("X-Internal-*", "nothing")
    )
    assert after == [("a", "new"), ("b", "2"), ("d", "5, 6"), ("b", "more"), ("e", "7")]


def test_removal_comes_first() -> None:
    assert changed(("A", "1"), add={"A": "2"}, remove=("a",)) == [("a", "2")]


def test_operators_are_filled_in_and_percent_signs_can_be_written() -> None:
    values = {"A": "%REQ(:PATH)% via %LISTENER_NAME%", "B": "100%%", "C": "%REQ(nothing)%"}
    assert changed(set=values, target="/x") == [("a", "/x via web"), ("b", "100%"), ("c", "-")]


def test_what_a_client_says_stays_in_one_field() -> None:
    assert changed(("X", "a\tb"), set={"A": "%REQ(x)%"})[-1][1].isprintable()


@pytest.mark.parametrize("name", sorted(UNTOUCHABLE))
def test_framing_is_not_for_routes(name: str) -> None:
    with pytest.raises(ValueError, match="not for routes to change"):
        compile_changes(FieldChanges(set={name.title(): "x"}))


@pytest.mark.parametrize("options", [{"set": {"a b": "c"}}, {"add": {"a": "b\r\nc"}}, {"append": {"a": "%NO_SUCH%"}}])
def test_what_is_wrong_is_said_when_the_file_is_read(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^(?:{next(iter(options))}: )"):
        compile_changes(FieldChanges(**options))
