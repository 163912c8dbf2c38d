"""What plugins have registered, by kind and name.

``register`` checks a class against the contract of its kind before anything uses it, so that a mistake shows at
start-up, on the plugin's own line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from l4proxy.contract_check import contract_problem
from l4proxy.errors import PluginError, did_you_mean
from l4proxy.kind import Kind, options_of

__all__ = ["Entry", "Kind", "Registry", "options_of"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered class. ``plugin`` is the name of the plugin that registered it, ``doc`` its docstring's first
    line, ``protocol`` what a message filter speaks (empty for every other kind)."""

    kind: Kind
    name: str
    cls: type[Any]
    plugin: str
    doc: str
    status: str
    posture: str
    protocol: str


class Registry:
    """The registered classes of one process. Filled while plugins load, read while a configuration is loaded."""

    def __init__(self) -> None:
        self._entries: dict[tuple[Kind, str, str], Entry] = {}
        self._expected: dict[tuple[Kind, str, str], tuple[str, Callable[[], None]]] = {}

    def register(self, kind: Kind, cls: type[Any], plugin: str) -> None:
        """Check ``cls`` and keep it under its ``name``. Raises PluginError, naming plugin, class and line."""
        problem = contract_problem(kind, cls)
        if problem:
            raise PluginError(f"plugin {plugin!r}: {kind.value} {_place(cls)}: {problem}")
        protocol = cls.protocol if kind is Kind.MESSAGE_FILTER else ""
        key = (kind, protocol, cls.name)
        owner = self._owner(key)
        if key in self._entries or owner not in (None, plugin):
            raise PluginError(
                f"plugin {plugin!r}: {kind.value} {_place(cls)}: the name {cls.name!r} is taken by plugin {owner!r};"
                f" rename one, or leave one out with --disable-plugin {plugin} (or {owner})"
            )
        self._expected.pop(key, None)
        doc = (cls.__doc__ or "").strip().partition("\n")[0]
        status, posture = getattr(cls, "status", ""), getattr(cls, "posture", "")
        self._entries[key] = Entry(kind, cls.name, cls, plugin, doc, status, posture, protocol)

    def expect(self, kind: Kind, name: str, plugin: str, load: Callable[[], None], protocol: str = "") -> None:
        """Know a name before its plugin is imported. ``load()`` is called when it is wanted, and must register it."""
        self._expected[kind, protocol, name] = (plugin, load)

    def find(self, kind: Kind, name: str, protocol: str | None = None) -> type[Any]:
        """Return the class called ``name``. Raises LookupError with the nearest known name.

        Message filters have names of their own within each ``protocol``: ``fault`` of http is not ``fault`` of kafka.
        Without a protocol the name must be clear without it.
        """
        keys = [key for key in self._keys() if key[0] is kind and key[2] == name]
        fitting = [key for key in keys if protocol in (None, key[1])]
        if not keys:
            spoken = f"{protocol} " if protocol else ""
            raise LookupError(f"unknown {spoken}{kind.value} {name!r}{did_you_mean(name, self.names(kind, protocol))}")
        if len(fitting) != 1:
            spoken = " and ".join(sorted(key[1] for key in keys))
            raise LookupError(
                f"{kind.value} {name!r} speaks {spoken}" + (f", not {protocol}" if protocol else ": say which")
            )
        return self._entry(fitting[0]).cls

    def names(self, kind: Kind, protocol: str | None = None) -> list[str]:
        """Every name of a kind, sorted; of message filters, only those of ``protocol`` where one is given."""
        return sorted({n for k, p, n in self._keys() if k is kind and protocol in (None, p)})

    def entries(self, kind: Kind) -> list[Entry]:
        """Everything of a kind, sorted by name. Imports the plugins that were only expected."""
        entries = [self._entry(key) for key in list(self._keys()) if key[0] is kind]
        return sorted(entries, key=lambda entry: (entry.name, entry.protocol))

    def entries_of(self, plugin: str) -> list[Entry]:
        """What a plugin has registered, sorted by kind and name. Imports nothing."""
        entries = [entry for entry in self._entries.values() if entry.plugin == plugin]
        return sorted(entries, key=lambda entry: (entry.kind.value, entry.name, entry.protocol))

    def names_of(self, plugin: str) -> list[tuple[Kind, str]]:
        """Everything that a plugin has registered or is expected to, sorted."""
        return sorted(
            ((key[0], key[2]) for key in self._keys() if self._owner(key) == plugin), key=lambda k: (k[0].value, k[1])
        )

    def _entry(self, key: tuple[Kind, str, str]) -> Entry:
        if key in self._expected:
            plugin, load = self._expected[key]
            load()
            if key not in self._entries:
                raise PluginError(f"plugin {plugin!r} does not register the {key[0].value} {key[2]!r}")
        return self._entries[key]

    def _owner(self, key: tuple[Kind, str, str]) -> str | None:
        if key in self._entries:
            return self._entries[key].plugin
        return self._expected[key][0] if key in self._expected else None

    def _keys(self) -> Iterator[tuple[Kind, str, str]]:
        yield from self._entries
        yield from self._expected


def _place(cls: object) -> str:
    """``Shout (l4proxy_shout.py:7)``, as far as it can be known."""
    if not isinstance(cls, type):
        return repr(cls)
    try:
        return f"{cls.__name__} ({inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]})"
    except (OSError, TypeError):
        return f"{cls.__name__} ({cls.__module__})"
