"""The proxies under comparison: how each is configured for the same job, and started with one worker.

Everything that the job does not ask for is left at the proxy's own default. What differs from the defaults is here
because 10,000 connections need it (limits), or because a connection may be silent for long (timeouts).
"""

from __future__ import annotations

from peers.command import Command
from peers.envoy import Envoy
from peers.haproxy import HAProxy
from peers.l4proxy import L4proxy
from peers.nginx import Nginx
from peers.peer import ROOT, Job, Peer

__all__ = ["DEFAULT_PEERS", "PEERS", "ROOT", "Command", "Envoy", "Job", "L4proxy", "Peer"]

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (L4proxy(), Envoy("envoy"), HAProxy("haproxy"), HAProxy("haproxy_splice", splice=True), Nginx("nginx"))
}
DEFAULT_PEERS = ("l4proxy", "envoy", "haproxy", "nginx")
