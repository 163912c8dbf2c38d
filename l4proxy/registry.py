"""What plugins have registered, by kind and name.

``register`` checks a class against the contract of its kind before anything uses it, so that a mistake shows at
start-up, on the plugin's own line, and not as a callback that is silently never called. The base class of a kind is
recognised by its name in the class's MRO: the registry imports none of them.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from l4proxy.errors import PluginError, did_you_mean

__all__ = ["Entry", "Kind", "Registry", "options_of"]

_SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAY_BE_ASYNC = frozenset({("Filter", "on_connect")})


class Kind(Enum):
    """What can be registered. The value is the word that messages use."""

    FILTER = "filter"
    MESSAGE_FILTER = "message filter"
    MATCHER = "matcher"
    PREAMBLE = "preamble"
    LOAD_BALANCER = "load balancer"
    DISCOVERY = "discovery"
    ACCESS_LOGGER = "access logger"
    STATS_SINK = "stats sink"
    COMMAND = "command"


_BASES = {
    Kind.FILTER: "Filter",
    Kind.MESSAGE_FILTER: "MessageFilter",
    Kind.MATCHER: "Matcher",
    Kind.PREAMBLE: "Preamble",
    Kind.LOAD_BALANCER: "LoadBalancer",
    Kind.DISCOVERY: "Discovery",
    Kind.ACCESS_LOGGER: "AccessLogger",
    Kind.STATS_SINK: "StatsSink",
    Kind.COMMAND: "Command",
}


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
        problem = _first_problem(kind, cls)
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


def options_of(cls: type[Any]) -> Any:
    """The type of a class's options: ``GateConfig`` for ``class Gate(Filter[GateConfig])``; None if it names none."""
    for klass in cls.__mro__:
        for base in klass.__dict__.get("__orig_bases__", ()):
            origin, args = get_origin(base), get_args(base)
            if isinstance(origin, type) and _is_contract(origin) and not isinstance(args[0], TypeVar):
                return args[0]
    return None


def _is_contract(cls: type[Any]) -> bool:
    """Whether a class is a base of this package's own, or derives from one."""
    return any(base.__name__ in _BASES.values() and base.__module__.startswith("l4proxy.") for base in cls.__mro__)


def _first_problem(kind: Kind, cls: object) -> str:
    if not isinstance(cls, type):
        return f"register a class, not {type(cls).__name__} {cls!r}"
    base = _base_of(kind, cls)
    if base is None:
        return f"is not a subclass of l4proxy.{_BASES[kind]}"
    return _name_problem(kind, cls) or _callback_problem(cls, base) or _options_problem(kind, cls)


def _base_of(kind: Kind, cls: type[Any]) -> type[Any] | None:
    for klass in cls.__mro__[1:]:
        if klass.__name__ == _BASES[kind] and klass.__module__.startswith("l4proxy."):
            return klass
    return None


def _name_problem(kind: Kind, cls: type[Any]) -> str:
    name = getattr(cls, "name", None)
    spelling, example = (_KEBAB_CASE, "new-plugin") if kind is Kind.COMMAND else (_SNAKE_CASE, "rate_limit")
    if not isinstance(name, str) or not spelling.fullmatch(name):
        return f"needs a class attribute name, such as name = {example!r}, not {name!r}"
    if kind is Kind.MESSAGE_FILTER and not getattr(cls, "protocol", ""):
        return "needs a class attribute protocol, such as protocol = 'http'"
    return ""


def _callback_problem(cls: type[Any], base: type[Any]) -> str:
    for name, value in vars(cls).items():
        function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) or _is_method(value) else None
        if not inspect.isfunction(function) or name.startswith("_"):
            continue
        inherited = any(name in vars(parent) for parent in cls.__mro__[1:])
        if not inherited and _looks_like_callback(name, base):
            return f"{name} is not a callback{did_you_mean(name, _callbacks(base))}"
        if _is_async(function) and _must_be_sync(name, base):
            return f"{name} must not be async: it is called on the path of the bytes, and nothing would await it"
    missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
    return f"does not implement {missing}" if missing else ""


def _is_method(value: object) -> bool:
    return isinstance(value, classmethod | staticmethod)


def _callbacks(base: type[Any]) -> list[str]:
    return [
        name
        for name, value in vars(base).items()
        if not name.startswith("_") and (callable(value) or _is_method(value))
    ]


def _looks_like_callback(name: str, base: type[Any]) -> bool:
    """Names in ``on_`` are kept for callbacks, and ``provison`` is so near to ``provision`` that it is meant."""
    return name.startswith("on_") or bool(difflib.get_close_matches(name, _callbacks(base), n=1, cutoff=0.85))


def _is_async(function: Any) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    )


def _must_be_sync(name: str, base: type[Any]) -> bool:
    promised = getattr(vars(base).get(name), "__func__", vars(base).get(name))
    return (base.__name__, name) not in _MAY_BE_ASYNC and inspect.isfunction(promised) and not _is_async(promised)


def _options_problem(kind: Kind, cls: type[Any]) -> str:
    if kind is Kind.COMMAND:
        return ""
    options = options_of(cls)
    base = _BASES[kind]
    if options is None:
        return f"does not say its options: derive from {base}[YourConfig], or {base}[NoConfig] when it has none"
    if kind is Kind.MATCHER and not is_dataclass(options):
        return ""
    if not is_dataclass(options) or not _is_frozen(options):
        name = getattr(options, "__name__", options)
        return f"its options, {name}, are not a frozen dataclass: @dataclass(frozen=True, slots=True)"
    return ""


def _is_frozen(dataclass_type: Any) -> bool:
    return bool(dataclass_type.__dataclass_params__.frozen)


def _place(cls: object) -> str:
    """``Shout (l4proxy_shout.py:7)``, as far as it can be known."""
    if not isinstance(cls, type):
        return repr(cls)
    try:
        return f"{cls.__name__} ({inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]})"
    except (OSError, TypeError):
        return f"{cls.__name__} ({cls.__module__})"
