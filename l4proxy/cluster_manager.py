"""All clusters of a server by name, and how a reload changes them: wholly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from l4proxy.cluster import Cluster, Parts, Runtime
from l4proxy.config.text import refusal
from l4proxy.discovery import OnDemandDiscovery
from l4proxy.endpoint import Target
from l4proxy.errors import ConfigError, ConfigProblem, UpstreamError, did_you_mean

if TYPE_CHECKING:
    from l4proxy.config import schema
    from l4proxy.discovery import Discovery
    from l4proxy.endpoint import EndpointSpec
    from l4proxy.health_check import HealthCheck
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.tls import ClientTlsContext

__all__ = ["ClusterChange", "ClusterManager", "NoSuchCluster", "make_parts"]


class NoSuchCluster(UpstreamError, LookupError):
    """A connection is to go to a cluster that the configuration has not (flag ``NC``)."""


def make_parts(
    configs: Sequence[schema.Cluster],
    present: Mapping[str, Cluster] | None = None,
    stats: StatsRegistry | None = None,
) -> list[Parts]:
    """What clusters are made of. Raises ConfigError with all that is wrong. ``present`` are those at work, by name;
    ``stats`` is where TLS is counted."""
    problems: list[ConfigProblem] = []
    parts = []
    for at, config in enumerate(configs):
        where = f"clusters[{at}].load_balancer"
        try:
            config.load_balancer.cls(config.load_balancer.config, ())
            where = f"clusters[{at}].bind"
            source = Target.of(config.bind) if config.bind else None
            where = f"clusters[{at}].tls"
            tls = _tls_context(config, stats)
            where = f"clusters[{at}].health_check"
            health_check, health_check_tls = _health_check(config)
            where = f"clusters[{at}].discovery"
            discovery, known = _discovery(config, (present or {}).get(config.name))
            if isinstance(discovery, OnDemandDiscovery) and (health_check or config.outlier_detection):
                where = f"clusters[{at}].{'health_check' if health_check else 'outlier_detection'}"
                raise ValueError(f"the endpoints of {discovery.name} are chosen by connections, well or not")
        except (ValueError, LookupError, OSError) as error:
            part = getattr(config, where.rpartition(".")[2])
            problems.append(ConfigProblem(*refusal(where, error, getattr(part, "config", part))))
        else:
            parts.append(Parts(config, discovery, known, tls, source, health_check, health_check_tls))
    if problems:
        raise ConfigError(problems)
    return parts


def _tls_context(config: schema.Cluster, stats: StatsRegistry | None) -> ClientTlsContext | None:
    """Made anew at every reload: certificate files may have changed."""
    if config.tls is None:
        return None
    from l4proxy.tls import ClientTlsContext, TlsStats

    group = stats.group(TlsStats, listener="", cluster=config.name) if stats is not None else None
    return ClientTlsContext(config.tls, group)


def _health_check(config: schema.Cluster) -> tuple[HealthCheck[Any] | None, ClientTlsContext | None]:
    """With a context of its own where there is TLS, for it speaks its own protocol, which ALPN says."""
    use = config.health_check
    if use is None:
        return None, None
    check: HealthCheck[Any] = use.cls(use.config, config)
    tls = replace(config.tls, alpn=check.alpn) if config.tls is not None else None
    return check, _tls_context(replace(config, tls=tls), None)


def _discovery(config: schema.Cluster, present: Cluster | None) -> tuple[Discovery[Any], Sequence[EndpointSpec] | None]:
    """The one at work, where nothing about it has changed; else a new one, and what it knows at once."""
    use = config.discovery
    if present is not None and (present.config.discovery, present.config.endpoints) == (use, config.endpoints):
        return present.discovery, None
    discovery: Discovery[Any] = use.cls(use.config, config)
    return discovery, discovery.initial()


class ClusterManager:
    """Made with the server; ``prepare(configs).apply()`` takes over the first configuration and each further one."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._clusters: dict[str, Cluster] = {}
        self._removed: list[Cluster] = []
        """They may still have connections."""
        self.own: dict[str, Cluster] = {}
        """Clusters that filters have made for themselves, by name. No configuration can name them; they stay for as
        long as the server does."""
        self._started = False
        self._stop_collecting = runtime.stats.on_collect(self._collect)

    def find(self, name: str) -> Cluster:
        """The cluster of this name. To be asked for each connection: a reload may remove it. Raises NoSuchCluster."""
        cluster = self._clusters.get(name)
        if cluster is None:
            text = f"no cluster is called {name!r}{did_you_mean(name, self._clusters)}"
            raise NoSuchCluster("NC", "no_cluster", text)
        return cluster

    def __iter__(self) -> Iterator[Cluster]:
        return iter((*self._clusters.values(), *self.own.values()))

    def prepare(self, configs: Sequence[schema.Cluster]) -> ClusterChange:
        """Make everything of a configuration that can fail. Raises ConfigError with all that is wrong; then, and also
        when the change is dropped, nothing has happened."""
        return ClusterChange(self, make_parts(configs, self._clusters, self._runtime.stats))

    def start(self) -> None:
        """Begin to discover endpoints. Connections may come at once: they wait until endpoints are known."""
        self._started = True
        for cluster in self._clusters.values():
            cluster.start()

    async def stop(self) -> None:
        """Close whatever is still open."""
        self._stop_collecting()
        await asyncio.gather(*(cluster.stop() for cluster in (*self, *self._removed)))

    def _collect(self) -> None:
        for cluster in (*self, *self._removed):
            cluster.collect()
        for cluster in [cluster for cluster in self._removed if not cluster.endpoints.open]:
            self._removed.remove(cluster)
            self._runtime.stats.discard(cluster.stats)

    def switch(self, parts: Sequence[Parts]) -> None:
        """Called by ``ClusterChange.apply``."""
        old, self._clusters = self._clusters, {}
        for made in parts:
            cluster = old.pop(made.config.name, None) or self._take_back(made.config.name)
            if cluster is None:
                cluster = Cluster(made, self._runtime)
            else:
                cluster.take_over(made)
            self._clusters[cluster.name] = cluster
            if self._started:
                cluster.start()
        for cluster in old.values():
            cluster.remove()
        self._removed += old.values()

    def _take_back(self, name: str) -> Cluster | None:
        """A cluster that was removed, is configured again and still has connections."""
        cluster = next((cluster for cluster in self._removed if cluster.name == name), None)
        if cluster is not None:
            self._removed.remove(cluster)
        return cluster


class ClusterChange:
    """A configuration's clusters, made and not yet taken over."""

    def __init__(self, manager: ClusterManager, parts: Sequence[Parts]) -> None:
        self._manager = manager
        self._parts = parts

    def apply(self) -> None:
        """Switch over. Clusters that are in both configurations stay the same objects, with their connections."""
        self._manager.switch(self._parts)
