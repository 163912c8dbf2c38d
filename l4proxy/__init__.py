"""l4proxy: a multi-protocol L4/L7 proxy. The names here are the public ones."""

from l4proxy.errors import ConfigError, ConfigProblem, L4ProxyError, PluginError, UpstreamError
from l4proxy.filter import Conn, Filter, NoConfig, Peer, Side, TlsInfo
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.matcher import Matcher, PeekInfo, Preamble, PreambleResult
from l4proxy.reason import CloseReason
from l4proxy.stats_sink import StatsSink

__version__ = "0.1.0"

__all__ = [
    "CloseReason",
    "ConfigError",
    "ConfigProblem",
    "Conn",
    "Filter",
    "L4ProxyError",
    "Matcher",
    "NoConfig",
    "PeekInfo",
    "Peer",
    "PluginError",
    "Preamble",
    "PreambleResult",
    "Register",
    "Side",
    "StatsSink",
    "TlsInfo",
    "UpstreamError",
    "__version__",
    "hookimpl",
]
