from __future__ import annotations

import pytest

from l4proxy.access_log.operator_table import Attribute, OperatorTable
from records import record


@pytest.fixture
def table() -> OperatorTable:
    table = OperatorTable()
    table.add("DURATION", lambda r: r.duration, "Seconds.")
    table.add_with_argument("STATE", lambda key: lambda r: r.state.get(key), "What a filter left.")
    table.add_with_argument("START", lambda pattern: lambda _r: pattern or "default", "When.", optional=True)
    return table


def test_operators_are_found_by_name(table: OperatorTable) -> None:
    assert table.reader("DURATION", None)(record(duration=2.5)) == 2.5
    assert table.reader("STATE", "sniff:user")(record()) == "ann"
    assert table.reader("START", None)(record()) == "default"
    assert table.reader("START", "%H")(record()) == "%H"


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("DURATOIN", None, r"unknown operator %DURATOIN% \(did you mean 'DURATION'\?\)"),
        ("duration", None, r"unknown operator %duration% \(did you mean 'DURATION'\?\)"),
        ("XYZ", None, r"unknown operator %XYZ%$"),
        ("DURATION", "ms", "%DURATION% takes no argument"),
        ("STATE", None, r"%STATE% needs an argument: %STATE\(\.\.\.\)%"),
        ("STATE", "", "%STATE% needs an argument"),
    ],
)
def test_what_is_wrong_is_said(table: OperatorTable, name: str, argument: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table.reader(name, argument)


def test_a_name_is_given_once(table: OperatorTable) -> None:
    with pytest.raises(ValueError, match="there is an operator %DURATION% already"):
        table.add("DURATION", lambda _r: 0, "Something else.")


def test_a_table_lists_its_operators_with_their_meaning(table: OperatorTable) -> None:
    assert [(one.name, one.meaning, one.argument) for one in table] == [
        ("DURATION", "Seconds.", "none"),
        ("STATE", "What a filter left.", "required"),
        ("START", "When.", "optional"),
    ]


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (Attribute("reason.who"), "client"),
        (Attribute("duration", show=round), 2),
        (Attribute("bytes_sent"), 0),
        (Attribute("nobody.knows"), None),
        (Attribute("nobody", show=str), None),
        (Attribute("server_name", text=True), None),
        (Attribute("server_name", "endpoint", text=True), "db:5432"),
        (Attribute("nobody", "listener", show=str.upper, text=True), "WEB"),
    ],
)
def test_an_attribute_is_read_by_its_path(read: Attribute, value: object) -> None:
    one = record(listener="web", duration=2.2, server_name="", endpoint="db:5432", bytes_sent=0)
    assert read(one) == value


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(ValueError, match="'a b' is not the path of an attribute"):
        Attribute("a", "a b")
