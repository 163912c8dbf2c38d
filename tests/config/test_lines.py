"""The scanner against documents whose lines are known because the test wrote them, and against anything at all."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config.lines import json_lines, line_of, repeated_keys, toml_lines
from l4proxy.config.text import join, toml_text

EXAMPLE = '''\
# A comment with [brackets] and "quotes"
title = "x = [1, 2] # no comment"
"quoted key".'literal key'.bare = 1

[owner]
dotted.inside.table = true
text = """
[not.a.header]
key = "not a key"
\\""" still text""""
literal = \'\'\'
[[nor this]] \'\'\'
when = 1979-05-27 07:32:00  # a space in a date
after = 1

[[listeners]]
address = "a"
filters = [
    # a comment, with ]
    "one", { use = "two", options = { deep = [1,
        2] } },
    "three",
]
[[listeners.chains]]
name = "first"
[listeners.chains.tls]
cert = "x"
[[listeners.chains]]
name = "second"

[[listeners]]
"a.b" = 1
[listeners."c]d"]
e = {f = 1, "g}" = 2}
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("title", 2),
        ('"quoted key"', 3),
        ('"quoted key"."literal key".bare', 3),
        ("owner", 5),
        ("owner.dotted.inside", 6),
        ("owner.text", 7),
        ("owner.literal", 11),
        ("owner.when", 13),
        ("owner.after", 14),
        ("listeners[0]", 16),
        ("listeners[0].filters", 18),
        ("listeners[0].filters[0]", 20),
        ("listeners[0].filters[1].use", 20),
        ("listeners[0].filters[1].options.deep[0]", 20),
        ("listeners[0].filters[1].options.deep[1]", 21),
        ("listeners[0].filters[2]", 22),
        ("listeners[0].chains[0].name", 25),
        ("listeners[0].chains[0].tls.cert", 27),
        ("listeners[0].chains[1]", 28),
        ("listeners[1]", 31),
        ('listeners[1]."a.b"', 32),
        ('listeners[1]."c]d"', 33),
        ('listeners[1]."c]d".e."g}"', 34),
    ],
)
def test_lines_of_an_example(path: str, line: int) -> None:
    tomllib.loads(EXAMPLE)
    assert toml_lines(EXAMPLE)[path] == line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("title", 2),
        ("nothing", 0),
        ("nothing.at.all[3]", 0),
        ("owner.missing", 5),
        ("owner.missing.further[0]", 5),
        ("listeners[0].filters[7].use", 18),
        ("listeners[0].filters[1].missing", 20),
        ('listeners[1]."miss]ing".x', 31),
        ("listeners[9]", 16),
        ("", 0),
        ("..]][", 0),
    ],
)
def test_what_is_not_there_has_the_line_of_what_is_around_it(path: str, line: int) -> None:
    assert line_of(path, toml_lines(EXAMPLE)) == line


KEYS = st.text(alphabet="abyz_-1 .\"'\\#[]{}=,é\t\n", max_size=4)
SCALARS = st.booleans() | st.integers() | st.text(alphabet="ab\"'\\#[]{}=,\n\té", max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


class TomlWriter:
    """Writes a document in a style that ``draw`` decides, and remembers the line at which each path comes first."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[str, int] = {}

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def mark(self, path: str) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def filler(self) -> str:
        """What may stand between two lines."""
        return str(self.draw(st.sampled_from(["", "", "\n", "# [x]\n", '  # "\n', "\t\n\n"])))

    def key(self, key: str) -> str:
        if key.isascii() and key.replace("-", "a").replace("_", "a").isalnum() and self.chance():
            return key
        if key.isprintable() and "'" not in key and self.chance():
            return f"'{key}'"
        return toml_text(key)

    def document(self, table: dict[str, Any], path: str = "", header: str = "") -> None:
        below: list[tuple[str, Any]] = []
        for key, value in table.items():
            self.text += self.filler()
            tables = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            if (isinstance(value, dict) or tables) and self.chance():
                below.append((key, value))
            else:
                self.text += self.draw(st.sampled_from(["", "  "]))
                self.pair(path, key, value)
                self.text += self.draw(st.sampled_from(["\n", " # ]\n", "\r\n"]))
        for key, value in below:
            inner, name = join(path, key), f"{header}{self.key(key)}"
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                self.text += self.filler()
                self.mark(inner)
                at = inner
                if isinstance(value, list):
                    at = f"{inner}[{index}]"
                    self.mark(at)
                self.text += f"[[{name}]]\n" if isinstance(value, list) else f"[ {name} ]\n"
                self.document(item, at, f"{name}.")

    def pair(self, path: str, key: str, value: Any) -> None:
        self.mark(join(path, key))
        self.text += self.key(key)
        while isinstance(value, dict) and len(value) == 1 and self.chance():
            path = join(path, key)
            ((key, value),) = value.items()
            self.text += self.draw(st.sampled_from([".", " . "])) + self.key(key)
            self.mark(join(path, key))
        self.text += self.draw(st.sampled_from(["=", " = "]))
        self.value(value, join(path, key))

    def value(self, value: Any, path: str) -> None:
        match value:
            case list():
                self.text += "["
                for index, item in enumerate(value):
                    self.text += self.draw(st.sampled_from(["", "\n", " # [\n  "]))
                    self.mark(f"{path}[{index}]")
                    self.value(item, f"{path}[{index}]")
                    self.text += "," if index < len(value) - 1 or self.chance() else ""
                self.text += "]"
            case dict():
                self.text += "{"
                for index, (key, item) in enumerate(value.items()):
                    self.text += ", " if index else " "
                    self.pair(path, key, item)
                self.text += "}"
            case str() if "'''" not in value and not value.endswith("'") and "\t" not in value and self.chance():
                self.text += f"'''\n{value}'''"
            case str() if self.chance():
                self.text += '"""\n' + value.replace("\\", "\\\\").replace('"""', '\\"""') + '\\\n"""'
            case _:
                self.text += toml_text(value)


@given(DOCUMENTS, st.data())
def test_lines_of_any_toml_document(document: dict[str, Any], data: st.DataObject) -> None:
    writer = TomlWriter(data.draw)
    writer.document(document)
    assert tomllib.loads(writer.text) == document
    assert toml_lines(writer.text) == writer.lines


@given(DOCUMENTS, st.sampled_from([None, 0, 2]), st.booleans())
def test_lines_of_any_json_document(document: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    text = "\n\n" + json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    assert json_lines(text) == expected_json_lines(document, 3, indent)
    assert list(repeated_keys(text)) == []


def expected_json_lines(value: Any, line: int, indent: int | None, path: str = "") -> dict[str, int]:
    """From the number of lines that everything before takes up."""
    pairs: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        pairs = [(join(path, key), item) for key, item in value.items()]
    elif isinstance(value, list):
        pairs = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    lines: dict[str, int] = {}
    for at, item in pairs:
        line += indent is not None
        lines[at] = line
        lines |= expected_json_lines(item, line, indent, at)
        line += json.dumps(item, indent=indent).count("\n")
    return lines


def test_repeated_keys_of_json() -> None:
    text = '{"a": 1,\n "b": {"c": 1, "c": 2},\n "a": 2,\n "d": [{"c": 1}, {"c": 1}]}'
    assert list(repeated_keys(text)) == [("b.c", 2), ("a", 3)]


@given(st.text() | st.text(alphabet="ab.=[]{}\"',#\\\n :1"), st.text(alphabet='ab.[]"\\0'))
def test_the_scanner_never_raises(text: str, path: str) -> None:
    for lines in (toml_lines(text), json_lines(text)):
        assert 0 <= line_of(path, lines) <= text.count("\n") + 1


@pytest.mark.parametrize("text", ["[" * 100_000, "a = " + "[" * 100_000, "a={" * 100_000, '{"a":' * 100_000])
def test_deep_nesting_is_survived(text: str) -> None:
    toml_lines(text)
    json_lines(text)


def test_scanning_takes_time_in_proportion() -> None:
    """A quadratic scanner would need minutes for this."""
    text = "".join(f"[[listeners]]\nname = '{number}'\nitems = [1,\n2]\n" for number in range(20_000))
    assert toml_lines(text)["listeners[19999].items[1]"] == 80_000
