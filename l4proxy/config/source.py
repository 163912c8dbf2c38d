"""Configuration files: found, decoded, parsed, and filled in from the environment.

TOML and JSON are read here; any other format comes from a plugin's ``load_config`` hook, and then has no lines.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from l4proxy.config.structure import EnvironmentText
from l4proxy.config.text import join
from l4proxy.errors import ConfigError, ConfigProblem, nearest_file

__all__ = ["LoadConfig", "Source", "parse_text", "read_file", "read_text"]

LoadConfig = Callable[[Path], Mapping[str, Any] | None]
"""The hook for other formats: the contents of a file, or None for "not mine"."""

_REFERENCE = r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{"
_TOML_PLACE = r"(.*) \(at line (\d+), column (\d+)\)"
_TOML_HINTS = {
    "Cannot overwrite a value": "the key stands there twice",
    "Expected newline or end of document after a statement": "text stands in quotes",
    "Invalid initial character for a key part": "an inline table { ... } stands on one line",
    "Invalid value": "text stands in quotes",
}


class Source:
    """A file that was read: its ``data``, and where everything stands in it."""

    def __init__(self, path: Path, text: str, data: Mapping[str, Any]) -> None:
        self.file = str(path)
        self.folder = path.parent
        self._path = path
        self._text = text
        self._lines: dict[str, int] | None = None
        self.data = self._filled_in(data)

    def line(self, path: str) -> int:
        """The line of a path, or of what is around it; 0 when unknown. Scans the file when first called."""
        from l4proxy.config.lines import json_lines, line_of, toml_lines

        if self._lines is None:
            scan = {".toml": toml_lines, ".json": json_lines}.get(self._path.suffix.lower())
            self._lines = scan(self._text) if scan else {}
        return line_of(path, self._lines)

    def _filled_in(self, data: Mapping[str, Any]) -> dict[str, Any]:
        problems: list[ConfigProblem] = []

        def fill_in(raw: Any, path: str) -> Any:
            match raw:
                case str() if "${" in raw:
                    try:
                        return _substitute(raw)
                    except ValueError as error:
                        problems.append(ConfigProblem(path, str(error), file=self.file, line=self.line(path)))
                case list():
                    return [fill_in(item, f"{path}[{index}]") for index, item in enumerate(raw)]
                case Mapping():
                    return {key: fill_in(item, join(path, str(key))) for key, item in raw.items()}
            return raw

        filled: dict[str, Any] = fill_in(data, "")
        if problems:
            raise ConfigError(sorted(problems, key=lambda problem: problem.line))
        return filled


def read_file(path: str | os.PathLike[str], load_config: LoadConfig | None = None) -> Source:
    """Raises ConfigError when the file cannot be read or is not what its suffix says."""
    return parse_text(path, read_text(path, load_config))


def read_text(path: str | os.PathLike[str], load_config: LoadConfig | None = None) -> str:
    """What a file says, as text that ``parse_text`` understands without the file: several processes that are given
    the same text have the same configuration, whatever happens to the file meanwhile.

    Of TOML and JSON it is the file's own text; of other formats what the hook made of it, as JSON. Raises ConfigError.
    """
    path = Path(path)
    text = _read_text(path)
    return text if path.suffix.lower() in (".toml", ".json") else _translate(path, load_config)


def parse_text(path: str | os.PathLike[str], text: str) -> Source:
    """``path`` is where the text was read: relative names in it begin there. Raises ConfigError."""
    path = Path(path)
    data = _parse_toml(path, text) if path.suffix.lower() == ".toml" else _parse_json(path, text)
    if not isinstance(data, Mapping):
        raise _error(path, 0, "has to be a table of keys and values")
    return Source(path, text, data)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _error(path, 0, f"cannot be read: {error.strerror}{nearest_file(path)}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error(path, content.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None


def _parse_toml(path: Path, text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.fullmatch(_TOML_PLACE, str(error))
        if not place:
            raise _error(path, text.count("\n") + 1, f"TOML syntax: {error}") from None
        cause, line, column = place.groups()
        hint = f" ({_TOML_HINTS[cause]})" if cause in _TOML_HINTS else ""
        raise _error(path, int(line), f"TOML syntax, column {column}: {cause}{hint}") from None
    except RecursionError:
        raise _error(path, 0, "is nested too deeply") from None


def _parse_json(path: Path, text: str) -> Any:
    import json

    from l4proxy.config.lines import repeated_keys

    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _error(path, error.lineno, f"JSON syntax, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _error(path, 0, "is nested too deeply") from None
    except ValueError as error:
        raise _error(path, 0, f"JSON syntax: {error}") from None
    repeated = [
        ConfigProblem(at, "stands here for the second time", file=str(path), line=line)
        for at, line in repeated_keys(text)
    ]
    if repeated:
        raise ConfigError(repeated)
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _translate(path: Path, load_config: LoadConfig | None) -> str:
    import json

    try:
        data = load_config(path) if load_config else None
        if data is not None:
            return json.dumps(data if isinstance(data, Mapping) else [], default=str)
    except (ValueError, OSError) as error:
        raise _error(path, 0, str(error)) from error
    suffix = path.suffix.lower() or "a file without suffix"
    raise _error(path, 0, f"l4proxy reads .toml and .json; {suffix} needs a plugin that reads it")


def _substitute(text: str) -> str:
    """Put in ``${NAME}`` and ``${NAME:-default}``; ``$${`` is a plain ``${``. Raises ValueError."""
    replaced = False

    def value_of(reference: re.Match[str]) -> str:
        nonlocal replaced
        plain, name, default = reference.groups()
        if plain:
            return "${"
        if not name:
            raise ValueError(
                '"${" begins an environment variable: ${NAME} or ${NAME:-default} (a plain "${" is written "$${")'
            )
        replaced = True
        value = os.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            near = difflib.get_close_matches(name, os.environ, n=1, cutoff=0.75)
            hint = f"did you mean {near[0]}?" if near else f"${{{name}:-...}} gives a default"
            raise ValueError(f"the environment variable {name} is not set ({hint})")
        return value

    filled = re.sub(_REFERENCE, value_of, text)
    return EnvironmentText(filled) if replaced else filled


def _error(path: Path, line: int, cause: str) -> ConfigError:
    return ConfigError([ConfigProblem("", cause, file=str(path), line=line)])
