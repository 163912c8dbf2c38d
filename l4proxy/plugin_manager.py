"""Loads plugins and calls their hooks. The only module that does.

The plugins that come with l4proxy are known by name from a table and imported when a configuration first names
something of theirs. Installed plugins and those from ``--plugin-dir`` are imported at start: nothing says before what
they register.

Two environment variables narrow and show what happens:

``L4PROXY_LOAD_PLUGINS=shout,audit``
    import only these of the installed plugins (empty: none).
``L4PROXY_TRACE_PLUGINS=1``
    write every import and every hook call to standard error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from l4proxy import hookspecs
from l4proxy.default_plugins import DEFAULT_PLUGINS
from l4proxy.errors import ConfigError, ConfigProblem, PluginError, did_you_mean
from l4proxy.hookspecs import PROJECT
from l4proxy.plugin_check import plugin_problem
from l4proxy.plugin_source import PluginSource, default_sources, directory_sources, installed_sources
from l4proxy.registry import Kind, Registry

if TYPE_CHECKING:
    from l4proxy.config.schema import Config
    from l4proxy.server import Server

__all__ = ["PluginInfo", "PluginManager", "load_plugins"]

log = logging.getLogger("l4proxy.plugins")

REGISTER_HOOKS = {
    Kind.FILTER: "register_filters",
    Kind.MESSAGE_FILTER: "register_message_filters",
    Kind.MATCHER: "register_matchers",
    Kind.PREAMBLE: "register_preambles",
    Kind.LOAD_BALANCER: "register_load_balancers",
    Kind.DISCOVERY: "register_discovery",
    Kind.HEALTH_CHECK: "register_health_checks",
    Kind.ACCESS_LOGGER: "register_access_loggers",
    Kind.STATS_SINK: "register_stats_sinks",
    Kind.INSPECTOR: "register_inspectors",
    Kind.COMMAND: "register_commands",
}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin, as ``l4proxy plugins`` and ``/plugins`` show it.

    ``source`` is its module or file, ``distribution`` and ``version`` the installed package's (empty for a file),
    ``registered`` what it registered, such as ``"filter shout"``. A plugin that comes with l4proxy and that nobody
    has named yet is not ``loaded``; what it would register is known all the same. ``problem`` is why a broken plugin
    could not be loaded, else empty.
    """

    name: str
    distribution: str
    version: str
    source: str
    loaded: bool
    hooks: tuple[str, ...]
    registered: tuple[str, ...]
    problem: str = ""


def load_plugins(
    *,
    plugin_dirs: Iterable[str | Path] = (),
    disabled: Collection[str] = (),
    environ: Mapping[str, str] = os.environ,
    keep_broken: bool = False,
) -> PluginManager:
    """Find all plugins and import those that must be. Raises PluginError: one bad plugin stops the start, by name.

    ``plugin_dirs`` are directories of one-file plugins (``--plugin-dir``), ``disabled`` names of plugins to leave out
    (``--disable-plugin``). With ``keep_broken`` bad plugins are left out instead, and listed in ``broken``.
    """
    installed = list(installed_sources())
    eager = _only(installed, environ.get("L4PROXY_LOAD_PLUGINS"))
    for directory in plugin_dirs:
        eager += directory_sources(Path(directory))
    manager = PluginManager(disabled, trace=environ.get("L4PROXY_TRACE_PLUGINS", "0") not in ("", "0"))
    for source in eager:
        try:
            manager.add(source)
        except PluginError as error:
            manager.broken[source.name] = error
    _check_names("--disable-plugin", disabled, {*manager.sources, *(source.name for source in installed)})
    for name in [source.name for source in eager if source.name not in manager.broken]:
        try:
            manager.load(name)
        except PluginError as error:
            manager.broken[name] = error
    if not keep_broken:
        manager.require_all()
    return manager


class PluginManager:
    """The plugins of one process and what they registered. A new one knows those that come with l4proxy, no others.

    ``registry`` is what they registered, ``sources`` where each of them is from, by name, and ``broken`` why some could
    not be loaded.
    """

    def __init__(self, disabled: Iterable[str] = (), *, trace: bool = False) -> None:
        self.registry = Registry()
        self.sources: dict[str, PluginSource] = {}
        self.broken: dict[str, PluginError] = {}
        self._registering = ""
        self._pm = pluggy.PluginManager(PROJECT)
        if trace:
            self._pm.trace.root.setwriter(sys.stderr.write)
            self._pm.enable_tracing()
        for name in disabled:
            self._pm.set_blocked(name)
        self._pm.add_hookspecs(hookspecs)
        for kind, name in REGISTER_HOOKS.items():
            getattr(self._pm.hook, name).call_historic(kwargs={"register": partial(self._register_class, kind)})
        for source in default_sources(dict.fromkeys(row.module for row in DEFAULT_PLUGINS)):
            self.add(source)
        for module, kind, name, protocol in DEFAULT_PLUGINS:
            if not self._pm.is_blocked(module):
                self.registry.expect(kind, name, module, partial(self.load, module), protocol)

    def add(self, source: PluginSource) -> None:
        """Know a plugin without importing it. Raises PluginError when another one has that name."""
        other = self.sources.setdefault(source.name, source)
        if other is not source and not self._pm.is_blocked(source.name):
            raise PluginError(
                f"two plugins are called {source.name!r}: {other} and {source}\n"
                f"  uninstall or rename one, or start without both: --disable-plugin {source.name}"
            )

    def load(self, name: str) -> None:
        """Import a known plugin and register it, unless that has been done or it is disabled. Raises PluginError."""
        if self._pm.is_blocked(name) or self._pm.has_plugin(name):
            return
        begin = time.perf_counter()
        plugin = self.sources[name].load()
        self._pm.trace(f"imported {name} ({self.sources[name]}) in {(time.perf_counter() - begin) * 1e3:.1f} ms")
        self._register(plugin, name)

    def register(self, plugin: Any, name: str) -> None:
        """Add a plugin that is imported: a module, or an object with hooks as methods. Raises PluginError."""
        self.add(PluginSource(name, module=getattr(plugin, "__name__", type(plugin).__name__)))
        self._register(plugin, name)

    def require_all(self) -> None:
        """Raise PluginError if there are broken plugins, with what is wrong with each."""
        errors = list(self.broken.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise PluginError("\n".join(map(str, errors))) from errors[0]

    def plugins(self) -> list[PluginInfo]:
        """Every plugin that is known, sorted by name."""
        return [self._info(source) for name, source in sorted(self.sources.items()) if not self._pm.is_blocked(name)]

    def load_config(self, path: Path) -> Mapping[str, Any] | None:
        """Ask plugins to read a file of a format that the core does not know. None: nobody can."""
        return self._pm.hook.load_config(path=path)  # type: ignore[no-any-return]

    def make_event_loop(self) -> asyncio.AbstractEventLoop | None:
        """Ask plugins for an event loop. None: nobody brings one."""
        return self._pm.hook.make_event_loop()  # type: ignore[no-any-return]

    def config_loaded(self, config: Config) -> None:
        """Show plugins a configuration. Raises ConfigError when one refuses it."""
        for name, call in self._each("config_loaded", config=config):
            try:
                call()
            except ValueError as error:
                raise ConfigError([ConfigProblem("", f"refused by plugin {name!r}: {error}")]) from error

    def startup(self, server: Server) -> None:
        """Tell plugins that a server is about to accept. Raises PluginError when one cannot go on."""
        for name, call in self._each("startup", server=server):
            try:
                call()
            except Exception as error:
                raise PluginError(f"plugin {name!r}: startup failed: {type(error).__name__}: {error}") from error

    def shutdown(self, server: Server) -> None:
        """Tell plugins that a server has ended. All are told; what one raises is logged."""
        for name, call in self._each("shutdown", server=server):
            try:
                call()
            except Exception:
                log.exception("plugin %r: shutdown failed", name)

    def _each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield for each plugin that implements ``hook`` its name and the call, in pluggy's order."""
        everyone = self._pm.get_plugins()
        for implementation in reversed(getattr(self._pm.hook, hook).get_hookimpls()):
            one = self._pm.subset_hook_caller(hook, everyone - {implementation.plugin})
            yield implementation.plugin_name, partial(one, **arguments)

    def _register(self, plugin: Any, name: str) -> None:
        problem = plugin_problem(plugin)
        if problem:
            raise PluginError(f"plugin {name!r} ({self.sources[name]}): {problem}")
        self._registering = name
        try:
            self._pm.register(plugin, name)
            self._pm.check_pending()
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"plugin {name!r} ({self.sources[name]}): {type(error).__name__}: {error}") from error

    def _register_class(self, kind: Kind, cls: Any) -> Any:
        self.registry.register(kind, cls, self._registering)
        return cls

    def _info(self, source: PluginSource) -> PluginInfo:
        plugin = self._pm.get_plugin(source.name)
        registered = self.registry.names_of(source.name)
        if plugin is None:
            hooks = {REGISTER_HOOKS[kind] for kind, _ in registered}
        else:
            hooks = {caller.name for caller in self._pm.get_hookcallers(plugin) or ()}
        return PluginInfo(
            source.name,
            source.distribution,
            source.version,
            source.module or source.file,
            plugin is not None,
            tuple(sorted(hooks)),
            tuple(f"{kind.value} {name}" for kind, name in registered),
            str(self.broken.get(source.name, "")),
        )


def _only(installed: list[PluginSource], wanted: str | None) -> list[PluginSource]:
    """The installed plugins that ``L4PROXY_LOAD_PLUGINS`` asks for: all of them when it is not set."""
    if wanted is None:
        return list(installed)
    names = {name.strip() for name in wanted.split(",")} - {""}
    _check_names("L4PROXY_LOAD_PLUGINS", names, {source.name for source in installed})
    return [source for source in installed if source.name in names]


def _check_names(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in sorted(set(names) - set(known)):
        raise PluginError(f"{option}: there is no plugin {name!r}{did_you_mean(name, known)}")
