"""The kit for testing filters and codecs.

`harness` drives a filter by hand, without sockets. `Proxy`, in pytest the fixture `proxy`, runs it in the real thing.
`check_filter`, `check_codec`, `check_matcher` and `check_inspector` hold a plugin to its contract in all the ways that
bytes can arrive.
"""

from l4proxy.testing.codec_conformance import check_codec, check_matcher
from l4proxy.testing.conformance import check_filter
from l4proxy.testing.harness import End, Harness, harness, use
from l4proxy.testing.inspector_conformance import check_inspector
from l4proxy.testing.peers import Handler, SocketEnd, Upstream, echo
from l4proxy.testing.proxy import Proxy, StartProxy

__all__ = [
    "End",
    "Handler",
    "Harness",
    "Proxy",
    "SocketEnd",
    "StartProxy",
    "Upstream",
    "check_codec",
    "check_filter",
    "check_inspector",
    "check_matcher",
    "echo",
    "harness",
    "use",
]
