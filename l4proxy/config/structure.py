"""From what a file says to dataclasses.

``structure`` goes through raw tables and arrays by the shapes of the dataclasses' fields. It does not stop at the first
problem: all are collected, each with its path, the file's line and, where there is one, the nearest right spelling.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from l4proxy.config.hints import options_shape, table_of
from l4proxy.config.shapes import (
    Array,
    Choice,
    Map,
    MatchShape,
    Scalar,
    Shape,
    Table,
    UnionShape,
    UseShape,
    fits,
    form_of,
    member_for,
)
from l4proxy.config.text import join, refusal
from l4proxy.config.types import Plugin, Use
from l4proxy.config.wording import bounds_text, expectation, unexpected
from l4proxy.errors import ConfigError, ConfigProblem, PluginError, did_you_mean
from l4proxy.registry import Kind

if TYPE_CHECKING:
    from l4proxy.registry import Registry

__all__ = ["EnvironmentText", "Origin", "complete", "structure"]

T = TypeVar("T")

_FAILED: Any = object()
"""Stands for a value that could not be read; the problem is recorded."""
_ON_ERROR = Choice({"close": "close", "bypass": "bypass"})


class EnvironmentText(str):
    """Text with an environment variable put in. Where a number, or true or false, is expected, it is read as that."""

    __slots__ = ()


class Origin(Protocol):
    """Where raw values come from."""

    @property
    def file(self) -> str: ...

    @property
    def folder(self) -> Path:
        """Where relative file names start."""

    def line(self, path: str) -> int:
        """The line where ``path`` stands, or else what is around it; 0 when unknown."""


def structure(cls: type[T], raw: Any, *, path: str = "", registry: Registry, source: Origin | None = None) -> T:
    """Make an instance of the dataclass ``cls`` from plain data. Raises ConfigError with everything that is wrong."""
    reader = _Reader(registry, source)
    value: T = reader.read(table_of(cls), raw, path)
    return reader.result(value)


def complete(config: T, registry: Registry) -> T:
    """Load each ``Use("NAME", {...})`` of a configuration that was made of objects. Raises ConfigError."""
    reader = _Reader(registry, None)
    loaded: T = reader.complete(table_of(type(config)), config, "")
    return reader.result(loaded)


class _Reader:
    """One pass over one configuration. Methods return ``_FAILED`` where they have recorded a problem."""

    def __init__(self, registry: Registry, origin: Origin | None) -> None:
        self.registry = registry
        self.origin = origin
        self.folder = origin.folder if origin else Path()
        self.problems: list[ConfigProblem] = []
        self.around: list[tuple[str, Table]] = []
        """The tables that are being read, with their paths, the innermost last."""

    def result(self, value: T) -> T:
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: problem.line))
        return value

    def problem(self, path: str, cause: str) -> Any:
        file, line = (self.origin.file, self.origin.line(path)) if self.origin else ("", 0)
        self.problems.append(ConfigProblem(path, cause, file=file, line=line))
        return _FAILED

    def read(self, shape: Shape, raw: Any, path: str) -> Any:
        """Read a raw value. In a mapping that a program made, it may be an object of the right type already."""
        if isinstance(raw, EnvironmentText) and "text" not in shape.forms:
            raw = _without_quotes(raw)
        form = form_of(raw)
        if form == "object" and fits(shape, raw):
            return self.complete(shape, raw, path)
        if shape.forms and form not in shape.forms:
            return self.problem(path, unexpected(shape, raw))
        match shape:
            case Scalar():
                return self._scalar(shape, raw, path)
            case Choice():
                return self._choice(shape, raw, path)
            case Array():
                items = [self.read(shape.item, item, f"{path}[{at}]") for at, item in enumerate(raw)]
                return _FAILED if _FAILED in items else shape.make(items)
            case Map():
                values = {key: self.read(shape.value, item, join(path, key)) for key, item in raw.items()}
                return _FAILED if _FAILED in values.values() else values
            case Table():
                return self._table(shape, raw, path)
            case UnionShape():
                return self._union(shape, raw, path)
            case UseShape():
                return self._use(shape.plugin, raw, path)
            case MatchShape():
                uses = [self._matcher(name, options, path) for name, options in raw.items()]
                return _FAILED if _FAILED in uses else tuple(uses)
        raise TypeError(f"unknown shape {shape}")

    def _scalar(self, shape: Scalar, raw: Any, path: str) -> Any:
        try:
            value = shape.parse(raw, self.folder) if shape.needs_folder else shape.parse(raw)
        except ValueError as error:
            return self.problem(path, str(error))
        low, high = shape.bounds.min, shape.bounds.max
        if (low is None or value >= low) and (high is None or value <= high):
            return value
        return self.problem(path, f"{shape.dump(value)} is out of range (it must be {bounds_text(shape)})")

    def _choice(self, shape: Choice, raw: Any, path: str) -> Any:
        if raw in shape.values:
            return shape.values[raw]
        return self.problem(path, f"unknown value {raw!r}{did_you_mean(str(raw), map(str, shape.values))}")

    def _union(self, shape: UnionShape, raw: Any, path: str) -> Any:
        """The first member that can read the value or, if none can, the one that has the fewest problems with it."""
        forms = {form_of(raw)}
        if isinstance(raw, EnvironmentText):
            forms.add(form_of(_without_quotes(raw)))
        members = [m for m in shape.members if forms & m.forms] or [m for m in shape.members if not m.forms]
        problems, value = min((self._attempt(member, raw, path) for member in members), key=lambda one: len(one[0]))
        if problems and _is_vague(members, problems[0].cause):
            return self.problem(path, unexpected(shape, raw))
        self.problems += problems
        return value

    def _attempt(self, shape: Shape, raw: Any, path: str) -> tuple[list[ConfigProblem], Any]:
        before, self.problems = self.problems, []
        value = self.read(shape, raw, path)
        problems, self.problems = self.problems, before
        return problems, value

    def _table(self, table: Table, raw: Any, path: str) -> Any:
        if not isinstance(raw, Mapping):
            short = table.short_form
            return self._make(table, {short: self.read(table.fields[short].shape, raw, path)}, path)
        self.around.append((path, table))
        given = {
            name: self.read(f.shape, raw[name], join(path, name)) for name, f in table.fields.items() if name in raw
        }
        for key in (str(key) for key in raw if key not in table.fields):
            self.problem(join(path, key), f"unknown key{self._nearest_key(key)}")
            for name in difflib.get_close_matches(key, table.fields, n=1):
                given.setdefault(name, _FAILED)  # it is misspelt, not missing
        self.around.pop()
        return self._make(table, given, path)

    def _make(self, table: Table, given: dict[str, Any], path: str) -> Any:
        for name, field in table.fields.items():
            if name not in given and field.default is dataclasses.MISSING:
                given[name] = self.problem(join(path, name), f"is missing (expected {expectation(field.shape)})")
            elif name not in given:
                given[name] = self.complete(field.shape, field.default, join(path, name))
        if _FAILED in given.values():
            return _FAILED
        try:
            return table.cls(**given)
        except ValueError as error:
            return self.problem(*refusal(path, error, table.cls))

    def _nearest_key(self, key: str) -> str:
        """The classic mistake in TOML is a key of the outer table that stands behind the header of an inner one."""
        *outer, (_, table) = self.around
        nearest = did_you_mean(key, table.fields)
        if "did you mean" not in nearest:
            for path, around in reversed(outer):
                if key in around.fields:
                    return f" (it belongs to {path or 'the top level'}; in TOML, before the header of a sub-table)"
        return nearest

    def _use(self, plugin: Plugin, raw: Any, path: str) -> Any:
        options = {"use": raw} if isinstance(raw, str) else dict(raw)
        name = options.pop("use", None)
        if not isinstance(name, str):
            return self.problem(join(path, "use"), f"is missing{self._use_hint(plugin, options)}")
        on_error = "close"
        if plugin.can_bypass and "on_error" in options:
            on_error = self.read(_ON_ERROR, options.pop("on_error"), join(path, "on_error"))
        return self._load(plugin, name, options, path, on_error)

    def _matcher(self, name: str, options: Any, path: str) -> Any:
        return self._load(Plugin(Kind.MATCHER), name, options, join(path, name))

    def _load(self, plugin: Plugin, name: str, options: Any, path: str, on_error: Any = "close") -> Any:
        try:
            cls = self.registry.find(plugin.kind, name, plugin.protocol)
        except (LookupError, PluginError) as error:
            return self.problem(path, f"{error.args[0]}{self._plugin_hint(plugin, name, error.args[0])}")
        config = self.read(options_shape(cls), {} if options is None else options, path)
        return _FAILED if _FAILED in (config, on_error) else Use(name, config, on_error, cls, path)

    def _use_hint(self, plugin: Plugin, options: Mapping[str, Any]) -> str:
        names = set(self.registry.names(plugin.kind, plugin.protocol))
        for key, value in options.items():
            name = key if key in names else value
            if isinstance(name, str) and name in names:
                return f' (write {{ use = "{name}", ... }})'
        return f" (it names the {plugin.kind.value})"

    def _plugin_hint(self, plugin: Plugin, name: str, said: str) -> str:
        others = [kind for kind in Kind if kind is not plugin.kind and name in self.registry.names(kind)]
        if others:
            return f"; {name!r} is a {others[0].value}"
        return "" if "did you mean" in said else "; if a plugin brings it, is that installed?"

    def complete(self, shape: Shape, value: Any, path: str) -> Any:
        """Load what is not loaded yet in a default, or in a configuration that a program made of objects."""
        match shape:
            case UseShape():
                return value if value.cls else self._load(shape.plugin, value.name, value.config, path, value.on_error)
            case MatchShape():
                uses = [use if use.cls else self._matcher(use.name, use.config, path) for use in value]
                return _FAILED if _FAILED in uses else tuple(uses)
            case Array():
                items = [self.complete(shape.item, item, f"{path}[{at}]") for at, item in enumerate(value)]
                return _FAILED if _FAILED in items else shape.make(items)
            case Map():
                values = {key: self.complete(shape.value, item, join(path, key)) for key, item in value.items()}
                return _FAILED if _FAILED in values.values() else values
            case UnionShape():
                return self.complete(member_for(shape, value), value, path)
            case Table():
                given = {name: getattr(value, name) for name in shape.fields}
                loaded = {
                    name: self.complete(f.shape, given[name], join(path, name)) for name, f in shape.fields.items()
                }
                return value if loaded == given else self._make(shape, loaded, path)
        return value


def _is_vague(members: list[Shape], cause: str) -> bool:
    """Whether a cause speaks of one member only, where all of them are to be named."""
    scalars = all(isinstance(member, Scalar | Choice) for member in members)
    return scalars and (len(members) > 1 or isinstance(members[0], Choice)) and "did you mean" not in cause


def _without_quotes(text: str) -> Any:
    """Read text as the number, or true or false, that it would be without quotes."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
