"""``forward`` of a route: requests and tunnels (CONNECT) to the hosts that clients name, if those are on a list.

Clients decide where this connects to, so everything is refused that was not allowed: hosts by name, ports, and the
addresses that a name has (whoever controls a name decides those). What is judged is what is connected to: there is no
second look-up in between.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from l4proxy.config.types import ClusterName
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.host_files import is_ip
from l4proxy.plugins.http.pool import cluster_pool
from l4proxy.plugins.name_cache import NameCache
from l4proxy.plugins.name_patterns import NamePatterns
from l4proxy.plugins.names import one_endpoint
from l4proxy.plugins.private_networks import private_networks
from l4proxy.plugins.requested_hosts import HostRequest, host_cluster
from l4proxy.stats import Stats, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.plugins.http.action_config import Forward
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.layer import Layer
    from l4proxy.plugins.http.pool import ClusterPool

__all__ = ["ForwardHosts"]

_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?")


class HttpForwardStats(Stats, subsystem="http_forward", labels=("name",)):
    """Requests to hosts that clients name."""

    refused_total = labelled_counter("Requests that were not forwarded, by reason.", label="reason")
    names = gauge("Names of which the addresses are known now.")


class ForwardHosts:
    """Which hosts the clients of one route may go to, and where those are."""

    def __init__(self, config: Forward, layer: Layer) -> None:
        server = layer.server
        self._config = config
        self._via = layer.config.via
        self._allowed = NamePatterns(config.allow)
        self._names = NameCache(
            DnsResolver(config.servers),
            server.loop.time,
            max_names=config.max_names,
            timeout=config.connect_timeout,
            min_ttl=1.0,
            max_ttl=300.0,
            refresh=5.0,
        )
        self._cluster = host_cluster(config.name, config.connect_timeout, config.max_connections, server)
        options = layer.config.upstreams.get(ClusterName(config.name), layer.config.upstream)
        self._pool = cluster_pool(self._cluster, options, server)
        self._tunnels = cluster_pool(self._cluster, options, server, tunnels=True)
        self._stats = server.stats.group(HttpForwardStats, name=config.name)
        self._stop_collecting = server.stats.on_collect(self._collect)

    def _collect(self) -> None:
        self._stats.names = len(self._names)

    def close(self) -> None:
        self._stop_collecting()
        self._names.close()

    def choose_pool(self, exchange: Exchange) -> ClusterPool | None:
        """The pool for a request that may pass; None: it has been answered."""
        request, config = exchange.request, self._config
        connects = request.kind == "CONNECT"
        host, port = _split(request.authority, 0 if connects else 80)
        if not host or not port:
            self._turn_down(exchange, 400, "bad_host", f"{request.authority!r} is no host")
        elif request.scheme != "http" and not connects:
            self._turn_down(exchange, 400, "scheme_not_forwarded", "only http is forwarded; use CONNECT for the rest")
        elif host not in self._allowed:
            self._turn_down(exchange, 403, "host_not_allowed", f"host {host} is not allowed")
        elif port not in (config.connect_ports if connects else config.ports):
            self._turn_down(exchange, 403, "port_not_allowed", f"port {port} is not allowed for {request.kind}")
        elif self._via and re.split(r"[\s,]+", request.field("via") or "").count(self._via) > 1:
            self._turn_down(exchange, 508, "loop_detected", f"the request has passed {self._via} already")
        else:
            if request.field("proxy-authorization") is not None:
                request.headers.discard("proxy-authorization")
            return self._tunnels if connects else self._pool
        return None

    def find(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Find the endpoint of a request that has its pool; the exchange is told now, or by the coroutine."""
        request = exchange.request
        host, port = _split(request.authority, 80)
        bare = host.strip("[]")
        if is_ip(bare):
            self._found(exchange, bare, port, (bare,))
            return None
        known = self._names.known(host)
        if known is not None and known.error is None:
            self._found(exchange, host, port, known.hosts)
            return None
        return self._look_up(exchange, host, port)

    async def _look_up(self, exchange: Exchange, host: str, port: int) -> None:
        known = await self._names.look_up(host)
        if exchange.finished:
            return
        if known.error is not None:
            exchange.fail(503, f"dns_{known.error.code}", str(known.error), "DF")
        else:
            self._found(exchange, host, port, known.hosts)

    def _found(self, exchange: Exchange, host: str, port: int, addresses: tuple[str, ...]) -> None:
        private = private_networks()
        usable = [one for one in addresses if self._config.allow_private or one not in private]
        if not usable:
            self._turn_down(exchange, 403, "private_address", f"{host} is {', '.join(addresses)}")
            return
        (spec,) = one_endpoint(host, port, 1, usable, "all")
        assert self._cluster.on_demand is not None
        self._cluster.on_demand.find(HostRequest(server_name=host, host=spec), exchange.found_endpoint)

    def _turn_down(self, exchange: Exchange, status: int, why: str, message: str) -> None:
        self._stats.refused_total.add(why)
        exchange.fail(status, why, message)


def _split(authority: str, default: int) -> tuple[str, int]:
    """Host, as lists of hosts write it, and port. Empty and 0 for what is none."""
    found = _AUTHORITY.fullmatch(authority.lower())
    if found is None:
        return "", 0
    host = f"[{found['ipv6']}]" if found["ipv6"] else found["name"].removesuffix(".")
    port = int(found["port"]) if found["port"] else default
    return host, port if port <= 65535 else 0
