from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.access_log.format import DEFAULT_JSON, check_format, compile_json, compile_line, compile_text
from l4proxy.access_log.operator_table import OperatorTable
from l4proxy.filter import Peer
from records import REFUSED, bare, record


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("%DURATION%", "1234"),
        ("[%LISTENER_NAME%] %BYTES_SENT%B", "[web] 4096B"),
        ("%LISTENER_NAME%%BYTES_SENT%", "web4096"),
        ("100%% %DURATION%", "100% 1234"),
        ("%%DURATION%% %DURATION%", "%DURATION% 1234"),
        ("%UPSTREAM_CLUSTER:1%", "d"),
        ("%UPSTREAM_CLUSTER:99%", "db"),
        ("%DURATION:2%", "12"),
        ("%RESPONSE_FLAGS:1%", "-"),
        ("%START_TIME(%H:%M)%", "03:03"),
        ("%START_TIME(%H:%M):2%", "03"),
        ("%START_TIME((%H))% %DURATION%", "(03) 1234"),
        ("%START_TIME(%s)% %START_TIME(%3f)%", "1767322984 678"),
        ("%FILTER_STATE(sniff:user)%/%FILTER_STATE(none)%", "ann/-"),
        ("a\tb %s {} %%d %LISTENER_NAME%", None),
    ],
)
def test_texts(format: str, line: str | None) -> None:
    if line is None:
        with pytest.raises(ValueError, match="'%s"):
            compile_text(format)
    else:
        assert compile_text(format)(record()) == line


def test_what_there_is_not_is_a_dash() -> None:
    assert compile_text("%UPSTREAM_HOST% %RESPONSE_FLAGS% %FILTER_CHAIN_NAME%")(bare()) == "- - -"


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("", "has no operator in it"),
        ("hello", "'hello' has no operator in it"),
        ("50% of %DURATION%", "'% of %DURATION%' is not an operator (%NAME%); a percent sign is written %%"),
        ("%DURATION", "'%DURATION' is not an operator"),
        ("%START_TIME(%H%", "'%START_TIME(%H%' is not an operator"),
        ("%DURATION:x%", "'%DURATION:x%' is not an operator"),
        ("%DURATON%", "unknown operator %DURATON% (did you mean 'DURATION'?)"),
        ("%ENVIRONMENT%", "%ENVIRONMENT% needs an argument: %ENVIRONMENT(...)%"),
        ("%DURATION(ms)%", "%DURATION% takes no argument"),
    ],
)
def test_a_wrong_format_is_refused(format: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        compile_text(format)


@given(st.text())
def test_whatever_a_client_sends_stays_on_its_line(text: str) -> None:
    line = compile_text("%REQUESTED_SERVER_NAME% %FILTER_STATE(user)%")(record(server_name=text, state={"user": text}))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    line.encode()


def test_json_keeps_types_and_nesting() -> None:
    template = {
        "listener": "%LISTENER_NAME%",
        "bytes": {"in": "%BYTES_RECEIVED%", "out": "%BYTES_SENT%"},
        "both": "%BYTES_RECEIVED%/%BYTES_SENT%",
        "flags": "%RESPONSE_FLAGS%",
        "flags text": "flags: %RESPONSE_FLAGS%",
        "short": "%UPSTREAM_CLUSTER:1%",
        "list": ["%DURATION%", "%PROTOCOL%", 1],
        "query": "%FILTER_STATE(sniff:query)%",
        "version": 2,
        "test": True,
        "fixed": "100%%",
    }
    assert compile_json(template)(record()) == {
        "listener": "web",
        "bytes": {"in": 120, "out": 4096},
        "both": "120/4096",
        "flags": None,
        "flags text": "flags: -",
        "short": "d",
        "list": [1234, "tls", 1],
        "query": {"kind": "select", "rows": 3},
        "version": 2,
        "test": True,
        "fixed": "100%",
    }


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"a": "%NOPE%"}, "a: unknown operator %NOPE%"),
        ({"a": ["x", "%"]}, "a[1]: '%' is not an operator"),
        ({"a": {"b": {"c": "%DURATION(x)%"}}}, "a.b.c: %DURATION% takes no argument"),
    ],
)
def test_a_wrong_template_is_refused_with_its_place(template: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        compile_json(template)


def test_the_default_text_can_be_read_by_a_person() -> None:
    assert compile_line("text")(record(tls=None)) == (
        "2026-01-02T03:03:04.678Z #7 web 203.0.113.9:50000 > db 10.1.0.5:5432"
        " received=120 sent=4096 ms=1234 flags=- client:eof phase=relay"
    )
    assert compile_line("text")(record(reason=REFUSED)).endswith(
        "flags=UF,URX upstream:connect_refused phase=connecting errno=ECONNREFUSED refused"
    )


def test_the_default_json_is_one_line_with_every_key() -> None:
    line = compile_line("json")(record(reason=REFUSED))
    entry = json.loads(line)
    assert "\n" not in line
    assert list(entry) == list(DEFAULT_JSON)
    assert (entry["bytes_sent"], entry["response_flags"], entry["close_errno"]) == (4096, "UF,URX", 111)
    assert json.loads(compile_line("json")(bare()))["upstream_host"] is None


def test_json_survives_anything_in_the_state() -> None:
    line = compile_line({"state": "%FILTER_STATE(it)%"})
    assert json.loads(line(record(state={"it": b"\xff"}))) == {"state": "b'\\xff'"}
    assert json.loads(line(record(state={"it": "\ud800\n"}))) == {"state": "\ud800\n"}
    line(record(state={"it": "\ud800\n"})).encode()


def test_a_unix_client_has_a_name() -> None:
    assert compile_text("%DOWNSTREAM_REMOTE_ADDRESS%")(record(client=Peer("", 0))) == "unix"


def test_other_operators_can_be_used() -> None:
    table = OperatorTable()
    table.add("COMMAND", lambda r: r.state["command"], "The command.")
    assert compile_text("%COMMAND%", table)(record(state={"command": "GET"})) == "GET"
    assert compile_line({"c": "%COMMAND%"}, table)(record(state={"command": "GET"})) == '{"c":"GET"}'


def test_a_sinks_options_name_the_field_that_is_wrong() -> None:
    check_format("json")
    check_format({"a": "%DURATION%"})
    with pytest.raises(ValueError, match=r"^format: unknown operator %DURATON%"):
        check_format("%DURATON%")
    with pytest.raises(ValueError, match=r"^format: a\.b: unknown operator"):
        check_format({"a": {"b": "%DURATON%"}})
