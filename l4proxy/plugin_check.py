"""Is this object a plugin, and one for this version of l4proxy?

pluggy's own ``check_pending`` finds a misspelt hook once everything is loaded. Looking at each plugin before it is
registered gives the same answer with the nearest right name, and finds the hook that lacks its mark, which pluggy
cannot see.
"""

from __future__ import annotations

import inspect
from typing import Any

import l4proxy
from l4proxy import hookspecs
from l4proxy.errors import did_you_mean
from l4proxy.hookspecs import PROJECT
from l4proxy.requirement import satisfies

__all__ = ["plugin_problem"]

HOOKS = {name for name, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")}


def plugin_problem(plugin: Any) -> str:
    """What keeps ``plugin`` from being registered, for people; empty when nothing does."""
    return _version_problem(getattr(plugin, "l4proxy_requires", "")) or _hook_problem(plugin)


def _version_problem(requirement: str) -> str:
    try:
        if not requirement or satisfies(l4proxy.__version__, requirement):
            return ""
    except ValueError as error:
        return f"l4proxy_requires: {error}"
    return f"needs l4proxy {requirement}, and this is {l4proxy.__version__}"


def _hook_problem(plugin: Any) -> str:
    functions = {name: value for name in dir(plugin) if inspect.isroutine(value := getattr(plugin, name, None))}
    marked = {name for name, function in functions.items() if hasattr(function, f"{PROJECT}_impl")}
    for name in sorted(marked - HOOKS):
        return f"there is no hook {name}{did_you_mean(name, HOOKS)}"
    for name in sorted(HOOKS & functions.keys() - marked):
        return f"{name} lacks its mark: put @hookimpl before it (from l4proxy import hookimpl)"
    return "" if marked else "implements no hook: mark one with @hookimpl (from l4proxy import hookimpl)"
