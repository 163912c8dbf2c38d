"""l4proxy: a multi-protocol L4/L7 proxy. The names here are the public ones, beside the modules ``l4proxy.config``,
``l4proxy.codec`` and ``l4proxy.testing``.

Each is imported when it is first used, so that importing l4proxy itself costs next to nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l4proxy.access_log.logger import AccessLogger
    from l4proxy.access_log.record import AccessRecord
    from l4proxy.address import Address
    from l4proxy.balancer import LoadBalancer
    from l4proxy.cli.command import Command
    from l4proxy.config.schema import Config
    from l4proxy.connect import ConnectRequest
    from l4proxy.discovery import Discovery
    from l4proxy.endpoint import Endpoint, EndpointSpec
    from l4proxy.errors import ConfigError, ConfigProblem, L4ProxyError, PluginError, UpstreamError
    from l4proxy.exchange import Exchange, Notice, Selector
    from l4proxy.filter import Conn, Filter, NoConfig, Peer, Side, TlsInfo
    from l4proxy.health_check import HealthCheck, HealthCheckOptions, Unhealthy
    from l4proxy.hookspecs import Register, hookimpl
    from l4proxy.inspector import Conversation, Inspector, Link, StopWatching
    from l4proxy.matcher import Matcher, PeekInfo, Preamble, PreambleResult
    from l4proxy.message import MessageConn, MessageFilter, Request, Response
    from l4proxy.plugin_manager import PluginManager, load_plugins
    from l4proxy.reason import CloseReason
    from l4proxy.server import Server, serve
    from l4proxy.stats import Stats, counter, gauge, histogram, labelled_counter
    from l4proxy.stats_sink import StatsSink
    from l4proxy.stream import Stream
    from l4proxy.table import Column, ColumnKind, Table

__version__ = "0.1.0"

__all__ = [
    "AccessLogger",
    "AccessRecord",
    "Address",
    "CloseReason",
    "Column",
    "ColumnKind",
    "Command",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "Conn",
    "ConnectRequest",
    "Conversation",
    "Discovery",
    "Endpoint",
    "EndpointSpec",
    "Exchange",
    "Filter",
    "HealthCheck",
    "HealthCheckOptions",
    "Inspector",
    "L4ProxyError",
    "Link",
    "LoadBalancer",
    "Matcher",
    "MessageConn",
    "MessageFilter",
    "NoConfig",
    "Notice",
    "PeekInfo",
    "Peer",
    "PluginError",
    "PluginManager",
    "Preamble",
    "PreambleResult",
    "Register",
    "Request",
    "Response",
    "Selector",
    "Server",
    "Side",
    "Stats",
    "StatsSink",
    "StopWatching",
    "Stream",
    "Table",
    "TlsInfo",
    "Unhealthy",
    "UpstreamError",
    "__version__",
    "counter",
    "gauge",
    "histogram",
    "hookimpl",
    "labelled_counter",
    "load_plugins",
    "serve",
]

_NAMES = {
    "l4proxy.access_log.logger": ("AccessLogger",),
    "l4proxy.access_log.record": ("AccessRecord",),
    "l4proxy.address": ("Address",),
    "l4proxy.balancer": ("LoadBalancer",),
    "l4proxy.cli.command": ("Command",),
    "l4proxy.config.schema": ("Config",),
    "l4proxy.connect": ("ConnectRequest",),
    "l4proxy.discovery": ("Discovery",),
    "l4proxy.endpoint": ("Endpoint", "EndpointSpec"),
    "l4proxy.errors": ("ConfigError", "ConfigProblem", "L4ProxyError", "PluginError", "UpstreamError"),
    "l4proxy.exchange": ("Exchange", "Notice", "Selector"),
    "l4proxy.filter": ("Conn", "Filter", "NoConfig", "Peer", "Side", "TlsInfo"),
    "l4proxy.health_check": ("HealthCheck", "HealthCheckOptions", "Unhealthy"),
    "l4proxy.hookspecs": ("Register", "hookimpl"),
    "l4proxy.inspector": ("Conversation", "Inspector", "Link", "StopWatching"),
    "l4proxy.matcher": ("Matcher", "PeekInfo", "Preamble", "PreambleResult"),
    "l4proxy.message": ("MessageConn", "MessageFilter", "Request", "Response"),
    "l4proxy.plugin_manager": ("PluginManager", "load_plugins"),
    "l4proxy.reason": ("CloseReason",),
    "l4proxy.server": ("Server", "serve"),
    "l4proxy.stats": ("Stats", "counter", "gauge", "histogram", "labelled_counter"),
    "l4proxy.stats_sink": ("StatsSink",),
    "l4proxy.stream": ("Stream",),
    "l4proxy.table": ("Column", "ColumnKind", "Table"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a type checker takes it to mean that there is every name

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'l4proxy' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
