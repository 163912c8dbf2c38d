"""The hooks of l4proxy, all of them. Called while the process starts, reloads and stops; none per connection, chunk or
message.

A plugin is any module named by an entry point of the group ``l4proxy``, a file given with ``--plugin-dir``, or a module
of the first-party list. It implements the hooks it needs::

    from l4proxy import hookimpl

    @hookimpl
    def register_filters(register):
        register(Shout)

The ``register_*`` hooks are *historic*: a plugin that is registered late is asked at once. ``register(cls)`` checks
what it is given and raises on the plugin's own line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

if TYPE_CHECKING:
    import asyncio

    from l4proxy.config.schema import Config
    from l4proxy.server import Server

__all__ = ["PROJECT", "Register", "hookimpl", "hookspec"]

PROJECT = "l4proxy"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

T = TypeVar("T", bound=type)
Register = Callable[[T], T]


@hookspec(historic=True)
def register_filters(register: Register[Any]) -> None:
    """Register network filters: subclasses of ``l4proxy.Filter``."""


@hookspec(historic=True)
def register_message_filters(register: Register[Any]) -> None:
    """Register message filters: subclasses of ``l4proxy.MessageFilter``."""


@hookspec(historic=True)
def register_matchers(register: Register[Any]) -> None:
    """Register conditions of ``match = {...}``: subclasses of ``l4proxy.Matcher``."""


@hookspec(historic=True)
def register_preambles(register: Register[Any]) -> None:
    """Register what may stand in front of a protocol: subclasses of ``l4proxy.Preamble``."""


@hookspec(historic=True)
def register_load_balancers(register: Register[Any]) -> None:
    """Register load balancing policies: subclasses of ``l4proxy.LoadBalancer``."""


@hookspec(historic=True)
def register_discovery(register: Register[Any]) -> None:
    """Register ways to find a cluster's endpoints: subclasses of ``l4proxy.Discovery``."""


@hookspec(historic=True)
def register_health_checks(register: Register[Any]) -> None:
    """Register ways to check endpoints: subclasses of ``l4proxy.HealthCheck``."""


@hookspec(historic=True)
def register_access_loggers(register: Register[Any]) -> None:
    """Register sinks of access logs: subclasses of ``l4proxy.AccessLogger``."""


@hookspec(historic=True)
def register_stats_sinks(register: Register[Any]) -> None:
    """Register where statistics are pushed to: subclasses of ``l4proxy.StatsSink``."""


@hookspec(historic=True)
def register_inspectors(register: Register[Any]) -> None:
    """Register what reads a protocol's traffic, for ``l4proxy sniff``: subclasses of ``l4proxy.Inspector``."""


@hookspec(historic=True)
def register_commands(register: Callable[[Any], Any]) -> None:
    """Register sub-commands of the command line: subclasses of ``l4proxy.Command``."""


@hookspec(firstresult=True)
def load_config(path: Path) -> Mapping[str, Any] | None:
    """Read a configuration file of a format that the core does not know (YAML ...). None: not mine."""


@hookspec(firstresult=True)
def make_event_loop() -> asyncio.AbstractEventLoop | None:
    """Make the event loop of ``l4proxy run`` (uvloop ...). None: the loop of the core."""


@hookspec
def config_loaded(config: Config) -> None:
    """A configuration was read and found right, at start and at each reload. Raise ValueError to refuse it."""


@hookspec
def startup(server: Server) -> None:
    """A server is about to accept connections."""


@hookspec
def shutdown(server: Server) -> None:
    """A server has closed its last connection."""
