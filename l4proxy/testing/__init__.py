"""The kit for testing filters and codecs.

`harness` drives a filter by hand, without sockets. `Proxy`, in pytest the fixture `proxy`, runs it in the real thing.
"""

from l4proxy.testing.harness import End, Harness, harness, use
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
    "echo",
    "harness",
    "use",
]
