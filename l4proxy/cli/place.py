"""Filters named by the wrong option: what reads bytes stands behind ``--use``, what reads messages behind the option of
their protocol, and some names are those of both."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, NamedTuple

from l4proxy.cli.use import parse_use
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.registry import Kind, options_of

if TYPE_CHECKING:
    from l4proxy.registry import Registry

__all__ = ["check_places"]


class _Place(NamedTuple):
    """An option that names filters."""

    option: str
    kind: Kind
    protocol: str | None
    called: str


def check_places(protocol: str, uses: Sequence[str], own: Sequence[str], registry: Registry) -> None:
    """Raises ConfigError where a filter of ``uses`` (``--use``) should be one of ``own`` (``--redis``), or the other
    way round, and says how to write it."""
    of_bytes = _Place("use", Kind.FILTER, None, "a filter of bytes")
    of_messages = _Place(protocol, Kind.MESSAGE_FILTER, protocol, "a message filter")
    for text in uses:
        _check(text, of_bytes, of_messages, registry)
    for text in own:
        _check(text, of_messages, of_bytes, registry)


def _check(text: str, place: _Place, other: _Place, registry: Registry) -> None:
    """Raises ConfigError for a filter that is not there, but in the ``other`` place; also where both have one of this
    name, and only the other has these options."""
    name, colon, options = text.partition(":")
    here, there = registry.names(place.kind, place.protocol), registry.names(other.kind, other.protocol)
    cause = ""

    def instead(right: str) -> str:
        return f"--{other.option} {right}{colon}{options}"

    if name in here and name in there:
        keys = {key for key in parse_use(text) if key != "use"}
        if not keys <= _keys(registry, place, name) and keys <= _keys(registry, other, name):
            cause = f"these are options of {other.called} that is called so, too: write {instead(name)}"
    elif name in there:
        cause = f"{name!r} is {other.called}: write {instead(name)}"
    elif (near := difflib.get_close_matches(name, [*here, *there], n=1)) and near[0] not in here:
        cause = f"unknown filter {name!r} (did you mean {instead(near[0])}?)"
    if cause:
        raise ConfigError([ConfigProblem(f"--{place.option} {text}", cause)])


def _keys(registry: Registry, place: _Place, name: str) -> set[str]:
    options = options_of(registry.find(place.kind, name, place.protocol))
    return {field.name for field in fields(options)} if is_dataclass(options) else set()
