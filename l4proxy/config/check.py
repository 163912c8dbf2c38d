"""What can only be seen when the whole configuration is there: references, names, chains, addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from l4proxy.address import Address, AddressRange
from l4proxy.config.hints import children, table_of
from l4proxy.config.scalars import CLUSTER_NAME, OWN_CLUSTER_NAME
from l4proxy.config.schema import Cluster, Config, FilterChain, Listener
from l4proxy.config.shapes import Shape
from l4proxy.config.types import Use
from l4proxy.errors import did_you_mean

__all__ = ["Finding", "check"]

Finding = tuple[str, str]
"""A path and what is wrong there."""


def check(config: Config) -> list[Finding]:
    """Return everything that is wrong with a loaded configuration."""
    return list(_findings(config))


def _findings(config: Config) -> Iterator[Finding]:
    shared = list(_shared_addresses(config))
    yield from shared
    said = {path.partition(".")[0] for path, _ in shared}  # a listener without a name is called after its address
    yield from (one for one in _repeated_names("listeners", config.listeners) if one[0].partition(".")[0] not in said)
    yield from _repeated_names("clusters", config.clusters)
    yield from _missing_clusters(config)
    for at, cluster in enumerate(config.clusters):
        yield from _check_cluster(cluster, f"clusters[{at}]")
    for at, listener in enumerate(config.listeners):
        yield from _check_listener(listener, f"listeners[{at}]")


def _repeated_names(path: str, named: Iterable[Any]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, item in enumerate(named):
        if item.name and first.setdefault(item.name, index) != index:
            yield f"{path}[{index}].name", f"{item.name!r} is the name of {path}[{first[item.name]}] already"


def _missing_clusters(config: Config) -> Iterator[Finding]:
    everything = list(_everything(table_of(Config), config, ""))
    known = [cluster.name for cluster in config.clusters]
    known += [value for shape, value, _ in everything if shape is OWN_CLUSTER_NAME]
    for shape, value, path in everything:
        if shape is CLUSTER_NAME and value and value not in known:
            yield path, f"there is no cluster {value!r}{did_you_mean(value, known)}"


def _everything(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    yield shape, value, path
    for child in children(shape, value, path):
        yield from _everything(*child)


def _shared_addresses(config: Config) -> Iterator[Finding]:
    """Two listeners of one process cannot have one port, and on Linux ``:port`` takes it on every interface."""
    taken: dict[int, list[tuple[str, Address]]] = {}
    said: set[str] = set()
    for path, address in _listening(config):
        if address.is_unix or address.port:
            others = taken.setdefault(address.port, [])
            for other_path, other in others:
                if _overlap(address, other) and path not in said:  # ranges may share many ports
                    said.add(path)
                    yield path, f"{address} is taken by {other_path}" + (f" ({other})" if other != address else "")
            others.append((path, address))


def _listening(config: Config) -> Iterator[tuple[str, Address]]:
    for at, listener in enumerate(config.listeners):
        for index, entry in enumerate(listener.entries):
            path = f"listeners[{at}].address" + (f"[{index}]" if isinstance(listener.address, tuple) else "")
            for address in entry.addresses if isinstance(entry, AddressRange) else (entry,):
                yield path, address
    if config.admin:
        yield "admin.address", config.admin.address
        if config.admin.metrics_address:
            yield "admin.metrics_address", config.admin.metrics_address


def _overlap(one: Address, other: Address) -> bool:
    if one.is_unix or other.is_unix:
        return one == other
    hosts = {one.host, other.host}
    everywhere = "" in hosts or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))
    return one.port == other.port and (
        len(hosts) == 1 or everywhere or ("::" in hosts and all(":" in host for host in hosts))
    )


def _check_cluster(cluster: Cluster, path: str) -> Iterator[Finding]:
    if cluster.discovery.name == "static" and not cluster.endpoints:
        yield f"{path}.endpoints", "a cluster needs endpoints, or a discovery that finds them"
    for address, times in Counter(endpoint.address for endpoint in cluster.endpoints).items():
        if times > 1:
            yield f"{path}.endpoints", f"{address} stands here {times} times (a weight gives it a greater share)"


def _check_listener(listener: Listener, path: str) -> Iterator[Finding]:
    if not listener.filter_chains:
        yield from _check_filters(listener.filters, f"{path}.filters")
        return
    yield from _repeated_names(f"{path}.filter_chains", listener.filter_chains)
    for at, chain in enumerate(listener.filter_chains):
        yield from _check_filters(chain.filters, f"{path}.filter_chains[{at}].filters")
    yield from _unreachable(listener.filter_chains, f"{path}.filter_chains")


def _check_filters(filters: tuple[Use, ...], path: str) -> Iterator[Finding]:
    for at, use in enumerate(filters[:-1]):
        if use.cls.terminal:
            yield (
                f"{path}[{at}]",
                f"{use.name!r} is a terminal filter: it ends the chain, so no filter can stand behind it",
            )
    if not filters:
        yield path, "a filter chain needs a terminal filter, such as tcp_proxy"
    elif not filters[-1].cls.terminal:
        yield (
            f"{path}[{len(filters) - 1}]",
            f"{filters[-1].name!r} is not terminal: the last filter answers or connects upstream, such as tcp_proxy",
        )


def _unreachable(chains: tuple[FilterChain, ...], path: str) -> Iterator[Finding]:
    for at, chain in enumerate(chains[:-1]):
        if not chain.match:
            yield f"{path}[{at + 1}]", f"is never reached: {path}[{at}] has no match, so it takes every connection"
            return
