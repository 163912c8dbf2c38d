"""The kinds of things that plugins register, and how a class of each kind is recognised.

A base class is known by its name and package in a class's MRO, so that nothing has to be imported to look at a class.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

__all__ = ["BASES", "Kind", "base_of", "options_of"]


class Kind(Enum):
    """What can be registered. The value is the word that messages use."""

    FILTER = "filter"
    MESSAGE_FILTER = "message filter"
    MATCHER = "matcher"
    PREAMBLE = "preamble"
    LOAD_BALANCER = "load balancer"
    DISCOVERY = "discovery"
    HEALTH_CHECK = "health check"
    ACCESS_LOGGER = "access logger"
    STATS_SINK = "stats sink"
    INSPECTOR = "inspector"
    COMMAND = "command"


BASES = {
    Kind.FILTER: "Filter",
    Kind.MESSAGE_FILTER: "MessageFilter",
    Kind.MATCHER: "Matcher",
    Kind.PREAMBLE: "Preamble",
    Kind.LOAD_BALANCER: "LoadBalancer",
    Kind.DISCOVERY: "Discovery",
    Kind.HEALTH_CHECK: "HealthCheck",
    Kind.ACCESS_LOGGER: "AccessLogger",
    Kind.STATS_SINK: "StatsSink",
    Kind.INSPECTOR: "Inspector",
    Kind.COMMAND: "Command",
}
"""The name of each kind's base class."""


def base_of(kind: Kind, cls: type[Any]) -> type[Any] | None:
    """The base class of its kind that ``cls`` derives from; None if it does not."""
    for klass in cls.__mro__[1:]:
        if klass.__name__ == BASES[kind] and klass.__module__.startswith("l4proxy."):
            return klass
    return None


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
    return any(base.__name__ in BASES.values() and base.__module__.startswith("l4proxy.") for base in cls.__mro__)
