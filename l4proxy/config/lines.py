"""At which line of a file does a path of the configuration stand?

The standard parsers tell values, not places. So when there is something to complain about, the text is scanned a
second time, for nothing but keys, brackets and line ends. The scanner trusts that the text was parsed before; where
it was not, it finds less, but it raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from l4proxy.config.text import join

__all__ = ["json_lines", "line_of", "repeated_keys", "toml_lines"]

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[\w-]+)[ \t]*""", re.A)
_DOT = re.compile(r"\.[ \t]*")
_ASSIGN = re.compile(r"[=:]")
_COMMA = re.compile(r",")
_HEADER = re.compile(r"\[\[?[ \t]*")
_HEADER_END = re.compile(r"\]\]?")
_SCALAR = re.compile(
    r"""  \"{3} (?: [^\\] | \\. )*? \"{3,5}    # multi-line text may end in one or two quotes of its own
        | '{3} .*? '{3,5}
        | \" (?: [^"\\\n] | \\. )* \"
        | ' [^'\n]* '
        | \d{4}-\d\d-\d\d[ ]\d\d: [^\s\#,\[\]{}]*
        | [^\s\#,\[\]{}"']+
    """,
    re.X | re.S,
)
_LAST_STEP = re.compile(r'(?:\.?"(?:[^"\\]|\\.)*"|\.?[^."\[\]]+|\[\d+\])$')


def toml_lines(text: str) -> dict[str, int]:
    """The line of every key, table and array item, by its path."""
    scanner = _Scanner(text, _unquote_toml)
    with suppress(RecursionError):
        scanner.document()
    return scanner.lines


def json_lines(text: str) -> dict[str, int]:
    """The line of every key and array item, by its path."""
    return _scan_json(text).lines


def repeated_keys(text: str) -> Iterator[tuple[str, int]]:
    """Keys that stand in a JSON object for a second time, with lines; the standard parser lets them pass."""
    return iter(_scan_json(text).repeated)


def line_of(path: str, lines: dict[str, int]) -> int:
    """The line of ``path`` or, where the file does not have it, of the nearest table around it; else 0."""
    while path and path not in lines:
        shorter = _LAST_STEP.sub("", path)
        path = shorter if shorter != path else ""
    return lines.get(path, 0)


def _scan_json(text: str) -> _Scanner:
    scanner = _Scanner(text, _unquote_json)
    with suppress(RecursionError):
        scanner.value("")
    return scanner


def _unquote_toml(key: str) -> str:
    from tomllib import TOMLDecodeError, loads

    with suppress(TOMLDecodeError):
        return str(loads(f"key = {key}")["key"])
    return key


def _unquote_json(key: str) -> str:
    from json import loads

    with suppress(ValueError):
        return str(loads(key))
    return key


class _Scanner:
    """Walks over a document from its beginning to its end, and notes where things stand."""

    def __init__(self, text: str, unquote: Callable[[str], str]) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[str, int] = {}
        self.repeated: list[tuple[str, int]] = []
        self._unquote = unquote
        self._counted = 0
        self._line = 1
        self._last_index: dict[str, int] = {}
        """Of arrays of tables, the index of the table that was begun last."""

    def document(self) -> None:
        """The top level of a TOML document."""
        table = ""
        while self._space() != "":
            before = self.at
            if header := self._take(_HEADER):
                table = self._header(is_array=header.startswith("[["))
            else:
                self._pair(table)
            if self.at == before:
                self.at += 1

    def value(self, path: str) -> None:
        match self._space():
            case "[":
                self._array(path)
            case "{":
                self._table(path)
            case _:
                self._take(_SCALAR)

    def _array(self, path: str) -> None:
        self.at += 1
        index = 0
        while self._space() not in ("]", ""):
            before = self.at
            self.lines[f"{path}[{index}]"] = self._line_here()
            self.value(f"{path}[{index}]")
            self._space()
            self._take(_COMMA)
            index += 1
            if self.at == before:
                return
        self.at += 1

    def _table(self, path: str) -> None:
        self.at += 1
        while self._space() not in ("}", ""):
            before = self.at
            self._pair(path)
            self._space()
            self._take(_COMMA)
            if self.at == before:
                return
        self.at += 1

    def _pair(self, path: str) -> None:
        line = self._line_here()
        keys = self._keys()
        for position, key in enumerate(keys):
            path = join(path, key)
            if position == len(keys) - 1 and path in self.lines:
                self.repeated.append((path, line))
            self.lines.setdefault(path, line)
        self._space()
        if self._take(_ASSIGN):
            self.value(path)

    def _header(self, *, is_array: bool) -> str:
        line = self._line_here()
        keys = self._keys()
        self._take(_HEADER_END)
        path = ""
        for position, key in enumerate(keys):
            path = join(path, key)
            self.lines.setdefault(path, line)
            if is_array and position == len(keys) - 1:
                self._last_index[path] = self._last_index.get(path, -1) + 1
            if path in self._last_index:
                path = f"{path}[{self._last_index[path]}]"
                self.lines.setdefault(path, line)
        return path

    def _keys(self) -> list[str]:
        keys = []
        while key := self._take(_KEY):
            key = key.rstrip(" \t")
            keys.append(self._unquote(key) if key[0] in "\"'" else key)
            if not self._take(_DOT):
                break
        return keys

    def _space(self) -> str:
        """Skip blanks and comments; return the next character, or nothing at the end."""
        self._take(_SPACE)
        return self.text[self.at : self.at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found[0]

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line
